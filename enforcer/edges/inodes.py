"""Files and directories as the kernel knows them: by device and inode number, never by path.

The device is the superblock's ``s_dev``. stat's ``st_dev`` is the same except on filesystems with several devices of
their own (btrfs subvolumes), where only mountinfo has it; so mountinfo is asked first, by the id of the file's mount.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from enforcer.core.model import Inode
from enforcer.edges.procfs import Procfs, s_dev
from enforcer.errors import HostError

_MOUNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)


class Inodes:
    """Answers which inodes stand for a path, with the mounts of one moment: make a new one for each full look."""

    def __init__(self, *, procfs: Procfs | None = None) -> None:
        self._procfs = procfs or Procfs()
        mounts = self._procfs.mounts()
        self._devices: Mapping[int, int] = {m.id: m.device for m in mounts}
        self._points = frozenset(m.point for m in mounts)

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
            return Inode(self._device_of(fd, found.st_dev), found.st_ino)
        finally:
            os.close(fd)

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


def _each_once(inodes: Iterable[Inode]) -> tuple[Inode, ...]:
    return tuple(dict.fromkeys(inodes))
