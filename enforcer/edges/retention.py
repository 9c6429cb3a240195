"""Which segments go, oldest first, once a journal is too large or too old, and what is put on record about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from enforcer.core.chain import link_of
from enforcer.core.event import Notice
from enforcer.core.verification import REMOVED
from enforcer.edges.index import index_path
from enforcer.edges.segments import blocks, first_sequence, segments_of
from enforcer.settings import Limits


def expired(directory: Path, current: Path, limits: Limits, now_ns: int) -> list[Path]:
    """The segments that are to be removed; never the ``current`` one. Raises ``OSError``, ``EdgeError``."""
    segments = [segment for segment in segments_of(directory) if segment != current]
    sizes = {segment: _size(segment) for segment in segments}
    total = sum(sizes.values()) + _size(current)
    found = []
    for segment in segments:
        age_s = (now_ns - segment.stat().st_mtime_ns) / 1e9
        if total <= limits.retain_size and age_s <= limits.retain_age:
            break
        found.append(segment)
        total -= sizes[segment]
    return found


def notice_of(gone: Sequence[Path], following: Path, head: str, now_ns: int) -> Notice:
    """What is put on record before ``gone`` is removed, so that their absence has a reason: ``following`` is what
    is then oldest, and follows on ``head`` if it has no batch yet. Raises ``OSError``, ``EdgeError``.
    """
    through = first_sequence(following) - 1
    fields: dict[str, str | int] = {
        "from": first_sequence(gone[0]),
        "through": through,
        "sha256": _digest_before(following) or head,
        "segments": len(gone),
        "bytes": sum(_size(segment) for segment in gone),
    }
    message = f"the records {fields['from']} to {through} are removed, as the limits of the journal say"
    return Notice(0, now_ns, REMOVED, message, fields=fields)


def _digest_before(segment: Path) -> str:
    """What the first batch of ``segment`` follows on; empty if it has none."""
    for block in blocks(segment):
        for line in block.split(b"\n")[:-1]:
            link = link_of(line + b"\n")
            if link:
                return link.previous
    return ""


def _size(segment: Path) -> int:
    index = index_path(segment)
    return (segment.stat().st_size if segment.exists() else 0) + (index.stat().st_size if index.exists() else 0)
