"""Who has how many records in a ring: the kernel writes what it has put there, we what we have taken, each in a mapped array."""

from __future__ import annotations

import ctypes
import mmap
from collections import Counter
from collections.abc import Mapping

from enforcer import abi
from enforcer.core.ids import Reserved


class Shares:
    """The account of one ring (``abi.RING_EVENTS`` or ``RING_ATTEMPTS``). ``shares`` and ``taken``: descriptors of the arrays."""

    def __init__(self, shares: int, taken: int, ring: int) -> None:
        slots = 2 * abi.SUBJECTS
        self._first = ring << 16
        size = ctypes.sizeof(abi.Share)
        self._sent_memory = mmap.mmap(shares, slots * size, mmap.MAP_SHARED, mmap.PROT_READ)
        self._taken_memory = mmap.mmap(taken, slots * 8, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._taken = (ctypes.c_uint64 * slots).from_buffer(self._taken_memory)

    def take(self, records: Mapping[int, int]) -> None:
        """So many records of each subject have been taken out of the ring."""
        for subject, n in records.items():
            self._taken[self._slot(subject)] += n
        self._taken[self._first] += sum(records.values())

    def settle(self, unread: Mapping[int, int]) -> None:
        """Begin with what is there: an agent that was killed may have taken more or less than it has said.

        ``unread``: records of each subject, counted before the call: who is counted too low has a few records more than others.
        """
        sent = memoryview(self._sent_memory).cast("Q")[2 * self._first : 2 * (self._first + abi.SUBJECTS) : 2]
        left = Counter({self._first: sum(unread.values())})
        for subject, n in unread.items():
            left[self._slot(subject)] += n
        for slot, n in enumerate(sent.tolist(), self._first):
            self._taken[slot] = n - left[slot]

    def _slot(self, subject: int) -> int:
        """As ``enf_slot`` of probes/storm.h."""
        return self._first + (subject % abi.SUBJECTS or (int(Reserved.UNNAMED) if subject else 0))

    def close(self) -> None:
        """Unmap."""
        del self._taken
        self._taken_memory.close()
        self._sent_memory.close()
