"""What /proc says: the mounts of a process, its cgroup, and (by psutil) the host's own addresses."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from enforcer.errors import ContainerGone, EdgeError

PROC = Path("/proc")

_SOCKET = re.compile(r"socket:\[(\d+)\]")
_EVERYWHERE = frozenset(
    {"lo", "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"}
)
"""Devices that the kernel makes in each network namespace (net.core.fb_tunnels_only_for_init_net)."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo (proc_pid_mountinfo(5)). ``device`` is the kernel's s_dev: major << 20 | minor.

    ``root`` is the directory of the filesystem that is mounted, ``point`` where, ``options`` those of the filesystem,
    ``source`` what was mounted (a path for a block device).
    """

    id: int
    device: int
    root: str
    point: str
    kind: str
    options: str = ""
    source: str = ""


class Procfs:
    """Answers questions about processes. ``root`` is where procfs is mounted."""

    def __init__(self, root: Path = PROC) -> None:
        self._root = root

    def mounts(self, pid: int | str = "self") -> tuple[Mount, ...]:
        """The mounts that a process sees, in the order of mounting. Raises ContainerGone."""
        lines = self._read(pid, "mountinfo").splitlines()
        return tuple(_mount(line.split(" ")) for line in lines)

    def cgroup(self, pid: int | str = "self") -> str:
        """The process's path in cgroup2, as ``/docker/<id>``. Raises ContainerGone also when its cgroup was removed."""
        for line in self._read(pid, "cgroup").splitlines():
            if line.startswith("0::"):
                path = line[3:]
                if path.endswith(" (deleted)"):
                    raise ContainerGone(f"process {pid}: its cgroup {path} was removed")
                return path
        raise EdgeError(f"process {pid} has no cgroup v2 line in {self._root}/{pid}/cgroup: mount cgroup2 on this host")

    def pids(self) -> tuple[int, ...]:
        """Every process that there is now."""
        return tuple(int(name) for name in os.listdir(self._root) if name.isdecimal())

    def command(self, pid: int) -> bytes:
        """The words that a process was started with, each ended by NUL; b"" for one that is gone or has none."""
        try:
            return (self._root / str(pid) / "cmdline").read_bytes()
        except OSError:
            return b""

    def network(self, pid: int | str = "self") -> int:
        """The network namespace (inode) that a process is in, this one if not told which; 0 for one that is gone."""
        try:
            return (self._root / str(pid) / "ns" / "net").stat().st_ino
        except OSError:
            return 0

    def interfaces(self, pid: int) -> int:
        """How many network interfaces a process's namespace has, but for what each has; 0 if the process is gone."""
        try:
            lines = (self._root / str(pid) / "net" / "dev").read_text().splitlines()[2:]
        except OSError:
            return 0
        return len({line.partition(":")[0].strip() for line in lines} - _EVERYWHERE)

    def sockets(self, pid: int) -> dict[int, int]:
        """The sockets that a process holds open: inode → descriptor; none for one that is gone. One look for each descriptor."""
        found: dict[int, int] = {}
        try:
            with os.scandir(self._root / str(pid) / "fd") as descriptors:
                for descriptor in descriptors:
                    with suppress(OSError):
                        if match := _SOCKET.fullmatch(os.readlink(descriptor)):
                            found[int(match[1])] = int(descriptor.name)
        except OSError:
            return found
        return found

    def root(self, pid: int) -> Path:
        """The path under which the host sees the process's root directory."""
        return self._root / str(pid) / "root"

    def _read(self, pid: int | str, name: str) -> str:
        try:
            return (self._root / str(pid) / name).read_text(errors="surrogateescape")
        except (FileNotFoundError, ProcessLookupError) as e:
            raise ContainerGone(f"process {pid} ended") from e
        except OSError as e:
            raise EdgeError(f"cannot read {self._root}/{pid}/{name}: {e.strerror}") from e


def overlay_upper(mounts: tuple[Mount, ...]) -> str:
    """The writable directory of a container's root, as the host's path: for engines whose API does not tell it.

    ``mounts`` are those of a process of the container; "" if its root is no overlay.
    """
    roots = [m for m in mounts if m.point == "/" and m.kind == "overlay"]
    options = roots[-1].options.split(",") if roots else []
    return next((o.removeprefix("upperdir=") for o in options if o.startswith("upperdir=")), "")


def host_addresses() -> dict[str, tuple[str, ...]]:
    """Interface → the host's own addresses on it, of both families, in the network namespace of this process."""
    return {
        name: tuple(a.address.partition("%")[0] for a in found if a.family != psutil.AF_LINK)
        for name, found in psutil.net_if_addrs().items()
    }


def _mount(fields: list[str]) -> Mount:
    dash = fields.index("-", 6)  # the optional fields end there
    major, minor = fields[2].split(":")
    return Mount(
        id=int(fields[0]),
        device=int(major) << 20 | int(minor),
        root=_unescaped(fields[3]),
        point=_unescaped(fields[4]),
        kind=fields[dash + 1],
        options=_unescaped(fields[dash + 3]),
        source=_unescaped(fields[dash + 2]),
    )


def _unescaped(text: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 8)), text)


def s_dev(st_dev: int) -> int:
    """The kernel's number of a device, from stat's."""
    return os.major(st_dev) << 20 | os.minor(st_dev)
