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
        self._shares, self._ring = shares, ring
        size = abi.SUBJECTS * 8
        both = mmap.PROT_READ | mmap.PROT_WRITE
        self._taken_memory = mmap.mmap(taken, size, mmap.MAP_SHARED, both, offset=ring * size)
        self._taken = (ctypes.c_uint64 * abi.SUBJECTS).from_buffer(self._taken_memory)

    def take(self, records: Mapping[int, int]) -> None:
        """So many records of each subject have been taken out of the ring."""
        for subject, n in records.items():
            self._taken[self._slot(subject)] += n
        self._taken[0] += sum(records.values())

    def settle(self, unread: Mapping[int, int]) -> None:
        """Begin with what is there: an agent that was killed may have taken more or less than it has said.

        ``unread``: records of each subject, counted before the call: who is counted too low has a few records more than others.
        """
        left = Counter({0: sum(unread.values())})
        for subject, n in unread.items():
            left[self._slot(subject)] += n
        for slot, n in enumerate(self._sent()):
            self._taken[slot] = n - left[slot] if slot in left else n

    def _sent(self) -> list[int]:
        """What the kernel has put in this ring by now, by slot; mapped for this moment only."""
        size = abi.SUBJECTS * ctypes.sizeof(abi.Share)
        memory = mmap.mmap(self._shares, size, mmap.MAP_SHARED, mmap.PROT_READ, offset=self._ring * size)
        with memory, memoryview(memory) as view, view.cast("Q") as words, words[::2] as sent:
            return sent.tolist()

    def _slot(self, subject: int) -> int:
        """As ``enf_slot`` of probes/storm.h, from the ring's own first slot on."""
        return subject % abi.SUBJECTS or (int(Reserved.UNNAMED) if subject else 0)

    def close(self) -> None:
        """Unmap."""
        del self._taken
        self._taken_memory.close()
