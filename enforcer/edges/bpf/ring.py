"""The ring buffer of records, read in place through its own memory mapping.

Layout: Documentation/bpf/ringbuf.rst: one page with the consumer position, one with the producer position, then the data
pages twice, so that a record never wraps. Each record has an 8-byte header: its length, with a busy and a discard bit.
"""

from __future__ import annotations

import ctypes
import mmap
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from enforcer.edges.bpf.record import SUBJECT_AT
from enforcer.edges.bpf.shares import Shares

_PAGE = mmap.PAGESIZE
_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER = 8
_SUBJECT = slice(_HEADER + SUBJECT_AT, _HEADER + SUBJECT_AT + 4)
_WINDOW = 16 * _PAGE
"""What is mapped at once of the data: the kernel's pages count as the reader's memory, each time that they are mapped."""


class _Window:
    """The part of the data that is mapped just now. ``fd``, ``size``: of the ring. One thread uses it."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._size, self._length = fd, size, min(_WINDOW, size)
        self._begin = -1
        self._data: mmap.mmap | None = None

    def bytes_at(self, position: int, length: int) -> bytes:
        """So many bytes, at most a page, from a position on: the data are there twice, so that nothing wraps."""
        at = position & (self._size - 1)
        data = self._data
        if data is None or not self._begin <= at < self._begin + self._length:
            self.close()
            self._begin = at & -_PAGE
            place = 2 * _PAGE + self._begin
            data = mmap.mmap(self._fd, self._length + _PAGE, mmap.MAP_SHARED, mmap.PROT_READ, offset=place)
            self._data = data
        at -= self._begin
        return bytes(data[at : at + length])

    def close(self) -> None:
        """Unmap."""
        if self._data is not None:
            self._data.close()
            self._data = None


class Ring:
    """The records of one BPF ring buffer map. One reader only.

    ``fd``: descriptor of the map, which stays the caller's and open; ``size``: its bytes of data; ``shares``: who is told what
    has been read. The consumer position moves only on ``advance``, so that records which were read but not yet kept are read
    again by the next agent.
    """

    def __init__(self, fd: int, size: int, shares: Shares) -> None:
        self._fd, self._size, self._shares = fd, size, shares
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._producer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._window = _Window(fd, size)
        # aligned 8-byte loads and stores through ctypes are single instructions, as the kernel's side expects
        self._consumer = ctypes.c_uint64.from_buffer(self._consumer_page)
        self._position = self._consumer.value
        self._read: Counter[int] = Counter()
        self._shares.settle(self.waiting())

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What poll(2) says to be readable while there are records that nobody has kept, once the reader has caught up."""
        return (self._fd,)

    @property
    def position(self) -> int:
        """Behind the last record that has been read, in bytes since the ring was made."""
        return self._position

    def _found(self, position: int, window: _Window) -> Iterator[tuple[int, bytes]]:
        """The position behind each record that is there now, and its header and bytes."""
        end = int.from_bytes(self._producer_page[:8], "little")
        while position < end:
            header = int.from_bytes(window.bytes_at(position, 4), "little")
            if header & _BUSY:
                return
            length = header & ~(_BUSY | _DISCARD)
            raw = window.bytes_at(position, _HEADER + length)
            position += (length + _HEADER + 7) & ~7
            if not header & _DISCARD:
                yield position, raw

    def read(self, most: int) -> Iterator[bytes]:
        """Up to ``most`` records that were there when the call began, so that a fast producer lets go of the reader."""
        if most <= 0:
            return
        for self._position, raw in self._found(self._position, self._window):  # noqa: B020 -- where the next one begins
            self._read[int.from_bytes(raw[_SUBJECT], "little")] += 1
            yield raw[_HEADER:]
            most -= 1
            if not most:
                return

    def advance(self) -> None:
        """What has been read is kept: the kernel may use its place again."""
        self._shares.take(self._read)
        self._read.clear()
        self._consumer.value = self._position
        self._window.close()

    def skip(self, position: int) -> None:
        """What lies before ``position`` was kept by an agent that could not say so any more."""
        while self._position < position and any(self.read(1)):
            pass
        self.advance()

    def waiting(self) -> Counter[int]:
        """Subject → records that nobody has kept yet. Any thread may ask; what is taken meanwhile may be among them."""
        window = _Window(self._fd, self._size)
        try:
            found = self._found(self._consumer.value, window)
            return Counter(int.from_bytes(raw[_SUBJECT], "little") for _, raw in found)
        finally:
            window.close()

    def close(self) -> None:
        """Unmap."""
        del self._consumer
        self._consumer_page.close()
        self._producer_page.close()
        self._window.close()
        self._shares.close()


class Rings(NamedTuple):
    """The two rings: judged violations, and attempts that are yet to be judged."""

    events: Ring
    attempts: Ring
