"""Files as the host has them on its disk: where they lie, and all that can be changed about them."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

FIEMAP = 0xC020660B
"""FS_IOC_FIEMAP of include/uapi/linux/fs.h: where a file's bytes lie on its device."""

GETFLAGS = 0x80086601
"""FS_IOC_GETFLAGS of include/uapi/linux/fs.h: what chattr sets."""


def offset_on_device(file: Path) -> int:
    """The byte of the block device at which a file begins. Asks ``FIEMAP`` for its first extent, written out before."""
    request = bytearray(struct.pack("=QQIIII", 0, 1 << 62, 1, 0, 1, 0) + bytes(56))
    with file.open("rb") as opened:
        fcntl.ioctl(opened, FIEMAP, request)
    (mapped,) = struct.unpack_from("=I", request, 20)
    assert mapped, f"{file} has no extent"
    (physical,) = struct.unpack_from("=Q", request, 40)
    return int(physical)


def state_of(directory: Path) -> list[str]:
    """All there is to know of what is below a directory, but when it was read."""
    lines = []
    for path in (directory, *sorted(directory.rglob("*"))):
        s = path.lstat()
        extended = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in _xattrs(path)]
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        facts = (s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blocks, s.st_mtime_ns)
        lines.append(repr((str(path), facts, extended, _flags(path), content)))
    return lines


def _xattrs(path: Path) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def _flags(path: Path) -> int:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        return 0
    fd = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("=l", fcntl.ioctl(fd, GETFLAGS, bytes(8))[:4])
        return int(flags)
    finally:
        os.close(fd)
