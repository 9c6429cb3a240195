"""How a segment ends: what of it was committed, and what a torn write left behind that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from enforcer.core.chain import Link, digest_of, link_of
from enforcer.edges.ecs import decode
from enforcer.edges.ecs_line import SCHEMA, Header
from enforcer.edges.segments import SEALED, blocks, first_sequence
from enforcer.errors import EdgeError, HostError

_WINDOW = 64 << 10  # bytes first read from the end: a batch of a quiet host fits
_LONGEST_TEAR = 64 << 20  # bytes without a committed record that a torn batch can explain; beyond it, nothing is cut
_HEADERS = msgspec.json.Decoder(Header)


@dataclass(frozen=True)
class Tail:
    """What was committed ends at the offset ``end``, with the record number ``last`` of the time ``time_ns``.

    ``link`` is the last batch's chain; None if nothing was committed, or by a version that wrote no chain.
    """

    end: int
    last: int
    time_ns: int = 0
    link: Link | None = None


def tail_of(path: Path, fd: int) -> Tail:
    """The tail of a plain segment. A batch is committed as a whole; one with blocks that never reached the disk was torn.
    Raises ``HostError`` if what stands there cannot have been left by this agent: it is not to be cut.
    """
    size, window = os.fstat(fd).st_size, _WINDOW
    while True:
        start = max(0, size - window)
        found = _found(path, os.pread(fd, size - start, start), start)
        if found:
            return found
        if start == 0:
            return Tail(0, first_sequence(path) - 1)
        if window >= _LONGEST_TEAR:
            raise HostError(f"the last {window >> 20} MiB of {path} hold no committed record: move the file away")
        window *= 4


def last_tail(path: Path) -> Tail:
    """The tail of a segment that is complete, in whichever form. Raises ``HostError`` if it is damaged."""
    line, end = b"", 0
    try:
        for block in blocks(path):
            line, end = block[block.rfind(b"\n", 0, -1) + 1 :], end + len(block)
    except EdgeError as e:
        raise HostError(f"what was recorded last is not known: {e}; move the file away") from e
    if not line and path.name.endswith(SEALED):  # none of ours is, and its number must not be given again
        raise HostError(f"what was recorded last is not known: {path} holds no record; move the file away")
    if not line:
        return Tail(0, first_sequence(path) - 1)
    return Tail(end, *_ours(path, line), link_of(line))


def _found(path: Path, data: bytes, start: int) -> Tail | None:
    """The tail, if the window ``data``, which begins at the offset ``start``, is large enough to tell."""
    cut = len(data)
    while True:
        end, line = _committed(path, data[:cut], whole=start == 0)
        if not line:
            return None
        link = link_of(line)
        begin = _committed(path, data[: end - len(line)], whole=start == 0)[0] if link else end
        if link and not begin and start:
            return None
        if not link or not _torn(data[begin:end], link):
            return Tail(start + end, *_ours(path, line), link)
        cut = begin


def _committed(path: Path, data: bytes, *, whole: bool) -> tuple[int, bytes]:
    """The last line that ends a batch, or that an older version wrote, and the offset after it; 0 and nothing without one."""
    for end, line in _backwards(data, whole=whole):
        if link_of(line):
            return end, line
        header = _header(path, line)
        if header and header.enforcer.schema < SCHEMA:
            return end, line
    return 0, b""


def _backwards(data: bytes, *, whole: bool) -> Iterator[tuple[int, bytes]]:
    """Each line with the offset after it, last first. Unless ``whole``, the first line may lack its beginning: it is left out."""
    end = data.rfind(b"\n") + 1
    while end:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if begin or whole:
            yield end, data[begin:end]
        end = begin


def _torn(batch: bytes, link: Link) -> bool:
    """Blocks that never reached the disk are zeros, which no line holds. What has none was changed by somebody: that stays."""
    return b"\0" in batch and digest_of(batch, link) != link.sha256


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _header(path: Path, line: bytes) -> Header | None:
    """What kind of line it is; None if it is no JSON. JSON that is not ours is somebody's, and nothing to be cut."""
    if not _is_json(line):
        return None
    try:
        header = _HEADERS.decode(line)
    except (ValueError, RecursionError) as e:
        raise HostError(f"the end of {path} is not this agent's: {e}; move the file away") from e
    if header.enforcer.schema > SCHEMA:
        _ours(path, line)
    return header


def _ours(path: Path, line: bytes) -> tuple[int, int]:
    try:
        item = decode(line)
    except EdgeError as e:
        raise HostError(f"the last record of {path} is not this agent's: {e}; move the file away") from e
    return item.sequence, item.time_ns
