"""Each record is in the journal once and accounted once, wherever the agent is killed.

A batch goes three steps. The journal commits it, and with it a *mark*: where the batch ended and what is to be accounted for it.
The maps take that account and the place in one system call. Then the ring gets its room back. An agent that begins finds what
its predecessor has not come to: an account whose mark is further than the maps, records that lie before the maps' place.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

from enforcer import abi
from enforcer.core.event import Event, Notice
from enforcer.edges.bpf.accounts import Account, Place
from enforcer.edges.bpf.maps import Maps, let_programs_end
from enforcer.edges.bpf.repeats import Repeated
from enforcer.edges.bpf.ring import Rings
from enforcer.errors import EdgeError
from enforcer.sinks.journal import VIOLATIONS, JournalSink

log = logging.getLogger(__name__)

ACCOUNTS = 40
"""Rows of one batch's account, to which the last record may add two: a mark has at most 4096 characters."""

BATCH = 4096
"""Records of one batch: some 2 MB, and a third of what the ring holds."""


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """What the journal commits with a batch."""

    place: Place
    account: list[tuple[Account, int]]

    @property
    def text(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()


def mark_of(text: str) -> Mark | None:
    """The mark in a text; None if it is another writer's."""
    try:
        return msgspec.json.decode(text, type=Mark)
    except msgspec.DecodeError:
        return None


class Ledger:
    """The books of one build: its ``rings`` and ``maps``. ``last`` is the mark that the journal committed last."""

    def __init__(self, rings: Rings, maps: Maps, last: str) -> None:
        self.rings, self._maps = rings, maps
        self._place = maps.accounts.place()
        mark = mark_of(last)
        if mark and mark.place.series == self._place.series and mark.place.batch > self._place.batch:
            self._enter(dict(mark.account), mark.place)
        rings.events.skip(self._place.events)
        rings.attempts.skip(self._place.attempts)
        if maps.repeats.any():
            known = maps.repeats.before((self._place.repeats >> 32) + 1)
            maps.repeats.forget([entry for entry in known if entry.place <= self._place.repeats])

    def keep(
        self,
        journal: JournalSink,
        items: Sequence[Event | Notice],
        account: Mapping[Account, int],
        repeats: Sequence[Repeated] = (),
    ) -> None:
        """Put what was read from the rings, or ``repeats``, in the journal, and account for it: as lost if it refuses."""
        rings, before = self.rings, self._place
        place = Place(
            before.series,
            before.batch + 1,
            rings.events.position,
            rings.attempts.position,
            repeats[-1].place if repeats else before.repeats,
        )
        if not account and place[2:] == before[2:]:
            journal.write(items)
        else:
            lost = journal.lost[VIOLATIONS]
            journal.write(items, Mark(place, list(account.items())).text)
            self._enter(account if journal.lost[VIOLATIONS] == lost else _as_lost(account), place)
        rings.events.advance()
        rings.attempts.advance()
        self._maps.repeats.forget(repeats)

    def _enter(self, account: Mapping[Account, int], place: Place) -> None:
        self._place = place
        try:
            self._maps.accounts.add(account, place)
        except EdgeError as e:
            log.error("the account of %d violations cannot be kept: %s", sum(account.values()), e)

    def repeating(self) -> bool:
        """Whether the kernel holds a violation that may be repeated."""
        return self._maps.repeats.any()

    def repeats(self, window: int) -> Iterator[list[Repeated]]:
        """What was repeated in windows before this one, in batches."""
        if not self._maps.repeats.any():
            return
        let_programs_end()  # one that has seen such a window may be about to add to it
        batch: list[Repeated] = []
        subjects: set[int] = set()
        for place, group in groupby(self._maps.repeats.before(window), key=lambda entry: entry.place):
            if len(batch) >= BATCH or len(subjects) >= ACCOUNTS:
                yield batch
                batch, subjects = [], set()
            batch += group
            subjects.add(place & 0xFFFFFFFF)
        if batch:
            yield batch

    def waiting(self) -> Counter[int]:
        """Subject → counted violations that are neither on record nor lost yet."""
        return self.rings.events.waiting() + self._maps.repeats.waiting()


def _as_lost(account: Mapping[Account, int]) -> Counter[Account]:
    """The same, of a batch that the journal has refused."""
    found: Counter[Account] = Counter()
    for row, n in account.items():
        lost = row.kind == abi.RECORDED
        found[Account(abi.LOST, abi.LOST_JOURNAL, row.subject) if lost else row] += n
    return found
