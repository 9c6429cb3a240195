"""From the ring to the sinks: read a batch, turn it into events, keep it, and only then give the ring its place back."""

from __future__ import annotations

import logging
import queue
import time
from collections import Counter
from collections.abc import Callable
from itertools import chain

from enforcer import abi
from enforcer.core.event import Event, Notice
from enforcer.core.ids import Reserved
from enforcer.core.model import Hook
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.ring import Rings
from enforcer.errors import AbiError, EdgeError
from enforcer.runtime.proof import attempt_of
from enforcer.runtime.recording import BATCH as ACCESSES
from enforcer.runtime.recording import Recording
from enforcer.runtime.records import Records, boot_offset_ns
from enforcer.sinks.journal import VIOLATIONS, JournalSink

log = logging.getLogger(__name__)

BATCH = 4096
"""Records of one journal write: some 2 MB, and a quarter of what the ring holds."""

ATTEMPTS = 64
"""Attempts that something else refused, judged in one round: each costs some hundred system calls."""


class Pipeline:
    """The one reader of the ring and the one writer of the journal; ``drain`` is called by one thread.

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
        self._rings, self._maps, self._records, self._journal, self._born = rings, maps, records, journal, born
        self._recording = recording
        self._notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self.canary_records: Counter[str] = Counter()
        self.malformed = 0

    def notice(self, action: str, message: str, *, outcome: str = "success", **fields: str | int) -> None:
        """Put something that the agent did on record, with the next batch. Any thread may call it."""
        self._notices.put(Notice(0, time.time_ns(), action, message, outcome=outcome, fields=fields))

    def drain(self) -> int:
        """One round: at most ``BATCH`` records and every waiting notice. How many records were read."""
        return self._round(self._rings)

    def finish(self) -> None:
        """The last rounds: what is left goes into the journal. A disk that refuses is not tried for ever."""
        for _ in range(2):  # what was read of allowed accesses before, then what has come since
            if self._recording:
                self._recording.turn()
            for _ in range((self._recording.waiting if self._recording else 0) // ACCESSES + 1):
                self.drain()

    def read_out(self, rings: Rings) -> None:
        """Read what an earlier build has left in its rings, to the end; before the first ``drain``."""
        while self._round(rings):
            pass

    def _round(self, rings: Rings) -> int:
        batch: list[Event | Notice] = []
        subjects: Counter[int] = Counter()
        offset, read = boot_offset_ns(), 0
        for raw in chain(rings.events.read(BATCH), rings.attempts.read(ATTEMPTS)):
            read += 1
            record = abi.decode(abi.CEvent, raw)
            event = self._taken(record, offset)
            if event:
                batch.append(event)
                subjects[record.subject] += event.count
        while not self._notices.empty():
            batch.append(self._notices.get())
        self._keep(batch, subjects)
        rings.events.advance()
        rings.attempts.advance()
        self._write_accesses()
        return read

    def _write_accesses(self) -> None:
        """Those are no violations and stand in no account; what the disk refuses stays in the kernel."""
        if self._recording and (events := self._recording.take()) and self._journal.write(events):
            self._recording.kept()

    def _taken(self, record: abi.CEvent, offset_ns: int) -> Event | None:
        if record.subject == Reserved.CANARY:
            self.canary_records[attempt_of(record.hook, record.asked)] += record.count
            return None
        if record.hook == Hook.BORN:
            self._born(bytes(record.path[: abi.DOCKER_ID]).decode("ascii", "replace"))
            return None
        try:
            return self._records.event(record, offset_ns)
        except AbiError:
            self.malformed += 1
            self._account(record.subject, record.count, abi.LOST_UNREADABLE)
            log.exception("a record cannot be read: this is a defect, please report it")
            return None

    def _keep(self, batch: list[Event | Notice], subjects: Counter[int]) -> None:
        lost = self._journal.lost[VIOLATIONS]
        self._journal.write(batch)
        failed = self._journal.lost[VIOLATIONS] > lost
        for subject, n in subjects.items():
            self._account(subject, n, abi.LOST_JOURNAL if failed else 0)

    def _account(self, subject: int, n: int, lost: int) -> None:
        """``n`` violations of a subject are on record, or lost for a cause."""
        try:
            self._maps.add_loss(subject, lost, n) if lost else self._maps.add_recorded(subject, n)
        except EdgeError as e:
            log.error("an account of %d records cannot be kept: %s", n, e)
