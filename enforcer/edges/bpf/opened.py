"""What containers have open already, as the kernel itself tells it: the iterators of ``probes/opened.c``, read as files.

Nothing is looked up by a path or a process's number, so nothing that a container chooses can mislead or hold the reader.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from enforcer import abi
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.programs import MAPPED_FILES, OPENED_FILES
from enforcer.errors import EdgeError

_ROOM = 1 << 16
"""More than the kernel hands out at once (eight pages): records are never cut."""


class Opened:
    """One look. ``links``: where the iterators are pinned; ``maps``: those of the same build. One reader at a time."""

    def __init__(self, links: Path, maps: Maps) -> None:
        self._links, self._maps = links, maps

    def all(self) -> Iterator[abi.Opened]:
        """Every descriptor, then every mapping, that its container may not have. Raises ``EdgeError``."""
        for key in list(self._maps.keys("told", 4)):
            self._maps.forget("told", key)
        for name in (OPENED_FILES, MAPPED_FILES):
            yield from _records(self._links / name)

    def untold(self) -> dict[int, int]:
        """Subject → how many more it had than one look tells of; after ``all``. Raises ``EdgeError``."""
        return {s: n - abi.MAX_OPENED for s, n in self._maps.numbers("told").items() if n > abi.MAX_OPENED}


def _records(link: Path) -> Iterator[abi.Opened]:
    size = ctypes.sizeof(abi.Opened)
    try:
        fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while read := _read(fd):
                for at in range(0, len(read), size):
                    yield abi.decode(abi.Opened, read[at : at + size])
        finally:
            os.close(fd)
    except OSError as e:
        raise EdgeError(f"cannot read {link}: {e.strerror}") from e


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _ROOM)
        except BlockingIOError:
            continue  # after a million files the kernel lets others run
