"""The one file that lines are added to, and the directory that one agent holds."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from enforcer.core.timestamp import from_rfc3339
from enforcer.errors import HostError

_FOREIGN_WRITERS = 0o022
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW
_TIME = slice(15, 45)  # of a line of ours, which begins with {"@timestamp":"


@dataclass(frozen=True)
class Appended:
    """The file that lines go to. ``end``: the offset after the last committed line; ``since``: about when the first was written."""

    path: Path
    fd: int
    inode: tuple[int, int]
    end: int
    since: int

    def write(self, pieces: Iterable[bytes]) -> Appended:
        """All of ``pieces`` to the disk, or none: what was written of them is taken back. What the segment then is.

        Raises ``OSError``, and what ``pieces`` raises.
        """
        status = os.stat(self.path)
        if _inode(status) != self.inode:
            raise FileNotFoundError(f"{self.path.name} was replaced by another file")
        if status.st_size != self.end:  # what is taken back by ``end`` would be another batch than this one
            raise OSError(errno.EIO, f"{self.path.name} has another length than was written")
        end, committed = self.end, False
        try:
            for piece in pieces:
                _write_all(self.fd, piece)
                os.posix_fadvise(
                    self.fd, end, len(piece), os.POSIX_FADV_DONTNEED
                )  # the disk begins while the next is made
                end += len(piece)
            os.fdatasync(self.fd)
            committed = True
        finally:
            if not committed:
                with suppress(OSError):  # where even this fails, the next open cuts at the committed end
                    os.ftruncate(self.fd, self.end)
        return replace(self, end=end)

    def cut(self, end: int) -> int:
        """Take away what stands behind ``end``; how many bytes that was. Raises ``OSError``."""
        size = os.fstat(self.fd).st_size
        if end < size:
            os.ftruncate(self.fd, end)
            os.fdatasync(self.fd)
        return size - end


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def opened(path: Path, *, now_ns: int, new: bool) -> Appended:
    """The segment, for appending; ``new``: it must not be there yet. Raises ``OSError``."""
    fd = os.open(path, _FLAGS | (os.O_CREAT | os.O_EXCL if new else 0), 0o600)
    since = now_ns
    with suppress(ValueError):  # an empty one begins now, and what is no line of ours is told elsewhere
        since = from_rfc3339(os.pread(fd, _TIME.stop, 0)[_TIME].decode("ascii"))
    return Appended(path, fd, _inode(os.fstat(fd)), 0, since)


def locked(directory: Path) -> int:
    """The directory's descriptor, locked. It is made if it is missing; one that others may write to is refused.

    Raises ``HostError``, also if another agent holds it, and ``OSError``.
    """
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


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
