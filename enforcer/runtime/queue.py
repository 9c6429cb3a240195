"""Records that come from elsewhere than a kernel's ring, for the reader of rings."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import chain, islice

from enforcer import abi
from enforcer.edges.bell import Bell
from enforcer.edges.bpf.record import SUBJECT_AT
from enforcer.edges.bpf.ring import Ring

ROOM = 16_384
"""Records that wait for the reader: 12 MB, as much as the kernel's ring."""


class Queue(Ring):
    """Looks like a ring. One thread puts, one reads; what was read and not yet kept is not read again, unlike a pinned ring."""

    def __init__(self) -> None:
        self._records: deque[bytes] = deque()
        self._bell = Bell()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The bell that rings when there are records."""
        return (self._bell.fileno(),)

    def put(self, record: abi.CEvent) -> bool:
        """Have a record read; False if there is no room: the caller counts it."""
        if len(self._records) >= ROOM:
            return False
        self._records.append(bytes(record))
        self._bell.ring()
        return True

    def read(self, most: int) -> Iterator[bytes]:
        """Up to ``most`` records that were there when the call began."""
        self._bell.hush()  # before anything is counted: what is put after it rings again
        try:
            for _ in range(min(most, len(self._records))):
                yield self._records.popleft()
        finally:  # the reader may want fewer
            if self._records:
                self._bell.ring()

    @property
    def position(self) -> int:
        """Nothing is read twice."""
        return 0

    def advance(self) -> None:
        """What has been read is gone already."""

    def skip(self, position: int) -> None:
        """Nothing is there before its reader is."""

    def waiting(self) -> Counter[int]:
        """Subject → records that nobody has read yet."""
        return Counter(int.from_bytes(raw[SUBJECT_AT : SUBJECT_AT + 4], "little") for raw in tuple(self._records))

    def close(self) -> None:
        """Let go of the bell."""
        self._bell.close()


class Joined(Ring):
    """A kernel's ring and a queue, read as one."""

    def __init__(self, ring: Ring, queue: Queue) -> None:
        self._ring, self._queue = ring, queue

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those of both."""
        return (*self._ring.descriptors, *self._queue.descriptors)

    def read(self, most: int) -> Iterator[bytes]:
        """Up to ``most`` records, the kernel's first."""
        return islice(chain(self._ring.read(most), self._queue.read(most)), most)

    @property
    def position(self) -> int:
        """In the kernel's ring."""
        return self._ring.position

    def advance(self) -> None:
        """Give the kernel the ring's place back."""
        self._ring.advance()

    def skip(self, position: int) -> None:
        """In the kernel's ring."""
        self._ring.skip(position)

    def waiting(self) -> Counter[int]:
        """Subject → records that nobody has kept yet, in both."""
        return self._ring.waiting() + self._queue.waiting()

    def close(self) -> None:
        """Let go of both."""
        self._ring.close()
        self._queue.close()
