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


class Ring:
    """The records of one BPF ring buffer map. One reader only.

    ``fd``: descriptor of the map; ``size``: its bytes of data; ``shares``: who is told what has been read. The consumer
    position moves only on ``advance``, so that records which were read but not yet kept are read again by the next agent.
    """

    def __init__(self, fd: int, size: int, shares: Shares) -> None:
        self._size, self._shares = size, shares
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        # aligned 8-byte loads and stores through ctypes are single instructions, as the kernel's side expects
        self._consumer = ctypes.c_uint64.from_buffer(self._consumer_page)
        self._position = self._consumer.value
        self._read: Counter[int] = Counter()
        self._shares.settle(self.waiting())

    @property
    def position(self) -> int:
        """Behind the last record that has been read, in bytes since the ring was made."""
        return self._position

    def _word(self, at: int) -> int:
        return int.from_bytes(self._data[at : at + 8], "little")

    def _found(self, position: int) -> Iterator[tuple[int, bytes]]:
        """The position behind each record that is there now, and its header and bytes."""
        end, data, mask = self._word(0), self._data, self._size - 1
        while position < end:
            at = _PAGE + (position & mask)
            header = int.from_bytes(data[at : at + 4], "little")
            if header & _BUSY:
                return
            length = header & ~(_BUSY | _DISCARD)
            position += (length + _HEADER + 7) & ~7
            if not header & _DISCARD:
                yield position, data[at : at + _HEADER + length]

    def read(self, most: int) -> Iterator[bytes]:
        """Up to ``most`` records that were there when the call began, so that a fast producer lets go of the reader."""
        if most <= 0:
            return
        for self._position, raw in self._found(self._position):  # noqa: B020 -- where the next one begins
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

    def skip(self, position: int) -> None:
        """What lies before ``position`` was kept by an agent that could not say so any more."""
        while self._position < position and any(self.read(1)):
            pass
        self.advance()

    def waiting(self) -> Counter[int]:
        """Subject → records that nobody has kept yet. Any thread may ask; what is taken meanwhile may be among them."""
        return Counter(int.from_bytes(raw[_SUBJECT], "little") for _, raw in self._found(self._consumer.value))

    def close(self) -> None:
        """Unmap."""
        del self._consumer
        self._consumer_page.close()
        self._data.close()
        self._shares.close()


class Rings(NamedTuple):
    """The two rings: judged violations, and attempts that are yet to be judged."""

    events: Ring
    attempts: Ring
