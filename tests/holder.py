"""A process that has files open before it is in a container, for the tests of the sweep. A program without dependencies.

``holder.py CGROUP.PROCS HOW=PATH…`` opens everything on the host, enters the cgroup (``-``: none), says ``there``, and then does
what its input says, line by line: ``close HOW`` or ``open HOW=PATH``, each answered by ``ok`` or the name of an errno.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p


class Mapping(NamedTuple):
    """A page of a file. The mmap of Python's library would keep a descriptor beside it."""

    address: int

    @classmethod
    def of(cls, path: str, opened: int, kind: int, access: int) -> Mapping:
        """What is left of an open file when its descriptor is closed."""
        fd = os.open(path, opened)
        address = _libc.mmap(None, mmap.PAGESIZE, access, kind, fd, ctypes.c_long(0))
        os.close(fd)
        assert address not in (None, ctypes.c_void_p(-1).value), path
        return cls(address)


def _deleted(path: str) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink(path)
    return fd


def _removed(path: str) -> int:
    os.mkdir(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(path)
    return fd


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    directory, name = os.path.split(path)
    at = os.open(directory, os.O_PATH)
    made.connect(f"/proc/self/fd/{at}/{name}")  # an address is shorter than a path may be
    os.close(at)
    return made


def _allow(descriptors: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, max(descriptors, most)))


def _many(path: str) -> list[int]:
    """A thousand files of a directory."""
    _allow(1_100)
    return [os.open(f"{path}/{n}", os.O_RDWR | os.O_CREAT, 0o600) for n in range(1000)]


def _often(path: str) -> list[int]:
    """One file ten thousand times."""
    _allow(10_100)
    first = os.open(path, os.O_RDONLY)
    return [first, *(os.dup(first) for _ in range(9_999))]


Held = int | Mapping | socket.socket | list[int]


def _unshared(path: str) -> list[int]:
    """A thread with a table of descriptors of its own: /proc/PID/fd does not show it."""
    opened = threading.Event()

    def hold() -> None:
        assert _libc.unshare(0x400) == 0  # CLONE_FILES
        os.open(path, os.O_RDONLY)
        opened.set()
        threading.Event().wait()

    threading.Thread(target=hold, daemon=True).start()
    opened.wait()
    return []


HOWS: dict[str, Callable[[str], Held]] = {
    "read": lambda path: os.open(path, os.O_RDONLY),
    "write": lambda path: os.open(path, os.O_WRONLY),
    "path": lambda path: os.open(path, os.O_PATH),
    "directory": lambda path: os.open(path, os.O_RDONLY | os.O_DIRECTORY),
    "nameless": lambda path: os.open(path, os.O_RDWR | os.O_TMPFILE, 0o600),
    "pipe": lambda path: os.open(path, os.O_RDWR),
    "mapped": lambda path: Mapping.of(path, os.O_RDWR, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE),
    "code": lambda path: Mapping.of(path, os.O_RDONLY, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC),
    "deleted": _deleted,
    "removed": _removed,
    "connected": _connected,
    "many": _many,
    "often": _often,
    "unshared": _unshared,
    "leaderless": lambda path: os.open(path, os.O_RDONLY),
}


def _close(held: Held) -> None:
    if isinstance(held, int):
        os.close(held)
    elif isinstance(held, list):
        for fd in held:
            os.close(fd)
    elif isinstance(held, Mapping):
        _libc.munmap(ctypes.c_void_p(held.address), mmap.PAGESIZE)
    else:
        held.close()


def main() -> None:
    """See above."""
    place, *wanted = (os.fsdecode(word) for word in map(os.fsencode, sys.argv[1:]))
    held = {how: HOWS[how](path) for how, path in (word.split("=", 1) for word in wanted)}
    if place != "-":
        Path(place).write_text("0")
    print("there", flush=True)
    if "leaderless" in held:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
        _libc.syscall(60, 0)  # exit(2): of this thread alone, which was the first
    for line in sys.stdin:
        verb, what = line.rstrip("\n").split(" ", 1)
        answer = "ok"
        try:
            if verb == "close":
                _close(held.pop(what))
            else:
                how, path = what.split("=", 1)
                held[how] = HOWS[how](path)
        except OSError as e:
            answer = errno.errorcode[e.errno or 0]
        print(answer, flush=True)


if __name__ == "__main__":
    main()
