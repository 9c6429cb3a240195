"""The journal's writing side: ECS JSON Lines that only grow, committed batch by batch, held by one agent.

A directory of segments ``events-<first sequence number, 20 digits>.jsonl``, whose names sort in the order of time.
``flock`` on the directory keeps a second agent out. Losses are never silent: a torn end is cut when the journal is
opened and told by ``recovered``; a batch that the disk refuses is refused whole, with ``EdgeError``.
Batches are chained by hash (``enforcer.core.chain``). ``enforcer.edges.segments`` reads what this writes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from enforcer.core.chain import ORIGIN, Link, closed
from enforcer.core.event import Event, Notice
from enforcer.edges.ecs import encode
from enforcer.edges.segments import SEALED, segment_name, segments_of
from enforcer.edges.tail import Tail, last_tail, tail_of
from enforcer.errors import EdgeError, HostError

_FOREIGN_WRITERS = 0o022
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


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
        self._head, self._mark = ORIGIN, ""
        self.recovered = 0
        self._open()

    @property
    def mark(self) -> str:
        """What was last committed as a mark, by whichever agent wrote here; empty if nothing was."""
        return self._mark

    def append(self, batch: Sequence[Event | Notice], *, mark: str = "") -> int:
        """Write and sync ``batch`` in one write, numbered on from the last record; returns the last number given.

        ``mark`` is any text of at most 4096 characters, committed with the batch; an empty one leaves the last as it is.
        The numbers that the items carry are not looked at. Raises ``EdgeError`` if the disk refuses: then nothing of
        the batch is in the journal, and the next call opens the directory again.
        """
        try:
            segment = self._segment or self._open()
            if not batch:
                return self._last
            lines, head = self._lines(batch, mark or self._mark)
            _write(segment, lines)
        except (OSError, HostError) as e:
            self.close()
            raise EdgeError(f"the journal in {self._directory} cannot be written: {_why(e)}") from e
        self._segment = self._committed = replace(segment, end=segment.end + len(lines))
        self._last += len(batch)
        self._head, self._mark = head, mark or self._mark
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

    def _lines(self, batch: Sequence[Event | Notice], mark: str) -> tuple[bytes, str]:
        lines = b"".join(encode(item, number) for number, item in enumerate(batch, start=self._last + 1))
        return closed(lines, len(batch), mark=mark, previous=self._head)

    def _open(self) -> _Segment:
        try:
            self._lock = _locked(self._directory)
            segment, tail = self._newest()
            os.fsync(self._lock)  # the file's name is on the disk before the first line is promised to be
        except OSError as e:
            self.close()
            raise HostError(
                f"the journal directory {self._directory} cannot be used: {_why(e)}; "
                "make it writable for the agent, or name another with --journal"
            ) from e
        except (HostError, EdgeError):
            self.close()
            raise
        self._committed, self._last = segment, max(self._last, tail.last)
        if tail.link:
            self._head, self._mark = tail.link.sha256, tail.link.mark
        return segment

    def _newest(self) -> tuple[_Segment, Tail]:
        """The segment that lines go to, cut where what was committed ends, and the tail of the journal."""
        segments = segments_of(self._directory)
        if segments and not segments[-1].name.endswith(SEALED):
            tail = self._recover(self._hold(segments[-1]))
            if tail.link or not tail.end:
                before = None if tail.link or not segments[1:] else last_tail(segments[-2]).link
                return self._hold(segments[-1], tail.end), replace(tail, link=tail.link or before)
        else:
            tail = last_tail(segments[-1]) if segments else Tail(0, self._last)
        # what is there is complete, or by a version that wrote no chain: ours begins in a segment of its own
        return self._hold(self._directory / segment_name(max(tail.last, self._last) + 1)), tail

    def _hold(self, path: Path, end: int = 0) -> _Segment:
        """The open segment is ``path``, committed up to ``end``."""
        if self._segment and self._segment.path != path:
            os.close(self._segment.fd)
            self._segment = None
        fd = self._segment.fd if self._segment else os.open(path, _FLAGS, 0o600)
        self._segment = _Segment(path, fd, _inode(os.fstat(fd)), end)
        return self._segment

    def _recover(self, segment: _Segment) -> Tail:
        size = os.fstat(segment.fd).st_size
        known = self._committed
        if known and (known.path, known.inode) == (segment.path, segment.inode) and known.end <= size:
            tail = Tail(known.end, self._last, link=Link(0, self._mark, ORIGIN, self._head))
        else:
            tail = tail_of(segment.path, segment.fd)
        if tail.end < size:
            os.ftruncate(segment.fd, tail.end)
            os.fdatasync(segment.fd)
        self.recovered = size - tail.end
        return tail


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


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
