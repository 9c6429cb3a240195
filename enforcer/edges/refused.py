"""Follows a path the way a container's process would, after the fact, to learn which data object it led to.

Used for opens that a read-only mount or a file's own mode refused: the kernel tells the path that the program gave, no
more. Nothing is decided by it; an attempt is put on record.

The container chose the path, so nothing in it may hold or mislead the agent: openat2(2) stays inside the process's root,
opens nothing for reading, and resolves from the kernel's cache only (the path has just been tried), so that a filesystem
which the container serves itself (FUSE) is never asked. What cannot be told that way is not told at all.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from enforcer.core.model import Inode
from enforcer.edges.procfs import s_dev

_OPENAT2 = 437  # arch/x86/entry/syscalls/syscall_64.tbl
_NO_MAGICLINKS, _IN_ROOT, _CACHED = 0x02, 0x10, 0x20  # include/uapi/linux/openat2.h
_AT_EMPTY_PATH, _DONT_SYNC, _BASIC = 0x1000, 0x4000, 0x07FF  # include/uapi/linux/{fcntl,stat}.h
_STATX_SIZE, _STATX_MODE, _STATX_INODE, _STATX_DEVICE = 256, 28, 32, 136  # offsets in struct statx
_AT_FDCWD = -100
_DEEPEST = 128


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Found:
    """``inodes``: the file, or the directory that it would be made in, then the directories above it.

    ``names``: the path's components, leaf first; ``exists``: the file itself is there.
    """

    inodes: tuple[Inode, ...]
    names: tuple[str, ...]
    exists: bool

    def below(self, root: int) -> str:
        """The file's path relative to ``inodes[root]``."""
        return "/".join(reversed(self.names[: root + (not self.exists)]))


def candidates(pid: int, init: int, dirfd: int, path: bytes) -> Found | None:
    """Where ``path`` leads for the process ``pid``, or in the root of ``init`` if that process is gone already (0: is not known).

    None if it cannot be told: a relative path of a process that has ended, a root that is gone, a path that the kernel
    does not have in its cache any more, a name that cannot be told.
    """
    if not path:
        return None
    try:
        if not path.startswith(b"/"):
            start = os.readlink(f"/proc/{pid}/{'cwd' if dirfd == _AT_FDCWD else f'fd/{dirfd}'}".encode())
            path = b"/".join([b"", *_beneath(os.readlink(f"/proc/{pid}/root".encode()), start), path])
        with _root(pid, init) as root:
            return _follow(root, path)
    except OSError:
        return None  # ended meanwhile, too long a name to tell, a filesystem that fails: the caller counts it


@contextmanager
def _root(pid: int, init: int) -> Iterator[int]:
    flags = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY
    try:
        fd = os.open(f"/proc/{pid}/root", flags)
    except OSError:
        fd = os.open(f"/proc/{init}/root", flags)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened(directory: int, path: bytes, resolve: int) -> Iterator[int]:
    how = _How(flags=os.O_PATH | os.O_CLOEXEC, resolve=resolve | _NO_MAGICLINKS | _CACHED)
    fd = _libc.syscall(_OPENAT2, directory, path, ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        yield fd
    finally:
        os.close(fd)


def _follow(root: int, path: bytes) -> Found:
    try:
        with _opened(root, path, _IN_ROOT) as fd:
            own, is_directory = _inode(fd)
            names = _names(root, fd)
            if is_directory:
                return Found(_upwards(fd), _texts(names), exists=True)
        with _opened(root, b"/" + b"/".join(names[:-1]), _IN_ROOT) as above:
            return Found((own, *_upwards(above)), _texts(names), exists=True)
    except (FileNotFoundError, BlockingIOError):
        # a file that would have been made, or is not in the cache: the directory that it would stand in says where it is
        directory, _, leaf = path.rstrip(b"/").rpartition(b"/")
        with _opened(root, directory or b"/", _IN_ROOT) as fd:
            return Found(_upwards(fd), _texts([*_names(root, fd), leaf]), exists=False)


def _names(root: int, fd: int) -> list[bytes]:
    return _beneath(*(os.readlink(f"/proc/self/fd/{n}".encode()) for n in (root, fd)))


def _beneath(root: bytes, path: bytes) -> list[bytes]:
    """The components of ``path`` below ``root``: both are told from where we stand, the container from its own root."""
    above, names = ([n for n in text.split(b"/") if n] for text in (root, path))
    return names[len(above) :] if names[: len(above)] == above else names


def _texts(names: list[bytes]) -> tuple[str, ...]:
    return tuple(n.decode("utf-8", "surrogateescape") for n in reversed(names))


def _inode(fd: int) -> tuple[Inode, bool]:
    """The inode behind ``fd`` as the kernel has it in memory: a filesystem is not asked for fresher facts."""
    found = ctypes.create_string_buffer(_STATX_SIZE)
    if _libc.statx(fd, b"", _AT_EMPTY_PATH | _DONT_SYNC, _BASIC, found) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    (mode,) = struct.unpack_from("=H", found, _STATX_MODE)
    (number,) = struct.unpack_from("=Q", found, _STATX_INODE)
    major, minor = struct.unpack_from("=II", found, _STATX_DEVICE)
    return Inode(s_dev(os.makedev(major, minor)), number), stat.S_ISDIR(mode)


def _upwards(fd: int) -> tuple[Inode, ...]:
    """The inode of a directory and those above it, up to the root of its mount namespace."""
    inodes = [_inode(fd)[0]]
    at = os.dup(fd)
    try:
        while len(inodes) < _DEEPEST:
            with _opened(at, b"..", 0) as above:
                inode, _ = _inode(above)
                if inode == inodes[-1]:
                    break
                inodes.append(inode)
                os.dup2(above, at, inheritable=False)
    finally:
        os.close(at)
    return tuple(inodes)
