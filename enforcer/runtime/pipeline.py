"""From the ring to the sinks: read a batch, turn it into events, keep it, and only then give the ring its place back."""

from __future__ import annotations

import logging
import queue
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain

from enforcer import abi
from enforcer.core.event import Event, Notice
from enforcer.core.ids import Reserved
from enforcer.core.model import Hook
from enforcer.edges.bell import Bell, await_any
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.record import Record, record_of
from enforcer.edges.bpf.repeats import Repeated
from enforcer.edges.bpf.ring import Rings
from enforcer.errors import AbiError, EdgeError
from enforcer.runtime.ledger import ACCOUNTS, BATCH, Ledger
from enforcer.runtime.proof import attempt_of
from enforcer.runtime.recording import BATCH as ACCESSES
from enforcer.runtime.recording import Recording
from enforcer.runtime.records import Records, boot_offset_ns
from enforcer.settings import DRAIN_S
from enforcer.sinks.journal import JournalSink

log = logging.getLogger(__name__)

ROUNDS = 16
"""Batches of one drain: five times what the ring holds, and then the thread looks whether it shall end."""

ATTEMPTS = 64
"""Attempts that something else refused, judged in one round: each costs some hundred system calls."""

SETTLED = 1
"""Whole windows that pass before repeats are taken out: a clock that is read on another CPU may be a little behind."""

CALM_S = 5.0
"""How often one looks that is not woken, when there is nothing to wait for."""

_EVER = 1 << 32


@dataclass
class _Batch:
    """What goes into the journal together, and what is accounted for it."""

    items: list[Event | Notice] = field(default_factory=list)
    account: Counter[Account] = field(default_factory=Counter)


@cache
def _on_record(subject: int) -> Account:
    return Account(abi.RECORDED, 0, subject)


def _window() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) >> abi.WINDOW_BITS


class Pipeline:
    """The one reader of the ring and the one writer of the journal; ``run``, or ``drain`` again and again, is one thread's.

    ``born`` is told the Docker id of each container whose cgroup appeared. ``recording`` has what was allowed.
    """

    def __init__(  # noqa: PLR0913 -- each is a neighbour of its own
        self,
        rings: Rings,
        maps: Maps,
        records: Records,
        journal: JournalSink,
        *,
        born: Callable[[str], None],
        recording: Recording | None = None,
    ) -> None:
        self._records, self._journal, self._born = records, journal, born
        self._last = journal.mark
        self._ledger = Ledger(rings, maps, self._last)
        self._recording = recording
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._bell = Bell()
        self._flushed, self._repeating = 0, True
        self.canary_records: Counter[str] = Counter()
        self.malformed = 0

    def notice(self, action: str, message: str, *, outcome: str = "success", **fields: str | int) -> None:
        """Put something that the agent did on record, with the next batch. Any thread may call it."""
        self._notices.put(Notice(0, time.time_ns(), action, message, outcome=outcome, fields=fields))
        self._bell.ring()

    def wake(self) -> None:
        """There is something to look at. Any thread may call it; it returns at once."""
        self._bell.ring()

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Drain as soon as there is something to, and then not again for ``DRAIN_S``, until ``stopped`` (and ``wake``)."""
        rings = self._ledger.rings
        descriptors = (self._bell.fileno(), *rings.events.descriptors, *rings.attempts.descriptors)
        while not stopped(0):
            self._bell.hush()  # before the look: what comes during it rings again
            self.drain()
            if not stopped(DRAIN_S):
                await_any(descriptors, self._patience())

    def _patience(self) -> float:
        """Until there is something to do that nobody wakes for: the end of a window in which something may be repeated."""
        if self._recording and self._recording.waiting:
            return 0.0
        left = (1 << abi.WINDOW_BITS) - time.clock_gettime_ns(time.CLOCK_BOOTTIME) % (1 << abi.WINDOW_BITS)
        return left / 1e9 if self._repeating else CALM_S

    def drain(self) -> int:
        """Read what there is, at most ``ROUNDS`` batches, every waiting notice and what was repeated; how many records."""
        total = 0
        for _ in range(ROUNDS):
            read = self._round(self._ledger)
            total += read
            if not read:
                break
        try:
            if self._flushed != (window := _window()):
                self._flushed = window
                self._flush(self._ledger, window - SETTLED)
                self._repeating = self._ledger.repeating()
            self._repeating |= total > 0
            self._write_accesses()
        except EdgeError as e:
            log.error("what was repeated or allowed cannot be read, it waits in the kernel: %s", e)
        return total

    def finish(self) -> None:
        """The last rounds: what is left goes into the journal. A disk that refuses is not tried for ever."""
        for _ in range(2):  # what was read of allowed accesses before, then what has come since
            if self._recording:
                self._recording.turn()
            for _ in range((self._recording.waiting if self._recording else 0) // ACCESSES + 1):
                self.drain()

    def read_out(self, rings: Rings, maps: Maps) -> None:
        """Read what an earlier build has left, whose programs have ended; before the first ``drain``."""
        ledger = Ledger(rings, maps, self._last)
        while self._round(ledger):
            pass
        self._flush(ledger, _EVER)

    def waiting(self) -> Counter[int]:
        """Subject → counted violations that are neither on record nor lost yet."""
        return self._ledger.waiting()

    def _round(self, ledger: Ledger) -> int:
        batch, offset, read = _Batch(), boot_offset_ns(), 0
        for raw in chain(ledger.rings.attempts.read(ATTEMPTS), ledger.rings.events.read(BATCH)):
            read += 1
            self._take(record_of(raw), offset, batch)
            if len(batch.account) >= ACCOUNTS:
                break
        while not self._notices.empty():
            batch.items.append(self._notices.get())
        if read or batch.items:
            ledger.keep(self._journal, batch.items, batch.account)
        return read

    def _write_accesses(self) -> None:
        """Those are no violations and stand in no account; what the disk refuses stays in the kernel."""
        if self._recording and (events := self._recording.take()) and self._journal.write(events):
            self._recording.kept()

    def _flush(self, ledger: Ledger, window: int) -> None:
        offset = boot_offset_ns()
        for entries in ledger.repeats(window):
            batch = _Batch()
            for entry in entries:
                if entry.more:
                    self._take_repeated(entry, offset, batch)
            ledger.keep(self._journal, batch.items, batch.account, entries)

    def _take_repeated(self, entry: Repeated, offset_ns: int, batch: _Batch) -> None:
        """The first has a record of its own: this one stands for those after it, until their window ended."""
        before = len(batch.items)
        self._take(entry.first._replace(count=entry.more, ts_ns=entry.end_ns), offset_ns, batch)
        batch.items[before:] = [
            replace(item, first_ns=entry.first.ts_ns + offset_ns) if isinstance(item, Event) else item
            for item in batch.items[before:]
        ]

    def _take(self, record: Record, offset_ns: int, batch: _Batch) -> None:
        if record.subject == Reserved.CANARY:
            self.canary_records[attempt_of(record.hook, record.asked)] += record.count
        elif record.hook == Hook.BORN:
            self._born(record.path[: abi.DOCKER_ID].decode("ascii", "replace"))
        else:
            self._take_violation(record, offset_ns, batch)

    def _take_violation(self, record: Record, offset_ns: int, batch: _Batch) -> None:
        try:
            if record.hook == Hook.REFUSED:
                found = self._records.attempted(record, offset_ns)
                if found is None:
                    return
                event, counted = found
                batch.account[counted] += record.count
            else:
                event = self._records.event(record, offset_ns)
        except AbiError:
            self.malformed += 1
            batch.account[Account(abi.LOST, abi.LOST_UNREADABLE, record.subject)] += record.count
            log.exception("a record cannot be read: this is a defect, please report it")
            return
        batch.items.append(event)
        batch.account[_on_record(record.subject)] += event.count
