"""Verifies a journal's chain on the disk, also while an agent writes there."""

from __future__ import annotations

import os
from pathlib import Path

from enforcer.core.verification import Verification
from enforcer.core.words import escape
from enforcer.edges.index import Indexing, index_of, index_path, indexed
from enforcer.edges.seal import same
from enforcer.edges.segments import blocks, first_sequence, is_gone, is_named, plain, segments_of
from enforcer.errors import EdgeError

_LOCKS = Path("/proc/locks")


def verify(path: Path, *, wanted: str = "") -> Verification:
    """Every line of the journal directory, or of the one segment, that ``path`` is. ``wanted`` is a digest noted before.

    Raises ``UsageError`` if nothing is there, ``EdgeError`` if it cannot be listed; a segment that cannot be read is a fault.
    """
    found = Verification(wanted)
    live = path.is_dir() and _is_held(path)
    segments = segments_of(path)
    for segment in segments:
        if segment != path and not found.records and is_gone(segment):
            continue  # retention has removed it since it was listed
        _feed(found, segment, partial=live and segment == segments[-1])
    found.end(live=live, alone=not path.is_dir())
    for segment in indexed(path):  # retention removes the oldest segments only, and each one's index first
        first = first_sequence(segment)
        if first > (found.last or 0) and is_gone(segment) and index_path(segment).exists():
            found.gone(escape(segment.name), first)
    return found


def _feed(found: Verification, segment: Path, *, partial: bool) -> None:
    found.begin(escape(segment.name), first_sequence(segment) if is_named(segment) else None)
    read, indexing, index = 0, Indexing(), index_of(segment)
    try:
        for block in blocks(segment):
            read += len(block)
            for line in block.split(b"\n")[:-1]:
                found.line(line + b"\n")
                if index:
                    indexing.add(line + b"\n")
        rest = segment.stat().st_size - read if segment == plain(segment) and segment.exists() else 0
        if _has_other_twin(segment):
            found.beside("changed", "the segment is there unsealed, too, and the two differ")
        if index and index != indexing.made(index.sealed) and index == index_of(segment):
            found.beside("index", f"{index_path(segment).name} says something else: readers may pass the segment over")
    except EdgeError as e:
        found.damaged(str(e))
        return
    if rest > 0 and not partial:
        found.damaged(f"{rest} bytes at the end are no whole line")


def _has_other_twin(segment: Path) -> bool:
    """Is a sealed segment there unsealed, too, and with something else in it? Nobody reads that one."""
    try:
        return segment != plain(segment) and plain(segment).exists() and not same(plain(segment), segment, lambda: None)
    except FileNotFoundError:
        return False  # it was just sealed
    except OSError as e:
        raise EdgeError(f"{plain(segment)} cannot be read: {e.strerror}") from e


def _is_held(directory: Path) -> bool:
    """Does an agent hold the directory? Asked without a lock of our own, which a starting agent would meet."""
    status = os.stat(directory)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(words[1] == "FLOCK" and place in words for words in map(str.split, _LOCKS.read_text().splitlines()))
