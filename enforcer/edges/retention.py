"""Which segments go, oldest first, once a journal is too large or too old, and what is put on record about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from enforcer.core.chain import link_of
from enforcer.core.event import Notice
from enforcer.core.verification import REMOVED
from enforcer.edges.index import index_path
from enforcer.edges.segments import blocks, first_sequence, plain, sealed
from enforcer.settings import Limits


def expired(segments: Sequence[Path], limits: Limits, now_ns: int) -> list[Path]:
    """Which of the ``segments`` are to be removed; never the last one. Raises ``OSError``."""
    files = {segment: _files(segment) for segment in segments}
    total = sum(status.st_size for found in files.values() for status in found)
    gone = []
    for segment in segments[:-1]:
        newest = max((status.st_mtime_ns for status in files[segment][:1]), default=now_ns)
        if total <= limits.retain_size and now_ns - newest <= limits.retain_age * 1e9:
            break
        gone.append(segment)
        total -= sum(status.st_size for status in files[segment])
    return gone


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
        "bytes": sum(status.st_size for segment in gone for status in _files(segment)),
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


def _files(segment: Path) -> list[os.stat_result]:
    """The segment, in the form that it is in now, and its index: the keeper may be about to change either."""
    found = []
    for path in (sealed(segment), plain(segment), index_path(segment)):
        with suppress(FileNotFoundError):
            found.append(path.stat())
    return found
