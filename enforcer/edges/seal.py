"""A complete segment becomes a sealed one: compressed, indexed, and only then is the plain one removed.

A crash leaves it as it was, or there both ways, with an unfinished file at most; ``tidy`` puts any of these right.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import zstandard

from enforcer.edges.index import Indexing, index_of, index_path, unfinished, write_index
from enforcer.edges.segments import blocks, content, plain, sealed, segments_of
from enforcer.errors import EdgeError

LEVEL = 1
"""For lines as alike as these zstd's fastest level is the smallest up to its fifth, and the one that is read again fastest."""

_READ = 256 << 10  # bytes compressed at once, which needs no interpreter
_SLICE = 32  # lines between two calls of ``step``: some 0.1 ms

Step = Callable[[], None]


def tidy(directory: Path, current: Path, done: set[Path], step: Step) -> str:
    """Seal and index every segment before the ``current`` one, oldest first; those in ``done`` are, and what is done joins them.

    ``step`` is called every 0.1 ms or so; what it raises ends it, and leaves nothing unfinished behind. One that cannot be
    sealed does not keep the others from it: why the first could not is returned, nothing if all could.
    """
    troubles = []
    for segment in segments_of(directory):
        if plain(segment).name >= current.name:  # what is later than an order's current one is not complete either
            break
        if segment in done:
            continue
        try:
            _put_right(segment, step)
            done.add(sealed(segment))
        except (OSError, EdgeError) as e:
            troubles.append(str(e))
    return troubles[0] if troubles else ""


def _put_right(segment: Path, step: Step) -> None:
    for place in (sealed(segment), index_path(segment)):
        unfinished(place).unlink(missing_ok=True)
    if plain(segment).exists():
        _seal(plain(segment), step)
    elif index_of(segment) is None:
        _index(segment, step)


def discard(segment: Path) -> None:
    """Remove a segment in every form, after its index: one that is left alone is that of a segment which somebody else removed."""
    for path in (index_path(segment), plain(segment), sealed(segment)):
        path.unlink(missing_ok=True)


def _seal(segment: Path, step: Step) -> None:
    target = sealed(segment)
    if not (target.exists() and same(segment, target, step)):
        if target.exists() and _is_whole(target, step):
            raise EdgeError(f"{segment} is there sealed, too, and the two differ: neither was touched")
        _compress(segment, target, step)
    segment.unlink()
    _sync(segment.parent)


def _compress(segment: Path, target: Path, step: Step) -> None:
    new, indexing = unfinished(target), Indexing()
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
            # retention goes by when the last record was written
            os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
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
        while data := file.read(_READ):
            yield data
            *lines, rest = (rest + data).split(b"\n")
            _add(indexing, lines, step)
    if rest:
        indexing.add(rest)


def _index(segment: Path, step: Step) -> None:
    indexing = Indexing()
    for block in blocks(segment):
        _add(indexing, block.split(b"\n")[:-1], step)
    write_index(segment, indexing.made(segment.stat().st_size))


def _add(indexing: Indexing, lines: Sequence[bytes], step: Step) -> None:
    """In slices so short that a writer, which lets go of the interpreter for each write, does not wait long to have it back."""
    for start in range(0, len(lines), _SLICE):
        for line in lines[start : start + _SLICE]:
            indexing.add(line + b"\n")
        step()


def same(segment: Path, target: Path, step: Step) -> bool:
    """Does the sealed one, which a crash may have kept from the disk, hold what the plain one does? Raises ``OSError``."""
    position = 0
    try:
        with segment.open("rb") as file:
            for block in content(target):
                if file.read(len(block)) != block:
                    return False
                position += len(block)
                step()
    except EdgeError:
        return False
    return position == segment.stat().st_size


def _is_whole(target: Path, step: Step) -> bool:
    """Can the sealed one be read to its end?"""
    try:
        for _ in content(target):
            step()
    except EdgeError:
        return False
    return True


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
