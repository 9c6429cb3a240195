"""Files and directories as the kernel knows them: by device and inode number, never by path.

The device is the superblock's ``s_dev``. stat's ``st_dev`` is the same except on filesystems with several devices of
their own (btrfs subvolumes), where only mountinfo has it; so mountinfo is asked first, by the id of the file's mount.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

from enforcer.core.model import Inode
from enforcer.edges.procfs import Procfs, s_dev
from enforcer.errors import HostError

SYSFS = Path("/sys/dev/block")

LINK_FILES = 100_000
"""Files of one object that are looked at for names elsewhere; about a second's work."""

_GET_VERSION = 0x80087601  # FS_IOC_GETVERSION of include/uapi/linux/fs.h
_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)


class Inodes:
    """Answers which inodes stand for a path, with the mounts of one moment: make a new one for each full look."""

    def __init__(self, *, procfs: Procfs | None = None) -> None:
        self._procfs = procfs or Procfs()
        self._mounts = self._procfs.mounts()
        self._devices: Mapping[int, int] = {m.id: m.device for m in self._mounts}
        self._points = frozenset(m.point for m in self._mounts)

    def inode_of(self, path: str | Path) -> Inode | None:
        """What ``path`` leads to, links followed; None if nothing is there. Raises HostError if it may not be seen."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
            return None
        except OSError as e:
            raise HostError(f"cannot look at {path}: {e.strerror}; a policy that protects it cannot hold") from e
        try:
            found = os.fstat(fd)
            return Inode(self._device_of(fd, found.st_dev), found.st_ino, _version(fd, found.st_mode))
        finally:
            os.close(fd)

    def links(self, root: str | Path) -> tuple[tuple[Inode, ...], bool]:
        """The files below ``root``, on its filesystem, that have names elsewhere; False if there are too many files to tell."""
        names: Counter[int] = Counter()
        several: dict[int, tuple[str, int]] = {}
        for number, entry in enumerate(_files(root)):
            if number == LINK_FILES:
                return (), False
            found = entry.stat(follow_symlinks=False)
            if found.st_nlink > 1:
                names[found.st_ino] += 1
                several[found.st_ino] = entry.path, found.st_nlink
        elsewhere = (path for inode, (path, count) in several.items() if names[inode] < count)
        return tuple(i for i in map(self.inode_of, elsewhere) if i), True

    def disks(self, devices: Iterable[int]) -> frozenset[int]:
        """The block devices (s_dev) whose bytes are those of filesystems (s_dev): their own, those around and beneath them."""
        wanted = set(devices)
        sources = {m.source for m in self._mounts if m.device in wanted and m.source.startswith("/dev/")}
        numbers = {s_dev(found) for found in map(_block_device, sources) if found}
        return frozenset(chain.from_iterable(_beneath(number) for number in numbers | wanted))

    def roots_of(self, path: str | Path) -> tuple[Inode, ...]:
        """The inode of ``path`` first, then the roots of all mounts beneath it, on whatever filesystem they are."""
        own = self.inode_of(path)
        if own is None:
            return ()
        beneath = (self.inode_of(point) for point in self._points_beneath(path))
        return (own, *sorted({i for i in beneath if i and i != own}))

    def volume(self, mountpoint: str, device: str | None) -> tuple[Inode, ...]:
        """The inodes of a volume; with ``o=bind`` two, since the mountpoint is an empty stub until its first mount."""
        places = (mountpoint, device) if device else (mountpoint,)
        return _each_once(inode for place in places for inode in self.roots_of(place))

    def layer(self, upper: str, merged: str, *, pid: int) -> tuple[Inode, ...]:
        """The inodes of a container's writable layer: the upper directory, and while ``pid`` runs the root it sees.

        An overlay's root has its upper directory's inode number on the overlay's own device (fs/overlayfs/super.c,
        ovl_get_root), whatever stat answers: both are given.
        """
        own = self.inode_of(upper) if upper else None
        # the merged directory is mounted on the host as a rule, and needs no right to trace the container
        place = merged if merged in self._points else self._procfs.root(pid)
        seen = self.inode_of(place) if pid else None
        inner = Inode(seen.device, own.inode) if own and seen else None
        return _each_once(i for i in (own, seen, inner) if i)

    def _device_of(self, fd: int, st_dev: int) -> int:
        info = Path(f"/proc/self/fdinfo/{fd}").read_text()
        found = _MOUNT_ID.search(info)
        # a mount of another namespace (a container's root) is not in our mountinfo
        return self._devices.get(int(found[1]), s_dev(st_dev)) if found else s_dev(st_dev)

    def _points_beneath(self, path: str | Path) -> tuple[str, ...]:
        beneath = os.path.realpath(path).rstrip("/") + "/"
        return tuple(sorted(p for p in self._points if p.startswith(beneath) and p != "/"))


def _version(fd: int, mode: int) -> int:
    """The i_generation of what an O_PATH descriptor names; 0 where the filesystem does not tell, or opening would do something."""
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return 0
    value = bytearray(8)
    try:
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(readable, _GET_VERSION, value)
        finally:
            os.close(readable)
    except OSError:
        return 0  # not every filesystem has the call: the number alone decides then
    return int.from_bytes(value[:4], "little")


def _files(root: str | Path) -> Iterator[os.DirEntry[str]]:
    """The regular files below ``root`` on its filesystem. What goes away meanwhile is left out."""
    device, waiting = os.lstat(root).st_dev, [os.fspath(root)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    yield entry
                elif entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_dev == device:
                    waiting.append(entry.path)


def _block_device(path: str) -> int:
    try:
        found = os.stat(path)
    except OSError:
        return 0  # the name that it was mounted by need not be there any more
    return found.st_rdev if stat.S_ISBLK(found.st_mode) else 0


def _beneath(device: int) -> Iterator[int]:
    """A block device, the disk that it is a partition of, and what a mapping or an array consists of."""
    place = SYSFS / f"{device >> 20}:{device & 0xFFFFF}"
    if not place.exists():
        return
    yield device
    around = [place.resolve().parent] if (place / "partition").exists() else []
    for other in (*around, *(place / "slaves").glob("*")):
        major, minor = (other / "dev").read_text().split(":")
        yield from _beneath(int(major) << 20 | int(minor))


def _each_once(inodes: Iterable[Inode]) -> tuple[Inode, ...]:
    return tuple(dict.fromkeys(inodes))
