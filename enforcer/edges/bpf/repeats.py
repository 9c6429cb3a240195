"""Violations that were the same as one before them in the same window: the kernel keeps the first and how many more came."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from enforcer import abi
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.record import Record, record_of

_KEY, _VALUE = ctypes.sizeof(abi.RepeatKey), ctypes.sizeof(abi.Repeat)
_WINDOW = slice(abi.RepeatKey.window.offset, abi.RepeatKey.window.offset + 4)
_FIRST = abi.Repeat.first.offset


class Repeated(NamedTuple):
    """One entry. ``place``: window << 32 | subject; ``more``: violations after the ``first``, which had a record of its own."""

    key: bytes
    place: int
    more: int
    first: Record

    @property
    def end_ns(self) -> int:
        """When its window ended, in CLOCK_BOOTTIME."""
        return ((self.place >> 32) + 1) << abi.WINDOW_BITS


class Repeats:
    """The map ``repeats``."""

    def __init__(self, libbpf: Libbpf, fd: int) -> None:
        self._libbpf, self._fd = libbpf, fd

    def _entries(self) -> Iterator[tuple[bytes, int, bytes]]:
        for key, value in self._libbpf.rows(self._fd, _KEY, _VALUE):
            window, subject = (int.from_bytes(key[part], "little") for part in (_WINDOW, slice(4)))
            yield key, window << 32 | subject, value

    def any(self) -> bool:
        """Whether there are entries at all."""
        return self._libbpf.next_key(self._fd, None, _KEY) is not None

    def before(self, window: int) -> list[Repeated]:
        """The entries of windows before this one, by ``place``. Nobody may write to them any more."""
        found = [
            Repeated(key, place, int.from_bytes(value[:8], "little"), record_of(value[_FIRST:]))
            for key, place, value in self._entries()
            if place < window << 32
        ]
        return sorted(found, key=lambda entry: entry.place)

    def waiting(self) -> Counter[int]:
        """Subject → violations that are in no record yet."""
        found: Counter[int] = Counter()
        for key, _, value in self._entries():
            found[int.from_bytes(key[:4], "little")] += int.from_bytes(value[:8], "little")
        return found

    def forget(self, entries: Sequence[Repeated]) -> None:
        """These are on record."""
        if entries:
            self._libbpf.delete_all(self._fd, [entry.key for entry in entries])
