"""The books: whose mark counts, and how much of an account goes into one."""

from __future__ import annotations

from pathlib import Path

from enforcer import abi
from enforcer.core.model import Hook, Mechanism
from enforcer.edges.bpf.accounts import Account, Place
from enforcer.edges.bpf.ring import Rings
from enforcer.runtime.ledger import ACCOUNTS, Ledger, Mark, mark_of
from enforcer.runtime.pipeline import Pipeline
from enforcer.runtime.records import Records
from enforcer.runtime.watching import Remembered
from tests.unit.test_runtime import FACTS, FakeJournal, FakeMaps, FakeRing, policy, reconcile_in, record

ROW = Account(abi.RECORDED, 0, 17)
MARK_AT_MOST = 4096
"""Characters: ``enforcer.edges.journal``."""


class Pinned(Remembered):
    """Accounts that keep their place, as those in the kernel do."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.at = place

    def add(self, changes: dict[Account, int], place: Place | None = None) -> None:  # type: ignore[override]
        """Both."""
        super().add(changes)
        self.at = place or self.at

    def place(self) -> Place:
        """Where the last batch ended."""
        return self.at


def begun(place: Place, mark: str) -> Pinned:
    """What the accounts are once an agent has begun over these maps and that journal."""
    maps = FakeMaps()
    maps.accounts = Pinned(place)
    Ledger(Rings(FakeRing([]), FakeRing([])), maps, mark)  # type: ignore[arg-type]
    return maps.accounts


def test_a_mark_that_the_maps_have_not_come_to_is_accounted() -> None:
    """And the place is its."""
    ahead = Place(series=5, batch=8, events=100)
    found = begun(Place(series=5, batch=7, events=50), Mark(ahead, [(ROW, 3)]).text)
    assert (found.all(), found.at) == ({ROW: 3}, ahead)


def test_other_marks_are_not_ours() -> None:
    """Of other maps, of a batch that is accounted, of another writer, none at all."""
    here = Place(series=5, batch=7)
    marks = [Mark(Place(series=6, batch=99), [(ROW, 3)]).text, Mark(here, [(ROW, 3)]).text, '{"a": 1}', "[1]", "x", ""]
    for mark in marks:
        found = begun(here, mark)
        assert (found.all(), found.at) == ({}, here), mark


def test_a_mark_is_read_as_it_was_written() -> None:
    """The longest one that there may be fits into the journal."""
    most = 2**32 - 1
    rows = [(Account(abi.COUNTED, 300, most - n, most, most, 3, 31, 3, 30), most) for n in range(ACCOUNTS + 2)]
    mark = Mark(Place(*[2**63] * 5), rows)
    assert mark_of(mark.text) == mark
    assert len(mark.text) <= MARK_AT_MOST


def test_many_subjects_go_into_many_batches(tmp_path: Path) -> None:
    """None is left out, and no mark is longer than the journal takes."""
    reconcile, maps = reconcile_in(tmp_path), FakeMaps()
    reconcile.load(policy(), FACTS)
    common = {"class_": abi.DATA, "hook": Hook.OPEN, "mechanism": Mechanism.LSM, "verdict": 2, "mode": 1, "asked": 1}
    ring = FakeRing([record(subject=16 + n % 300, **common) for n in range(600)])
    journal = FakeJournal(ring)
    records = Records(reconcile.at, None)  # type: ignore[arg-type]
    pipeline = Pipeline(Rings(ring, FakeRing([])), maps, records, journal, born=lambda _: None)  # type: ignore[arg-type]
    assert pipeline.drain() == 600
    assert maps.accounts.all() == {Account(abi.RECORDED, 0, 16 + n): 2 for n in range(300)}
    assert len(journal.batches) == -(-600 // ACCOUNTS)
    assert all(len(mark) <= MARK_AT_MOST for mark in journal.marks)
