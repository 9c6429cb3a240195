"""A complete segment becomes a sealed one: compressed, indexed, and only then is the plain one removed.

A crash leaves it as it was, or there both ways, with an unfinished file at most; ``tidy`` puts any of these right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from enforcer.edges.index import Indexing, index_of, index_path, write_index
from enforcer.edges.segments import blocks, plain, sealed, segments_of
from enforcer.errors import EdgeError

LEVEL = 3
"""zstd's own default: a higher level costs the machine more than the disk that it saves."""

_UNFINISHED = ".tmp"
_STEP = 1 << 20  # bytes between two calls of ``step``

Step = Callable[[], None]


def tidy(directory: Path, current: Path, step: Step) -> None:
    """Seal and index every segment before the ``current`` one, oldest first. ``step`` is called every few milliseconds; what it
    raises ends it, and leaves nothing behind. Raises ``OSError`` or ``EdgeError`` if it cannot be done.
    """
    for unfinished in directory.glob(f"events-*{_UNFINISHED}"):
        unfinished.unlink()
    for segment in segments_of(directory):
        if plain(segment).name >= current.name:  # what is later than an order's current one is not complete either
            break
        if plain(segment).exists():
            _seal(plain(segment), step)
        elif index_of(segment) is None:
            _index(segment, step)


def discard(segment: Path) -> None:
    """Remove a segment in every form, and its index."""
    for path in (plain(segment), sealed(segment), index_path(segment)):
        path.unlink(missing_ok=True)


def _seal(segment: Path, step: Step) -> None:
    target = sealed(segment)
    if not (target.exists() and _same(segment, target, step)):
        _compress(segment, target, step)
    segment.unlink()
    _sync(segment.parent)


def _compress(segment: Path, target: Path, step: Step) -> None:
    new, indexing = target.with_name(target.name + _UNFINISHED), Indexing()
    status = segment.stat()
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb") as file:
            stream = compressor.compressobj(size=status.st_size)
            for data in _indexed(segment, indexing, step):
                file.write(stream.compress(data))
            file.write(stream.flush())
            file.flush()
            os.utime(
                fd, ns=(status.st_atime_ns, status.st_mtime_ns)
            )  # retention goes by when the last record was written
            os.fsync(fd)
            size = os.fstat(fd).st_size
        write_index(target, indexing.made(size))
        new.rename(target)
    except zstandard.ZstdError as e:
        raise EdgeError(f"{segment} changed while it was sealed: {e}") from e
    finally:
        new.unlink(missing_ok=True)  # what has not become the sealed one
    _sync(segment.parent)


def _indexed(segment: Path, indexing: Indexing, step: Step) -> Iterator[bytes]:
    """The segment's bytes, to the last, whatever they are."""
    rest = b""
    with segment.open("rb") as file:
        while data := file.read(_STEP):
            yield data
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                indexing.add(line + b"\n")
            step()
    if rest:
        indexing.add(rest)


def _index(segment: Path, step: Step) -> None:
    indexing = Indexing()
    for block in blocks(segment):
        for line in block.split(b"\n")[:-1]:
            indexing.add(line + b"\n")
        step()
    write_index(segment, indexing.made(segment.stat().st_size))


def _same(segment: Path, target: Path, step: Step) -> bool:
    """Does the sealed one, which a crash may have kept from the disk, hold what the plain one does?"""
    position = 0
    try:
        with segment.open("rb") as file:
            for block in blocks(target):
                if file.read(len(block)) != block:
                    return False
                position += len(block)
                step()
    except EdgeError:
        return False
    return position == segment.stat().st_size


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
