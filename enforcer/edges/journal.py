"""The journal's writing side: ECS JSON Lines that only grow, committed batch by batch, held by one agent.

A directory of segments ``events-<first sequence number, 20 digits>.jsonl``, whose names sort in the order of time.
``flock`` on the directory keeps a second agent out. Losses are never silent: a torn end is cut when the journal is
opened and told by ``recovered``; a batch that the disk refuses is refused whole, with ``EdgeError``.
``enforcer.edges.segments`` reads what this writes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import msgspec

from enforcer.core.event import Event, Notice
from enforcer.edges.ecs import decode, encode
from enforcer.edges.segments import first_sequence, segment_name, segments_of
from enforcer.errors import EdgeError, HostError

_WINDOW = 64 << 10  # bytes first read from the end: a batch of a quiet host fits
_LONGEST_TEAR = 16 << 20  # bytes without one good line that a torn batch can explain; beyond it, nothing is cut
_FOREIGN_WRITERS = 0o022


@dataclass(frozen=True)
class _Segment:
    """The file that lines go to. ``end``: the offset after the last committed line."""

    path: Path
    fd: int
    inode: tuple[int, int]
    end: int


class Journal:
    """One per directory, used by one thread.

    ``recovered`` is the number of bytes that were cut from a torn end when the directory was last opened. Raises
    ``HostError`` if the directory cannot be made, written or trusted, or if another agent holds it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = -1
        self._segment: _Segment | None = None
        self._committed: _Segment | None = None  # outlives a failure: what lies behind its end was never promised
        self._last = 0
        self.recovered = 0
        self._open()

    def append(self, batch: Sequence[Event | Notice]) -> int:
        """Write and sync ``batch`` in one write, numbered on from the last record; returns the last number given.

        The numbers that the items carry are not looked at. Raises ``EdgeError`` if the disk refuses: then nothing of
        the batch is in the journal, and the next call opens the directory again.
        """
        try:
            segment = self._segment or self._open()
            lines = b"".join(encode(item, number) for number, item in enumerate(batch, start=self._last + 1))
            _write(segment, lines)
        except (OSError, HostError) as e:
            self.close()
            raise EdgeError(f"the journal in {self._directory} cannot be written: {_why(e)}") from e
        self._segment = self._committed = replace(segment, end=segment.end + len(lines))
        self._last += len(batch)
        return self._last

    def close(self) -> None:
        """Let the directory go. Every batch is on the disk already."""
        for fd in (self._segment.fd if self._segment else -1, self._lock):
            if fd >= 0:
                os.close(fd)
        self._segment, self._lock = None, -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self) -> _Segment:
        try:
            self._lock = _locked(self._directory)
            path = (segments_of(self._directory) or [self._directory / segment_name(self._last + 1)])[-1]
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            self._segment = _Segment(path, fd, _inode(os.fstat(fd)), end=0)
            os.fsync(self._lock)  # the file's name is on the disk before the first line is promised to be
            return self._recover(self._segment)
        except OSError as e:
            self.close()
            raise HostError(
                f"the journal directory {self._directory} cannot be used: {_why(e)}; "
                "make it writable for the agent, or name another with --journal"
            ) from e
        except (HostError, EdgeError):
            self.close()
            raise

    def _recover(self, segment: _Segment) -> _Segment:
        size = os.fstat(segment.fd).st_size
        known = self._committed
        if known and (known.path, known.inode) == (segment.path, segment.inode) and known.end <= size:
            end, last = known.end, self._last
        else:
            end, last = _last_record(segment, size)
        if end < size:
            os.ftruncate(segment.fd, end)
            os.fdatasync(segment.fd)
        self.recovered = size - end
        self._last = max(self._last, last)
        self._segment = self._committed = replace(segment, end=end)
        return self._segment


def _locked(directory: Path) -> int:
    """The directory's descriptor, locked. It is made if it is missing; one that others may write to is refused."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_mode & _FOREIGN_WRITERS:
            raise HostError(f"others than its owner may write to the journal directory {directory}: chmod 0700 it")
    except BlockingIOError as e:
        os.close(fd)
        raise HostError(
            f"another agent writes to the journal directory {directory}: stop it, or name another with --journal"
        ) from e
    except (OSError, HostError):
        os.close(fd)
        raise
    return fd


def _write(segment: _Segment, lines: bytes) -> None:
    """All of ``lines`` to the disk, or none: a short write is taken back."""
    if _inode(os.stat(segment.path)) != segment.inode:
        raise FileNotFoundError(f"{segment.path.name} was replaced by another file")
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(segment.fd, rest) :]
        os.fdatasync(segment.fd)
    except OSError:
        with suppress(OSError):  # where even this fails, the next open cuts at the committed end
            os.ftruncate(segment.fd, segment.end)
        raise


def _last_record(segment: _Segment, size: int) -> tuple[int, int]:
    """Where the last whole line ends, and its number. Without one: the start, and the number before the name's."""
    window = _WINDOW
    while True:
        start = max(0, size - window)
        data = os.pread(segment.fd, size - start, start)
        end = _last_json_end(data, whole=start == 0)
        if end is not None:
            return start + end, _sequence_of(segment.path, data[data.rfind(b"\n", 0, end - 1) + 1 : end])
        if start == 0:
            return 0, first_sequence(segment.path) - 1
        if window >= _LONGEST_TEAR:
            raise HostError(f"the last {window >> 20} MiB of {segment.path} hold no record: move the file away")
        window *= 4


def _last_json_end(data: bytes, *, whole: bool) -> int | None:
    """The offset after the last line that is JSON. Unless ``whole``, the first line may lack its beginning."""
    end = data.rfind(b"\n")
    while end >= 0:
        begin = data.rfind(b"\n", 0, end)
        if begin < 0 and not whole:
            return None
        if _is_json(data[begin + 1 : end]):
            return end + 1
        end = begin
    return None


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _sequence_of(path: Path, line: bytes) -> int:
    try:
        return decode(line).sequence
    except EdgeError as e:
        raise HostError(f"the last record of {path} is not this agent's: {e}; move the file away") from e


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
