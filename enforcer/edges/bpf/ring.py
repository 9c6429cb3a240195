"""The ring buffer of records, read in place through its own memory mapping.

Layout: Documentation/bpf/ringbuf.rst: one page with the consumer position, one with the producer position, then the data
pages twice, so that a record never wraps. Each record has an 8-byte header: its length, with a busy and a discard bit.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from typing import NamedTuple

_PAGE = mmap.PAGESIZE
_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER = 8


class Ring:
    """The records of one BPF ring buffer map. One reader only.

    ``fd``: descriptor of the map; ``size``: its bytes of data. The consumer position moves only on ``advance``, so that
    records which were read but not yet kept are read again by the next agent.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        self._consumer_page = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(fd, _PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        # aligned 8-byte loads and stores through ctypes are single instructions, as the kernel's side expects
        self._consumer = ctypes.c_uint64.from_buffer(self._consumer_page)
        self._position = self._consumer.value

    def _word(self, at: int) -> int:
        return int.from_bytes(self._data[at : at + 8], "little")

    def read(self, most: int) -> Iterator[bytes]:
        """Up to ``most`` records that were there when the call began, so that a fast producer lets go of the reader."""
        end = self._word(0)
        while self._position < end and most:
            at = _PAGE + (self._position & (self._size - 1))
            header = int.from_bytes(self._data[at : at + 4], "little")
            if header & _BUSY:
                return
            length = header & ~(_BUSY | _DISCARD)
            self._position += (length + _HEADER + 7) & ~7
            if not header & _DISCARD:
                most -= 1
                yield self._data[at + _HEADER : at + _HEADER + length]

    def advance(self) -> None:
        """What has been read is kept: the kernel may use its place again."""
        self._consumer.value = self._position

    def close(self) -> None:
        """Unmap."""
        del self._consumer
        self._consumer_page.close()
        self._data.close()


class Rings(NamedTuple):
    """The two rings: judged violations, and attempts that are yet to be judged."""

    events: Ring
    attempts: Ring
