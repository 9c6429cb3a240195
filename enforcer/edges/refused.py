"""Follows a path the way a container's process would, after the fact, to learn which data object it led to.

Used for opens that a read-only mount or a file's own mode refused: the kernel tells the path that the program gave, no
more. Nothing is decided by it; an attempt is put on record. The path is followed with openat2(2) inside the root that the
process has, so that no symbolic link and no ``..`` leads out of it.
"""

from __future__ import annotations

import ctypes
import os
import stat
from dataclasses import dataclass

from enforcer.core.model import Inode
from enforcer.edges.procfs import s_dev

_OPENAT2 = 437  # arch/x86/entry/syscalls/syscall_64.tbl
_NO_MAGICLINKS, _IN_ROOT = 0x02, 0x10  # include/uapi/linux/openat2.h
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
    """Where ``path`` leads for the process ``pid``, or in the root of ``init`` if that process is gone already.

    None if it cannot be told any more: a relative path of a process that has ended, or one whose root is gone.
    """
    if not path:
        return None
    if not path.startswith(b"/"):
        start = _link(f"/proc/{pid}/" + ("cwd" if dirfd == _AT_FDCWD else f"fd/{dirfd}"))
        base = _link(f"/proc/{pid}/root")
        if start is None or base is None:
            return None
        path = b"/".join([b"", *_beneath(base, start), path])
    for root in (f"/proc/{pid}/root", *((f"/proc/{init}/root",) if init else ())):
        try:
            fd = os.open(root, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
        except OSError:
            continue  # that process has ended
        try:
            return _follow(fd, path)
        finally:
            os.close(fd)
    return None


def _link(path: str) -> bytes | None:
    try:
        return os.readlink(path.encode())
    except OSError:
        return None


def _openat2(directory: int, path: bytes) -> int | None:
    how = _How(flags=os.O_PATH | os.O_CLOEXEC, resolve=_IN_ROOT | _NO_MAGICLINKS)
    fd = _libc.syscall(_OPENAT2, directory, path, ctypes.byref(how), ctypes.sizeof(how))
    return fd if fd >= 0 else None


def _follow(root: int, path: bytes) -> Found | None:
    fd = _openat2(root, path)
    if fd is None:
        return _follow_missing(root, path)
    try:
        own, is_directory = _inode(fd)
        names = _names(root, fd)
        above = fd if is_directory else _openat2(root, b"/" + b"/".join(names[:-1]))
        inodes = _upwards(above) if above is not None else ()
    finally:
        os.close(fd)
    if not is_directory:
        inodes = (own, *inodes)
        if above is not None:
            os.close(above)
    return Found(inodes, _texts(names), exists=True)


def _follow_missing(root: int, path: bytes) -> Found | None:
    """A file that would have been made: the directory that it would stand in says where it is."""
    directory, _, leaf = path.rstrip(b"/").rpartition(b"/")
    fd = _openat2(root, directory or b"/")
    if fd is None:
        return None
    try:
        return Found(_upwards(fd), _texts([*_names(root, fd), leaf]), exists=False)
    finally:
        os.close(fd)


def _names(root: int, fd: int) -> list[bytes]:
    return _beneath(*(os.readlink(f"/proc/self/fd/{n}".encode()) for n in (root, fd)))


def _beneath(root: bytes, path: bytes) -> list[bytes]:
    """The components of ``path`` below ``root``: both are told from where we stand, the container from its own root."""
    above, names = ([n for n in text.split(b"/") if n] for text in (root, path))
    return names[len(above) :] if names[: len(above)] == above else names


def _texts(names: list[bytes]) -> tuple[str, ...]:
    return tuple(n.decode("utf-8", "surrogateescape") for n in reversed(names))


def _inode(fd: int) -> tuple[Inode, bool]:
    found = os.fstat(fd)
    return Inode(s_dev(found.st_dev), found.st_ino), stat.S_ISDIR(found.st_mode)


def _upwards(fd: int) -> tuple[Inode, ...]:
    """The inode of a directory and those above it, up to the root of its mount namespace."""
    inodes = [_inode(fd)[0]]
    at = os.dup(fd)
    try:
        while len(inodes) < _DEEPEST:
            above = os.open("..", os.O_PATH | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = above
            inode, _ = _inode(at)
            if inode == inodes[-1]:
                break
            inodes.append(inode)
    finally:
        os.close(at)
    return tuple(inodes)
