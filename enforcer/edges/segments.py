"""The journal's reading side: records as they were written, in constant memory, while an agent may be writing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import zstandard

from enforcer.core.chain import is_older, link_of
from enforcer.core.event import Event, Notice
from enforcer.core.words import escape
from enforcer.edges.ecs import decode
from enforcer.errors import EdgeError, UsageError

SEALED = ".zst"
"""What is added to the name of a segment that is complete and compressed."""

BLOCK = 1 << 20
"""Bytes that are read at once."""

_NAME = re.compile(r"events-(\d{20})\.jsonl(?:\.zst)?", re.ASCII)
_MAX_LINE = 16 << 20  # bytes; what has no newline in so many is no journal, and must not fill the memory
_LONGEST = 1 << 18  # records of a batch; what has no end in so many is none of the agent's
_FRAME_HEADER = 18  # bytes at most, RFC 8878


@dataclass(frozen=True)
class _Place:
    """How far a segment has been read: ``line`` lines, up to the offset ``end`` (of what was compressed, if it is sealed)."""

    path: Path
    end: int = 0
    line: int = 0


def segment_name(first: int) -> str:
    """The name of the segment whose first record has the number ``first``, before it is sealed."""
    return f"events-{first:020d}.jsonl"


def first_sequence(segment: Path) -> int:
    """The number in a segment's name."""
    found = _NAME.fullmatch(segment.name)
    if not found:
        raise EdgeError(f"{segment} is not named like a segment of the journal")
    return int(found[1])


def is_named(segment: Path) -> bool:
    """Is it named like a segment of a journal?"""
    return _NAME.fullmatch(segment.name) is not None


def plain(segment: Path) -> Path:
    """The segment's path before it was sealed."""
    return segment.with_name(segment.name.removesuffix(SEALED))


def sealed(segment: Path) -> Path:
    """The segment's path once it is sealed."""
    return segment.with_name(segment.name.removesuffix(SEALED) + SEALED)


def segments_of(path: Path) -> list[Path]:
    """The segments of a journal directory, plain and sealed, oldest first, or just the file that ``path`` is.

    One that is there both ways (it was just sealed) is there once. Raises ``UsageError`` if nothing is there, ``EdgeError``
    if it cannot be read.
    """
    try:
        names = {plain(path / name): name for name in sorted(os.listdir(path)) if _NAME.fullmatch(name)}
        return [path / names[segment] for segment in sorted(names)]
    except NotADirectoryError:
        return [path]
    except FileNotFoundError as e:
        if is_named(path) and path == plain(path) and sealed(path).exists():
            return [path]  # sealed since it was listed
        raise UsageError(f"no journal at {path}: name its directory or a file of it") from e
    except OSError as e:
        raise EdgeError(f"{path} cannot be read: {e.strerror}") from e


def read(paths: Iterable[Path], *, skip: Callable[[Path], bool] | None = None) -> Iterator[Event | Notice]:
    """Every record of the files and directories, in their order. A last line without its newline is not there yet, nor are, in a
    directory, records of a last batch that has no end: the agent may be writing it, and may take it back.

    ``skip`` says of a segment whether to pass it over (``enforcer.edges.index.may_hold``). One that retention removes while the
    others are read was none of those that are there.
    Raises ``UsageError`` for a path that does not exist, ``EdgeError`` with file and line for what is none of ours.
    """
    for path in paths:
        segments = segments_of(path)
        for segment in segments:
            if (segment != path and is_gone(segment)) or (skip and skip(segment)):
                continue
            for _, items in _committed(_Place(segment), whole=segment == path or is_complete(segment, segments)):
                yield from items


def follow(path: Path, *, wait: Callable[[], bool]) -> Iterator[Event | Notice]:
    """Every record there is and then each new one, once its batch is whole. At the end ``wait`` is called: it returns when there
    may be more, or ``False`` to end. A directory that goes away and comes back is followed on. Errors as of ``read``.
    """
    place, segments = _Place(Path()), segments_of(path)
    while True:
        for segment in segments:
            name, known = segment.name.removesuffix(SEALED), place.path.name.removesuffix(SEALED)
            if name < known or (segment != path and is_gone(segment)):
                continue
            place = replace(place, path=segment) if name == known else _Place(segment)
            for reached, items in _committed(place, whole=is_complete(segment, segments)):
                place = reached
                yield from items
        if not wait():
            return
        segments = []
        with suppress(UsageError):
            segments = segments_of(path)


def blocks(path: Path, *, start: int = 0, size: int = BLOCK) -> Generator[bytes, None, None]:
    """The whole lines of a plain or sealed segment from an offset on, in blocks of about ``size`` bytes, in constant memory.

    What stands behind the last newline is not there yet. ``start`` counts what was compressed. Raises ``EdgeError`` if the
    file cannot be read, has an endless line, or is a sealed one that is damaged or cut short.
    """
    rest = b""
    for read_bytes in content(path, start=start, size=size):
        data = rest + read_bytes
        end = data.rfind(b"\n", max(0, len(rest) - 1)) + 1
        if end:
            yield data[:end]
        rest = data[end:]
        if len(rest) >= _MAX_LINE:
            raise EdgeError(f"{escape(str(path))}: a line of over {_MAX_LINE >> 20} MiB: no journal")


def is_gone(segment: Path) -> bool:
    """Is the segment there in no form any more?"""
    return not (plain(segment).exists() or sealed(segment).exists())


def content(path: Path, *, start: int = 0, size: int = BLOCK) -> Iterator[bytes]:
    """All bytes of a plain or sealed segment, whatever they are. Parameters and errors as of ``blocks``.

    What is called sealed is never read as plain: damaged at its beginning, or emptied, it would be a segment without records.
    """
    try:
        with _opened(path) as file:
            if str(file.name).endswith(SEALED) or file.read(4) == zstandard.FRAME_HEADER[:4]:
                file.seek(0)
                yield from _decompressed(path, file, start, size)
                return
            file.seek(min(start, os.fstat(file.fileno()).st_size))
            while data := file.read(size):
                yield data
    except OSError as e:
        raise EdgeError(f"{path} cannot be read: {e.strerror}") from e


def _opened(path: Path) -> BinaryIO:
    """The file; or the other form of it, if it was sealed since it was listed."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        if not _NAME.fullmatch(path.name):
            raise
        return sealed(path).open("rb")


def _decompressed(path: Path, file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """Of what was compressed, all from ``start`` on. We write one frame, which says how long it is: what ends early was cut."""
    try:
        wanted = zstandard.get_frame_parameters(file.read(_FRAME_HEADER)).content_size
        if wanted == zstandard.CONTENTSIZE_UNKNOWN:
            raise EdgeError(f"{escape(str(path))} is damaged: its frame does not say how long it is, as ours do")
        file.seek(0)
        position = 0
        with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as stream:
            while data := stream.read(size):
                position += len(data)
                if position > start:
                    yield data[max(0, len(data) - (position - start)) :]
    except zstandard.ZstdError as e:
        raise EdgeError(f"{escape(str(path))} is damaged: {e}") from e
    if position < wanted:
        raise EdgeError(f"{escape(str(path))} is cut short: {position} of {wanted} bytes are there")
    if position > wanted:
        raise EdgeError(f"{escape(str(path))} is damaged: more than its one frame is there")


def is_complete(segment: Path, segments: Sequence[Path]) -> bool:
    """Does nobody write there any more?"""
    return segment != segments[-1] or not is_named(segment) or segment.name.endswith(SEALED)


def _committed(start: _Place, *, whole: bool) -> Iterator[tuple[_Place, list[Event | Notice]]]:
    """The records batch by batch, and where each ends; one by one where all are there: ``whole``."""
    place, held = start, list[Event | Notice]()
    for block in blocks(start.path, start=start.end):
        begin = 0
        while end := block.find(b"\n", begin) + 1:
            line = block[begin:end]
            place = _Place(place.path, place.end + end - begin, place.line + 1)
            held.append(_record(line, place))
            if whole or len(held) >= _LONGEST or link_of(line) or is_older(line):
                yield place, held
                held = []
            begin = end


def _record(line: bytes, place: _Place) -> Event | Notice:
    try:
        return decode(line)
    except EdgeError as e:
        raise EdgeError(f"{escape(str(place.path))}:{place.line}: {e}") from e
