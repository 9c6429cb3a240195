"""The journal's reading side: records as they were written, in constant memory, while an agent may be writing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from enforcer.core.event import Event, Notice
from enforcer.core.words import escape
from enforcer.edges.ecs import decode
from enforcer.errors import EdgeError, UsageError

_NAME = re.compile(r"events-(\d{20})\.jsonl", re.ASCII)
_MAX_LINE = 16 << 20  # bytes; what has no newline in so many is no journal, and must not fill the memory


@dataclass(frozen=True)
class _Place:
    """How far a segment has been read: ``line`` lines, up to the offset ``end``."""

    path: Path
    end: int = 0
    line: int = 0


def segment_name(first: int) -> str:
    """The name of the segment whose first record has the number ``first``."""
    return f"events-{first:020d}.jsonl"


def first_sequence(segment: Path) -> int:
    """The number in a segment's name."""
    found = _NAME.fullmatch(segment.name)
    if not found:
        raise EdgeError(f"{segment} is not named like a segment of the journal")
    return int(found[1])


def segments_of(path: Path) -> list[Path]:
    """The segments of a journal directory, oldest first, or just the file that ``path`` is.

    Raises ``UsageError`` if nothing is there, ``EdgeError`` if it cannot be read.
    """
    try:
        return [path / name for name in sorted(os.listdir(path)) if _NAME.fullmatch(name)]
    except NotADirectoryError:
        return [path]
    except FileNotFoundError as e:
        raise UsageError(f"no journal at {path}: name its directory or a file of it") from e
    except OSError as e:
        raise EdgeError(f"{path} cannot be read: {e.strerror}") from e


def read(paths: Iterable[Path]) -> Iterator[Event | Notice]:
    """Every record of the files and directories, in their order. A last line without its newline is not there yet.

    Raises ``UsageError`` for a path that does not exist, ``EdgeError`` with file and line for what is none of ours.
    """
    for path in paths:
        for segment in segments_of(path):
            for _, item in _records(_Place(segment)):
                yield item


def follow(path: Path, *, wait: Callable[[], bool]) -> Iterator[Event | Notice]:
    """Every record there is and then each new one. At the end ``wait`` is called: it returns when there may be more,
    or ``False`` to end. A directory that goes away and comes back is followed on. Errors as of ``read``.
    """
    place, segments = _Place(Path()), segments_of(path)
    while True:
        for segment in segments:
            if segment.name < place.path.name:
                continue
            place = place if segment == place.path else _Place(segment)
            for reached, item in _records(place):
                place = reached
                yield item
        if not wait():
            return
        segments = []
        with suppress(UsageError):
            segments = segments_of(path)


def _records(start: _Place) -> Iterator[tuple[_Place, Event | Notice]]:
    place = start
    try:
        with start.path.open("rb") as file:
            file.seek(min(start.end, os.fstat(file.fileno()).st_size))
            while line := _whole_line(file, place):
                place = _Place(place.path, file.tell(), place.line + 1)
                yield place, _record(line, place)
    except OSError as e:
        raise EdgeError(f"{start.path} cannot be read: {e.strerror}") from e


def _whole_line(file: BinaryIO, place: _Place) -> bytes:
    line = file.readline(_MAX_LINE)
    if len(line) == _MAX_LINE:
        raise EdgeError(f"{escape(str(place.path))}:{place.line + 1}: a line of over {_MAX_LINE >> 20} MiB: no journal")
    return line if line.endswith(b"\n") else b""


def _record(line: bytes, place: _Place) -> Event | Notice:
    try:
        return decode(line)
    except EdgeError as e:
        raise EdgeError(f"{escape(str(place.path))}:{place.line}: {e}") from e
