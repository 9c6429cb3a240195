"""``run --record accesses``: what was allowed, as the kernel has summed it up, becomes events with verdict ``ALLOWED``.

The kernel notes in rounds. When one is over no program adds to it any more, so its entries are final: they are written down
and only then removed. An agent that dies loses nothing, since the next one finds them; it may write down again what it had just
written and not yet removed, ``BATCH`` entries at most.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice

from enforcer import abi
from enforcer.core.decide import judge_object
from enforcer.core.event import Event, FileAttempt, NetAttempt, Process, Who
from enforcer.core.ids import Reserved
from enforcer.core.image import NET, NetKey
from enforcer.core.model import Access, Hook, Mechanism, Mode, Verdict
from enforcer.edges.bpf.maps import Maps
from enforcer.errors import EdgeError
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import At, address_text, boot_offset_ns, object_of, who_of
from enforcer.settings import ROUND_S

log = logging.getLogger(__name__)

BATCH = 512
"""Entries of one journal write: what may be written down twice by a death between writing and removing."""

NO_PROCESS = Process(0, 0, 0, "")
"""An entry sums up whatever processes a container has."""


class Recording:
    """Reads what ``maps`` note of allowed accesses. ``on``: whether they shall; what an earlier agent left is read in either case.

    One thread calls ``turn``, another ``take`` and ``kept``.
    """

    def __init__(self, maps: Maps, at: At, *, on: bool) -> None:
        self._maps, self._at, self.on = maps, at, on
        self._waiting: deque[tuple[bytes, abi.AccessValue]] = deque()
        self._taken = 0
        self._maps.begin_round(self._maps.round() or 1 if on else 0)
        if on and not self._maps.round():
            log.error("allowed accesses are not recorded: without BPF nobody tells them")

    @property
    def waiting(self) -> int:
        """Entries that are read and not yet written down."""
        return len(self._waiting)

    def run(self, stopped: Callable[[float], bool], wake: Callable[[], None]) -> None:
        """A turn every ``ROUND_S``, and ``wake`` who writes down, until ``stopped``, or until what was left is read."""
        while not stopped(ROUND_S):
            nothing = self.turn()
            wake()
            if nothing and not self.on:
                return

    def turn(self) -> bool:
        """End a round and read it; not before all of the last one is written down, which a full disk may put off.

        Whether nothing is left.
        """
        if self._waiting:
            return False
        live = self._maps.round() + 1 if self.on else 0
        try:
            if self.on:
                self._maps.begin_round(live)
            self._waiting.extend(list(self._closed(live)))
        except EdgeError as e:
            log.error("allowed accesses cannot be read, they wait in the kernel: %s", e)
            return False
        return not self._waiting

    def take(self) -> list[Event]:
        """The next entries to write down; the same ones again unless they are ``kept``."""
        offset, entries = boot_offset_ns(), list(islice(self._waiting, BATCH))
        self._taken = len(entries)
        # each container once: its labels may be many
        who = cache(lambda generation, subject: who_of(_snapshot(self._at, generation), subject))
        return [_event(abi.decode(abi.AccessKey, raw), value, self._at, who, offset) for raw, value in entries]

    def kept(self) -> None:
        """What was taken last is in the journal: the kernel need not hold it any longer."""
        for _ in range(self._taken):
            self._maps.forget("accesses", self._waiting.popleft()[0])
        self._taken = 0

    def _closed(self, live: int) -> Iterator[tuple[bytes, abi.AccessValue]]:
        for raw, value in list(self._maps.accesses()):  # all at once: what is removed meanwhile would end the listing
            key = abi.decode(abi.AccessKey, raw)
            if key.subject == Reserved.CANARY:
                self._maps.forget("accesses", raw)
            elif key.round != live:
                yield raw, value


def _snapshot(at: At, generation: int) -> Snapshot:
    snapshot = at(generation)
    if snapshot is None:
        raise AssertionError("read before a policy was in force")
    return snapshot


def _event(key: abi.AccessKey, value: abi.AccessValue, at: At, who: Callable[[int, int], Who], offset_ns: int) -> Event:
    snapshot, data = _snapshot(at, key.generation), key.class_ == abi.DATA
    granted, mode = _file_row(key, snapshot) if data else (Access.CONNECT, _net_mode(key, snapshot))
    return Event(
        sequence=0,
        time_ns=max(value.first_ns, value.last_ns) + offset_ns,
        first_ns=value.first_ns + offset_ns,
        who=who(key.generation, key.subject),
        process=NO_PROCESS,
        attempt=_file(key, snapshot) if data else _net(key, snapshot),
        asked=Access(key.access),
        granted=granted,
        mode=mode,
        verdict=Verdict.ALLOWED,
        mechanism=Mechanism(key.mechanism),
        hook=Hook(key.hook),
        generation=key.generation,
        policy=snapshot.policy.hash,
        rule=snapshot.image.reasons.get((key.subject, key.object if data else NET), ()),
        count=value.count,
    )


def _file_row(key: abi.AccessKey, snapshot: Snapshot) -> tuple[Access, Mode]:
    """What the row grants: at least what was allowed, even if the container is gone and its row with it."""
    judged = judge_object(snapshot.image, subject=key.subject, number=key.object, asked=Access(key.access))
    return judged.granted | Access(key.access), judged.mode


def _net_mode(key: abi.AccessKey, snapshot: Snapshot) -> Mode:
    entry = snapshot.image.net_subjects.get(NetKey(snapshot.image.generation, key.subject))
    return Mode(entry.mode) if entry else snapshot.policy.mode


def _file(key: abi.AccessKey, snapshot: Snapshot) -> FileAttempt:
    return FileAttempt(object_of(snapshot.state, key.object, key.peer), "", 0, 0)


def _net(key: abi.AccessKey, snapshot: Snapshot) -> NetAttempt:
    return NetAttempt(
        address=address_text(bytes(key.address.bytes)),
        port=key.port,
        protocol=key.protocol,
        network=snapshot.state.network(key.object),
        external=key.class_ == abi.EXTERNAL,
        peer=snapshot.state.container(key.peer),
        host=key.peer == Reserved.HOST,
    )
