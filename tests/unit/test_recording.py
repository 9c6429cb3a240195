"""Allowed accesses on their way from the kernel's map into the journal: none is lost, and none removed before it is written."""

from __future__ import annotations

import pytest

from enforcer import abi
from enforcer.core.compile import compile
from enforcer.core.event import FileAttempt, NetAttempt
from enforcer.core.ids import Reserved
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.recording import BATCH, Recording
from enforcer.runtime.state import State
from tests.unit.test_replay import GUARD, Recorder
from tests.unit.worlds import facts


class Kernel:
    """What the programs and the agent share: a round, and entries."""

    def __init__(self, round_=0):
        self.now, self.entries = round_, {}

    def round(self):
        """The round that programs note in."""
        return self.now

    def begin_round(self, number):
        """The next one."""
        self.now = number

    def accesses(self):
        """All entries."""
        yield from list(self.entries.items())

    def forget(self, _, key):
        """Remove one."""
        del self.entries[key]

    def note(self, count=1, **fields):
        """A program notes."""
        given = {"round": self.now, "generation": 1, "subject": 20, "class_": abi.DATA, "access": 1, "hook": 1} | fields
        key = bytes(abi.AccessKey(mechanism=1, **given))
        self.entries[key] = abi.AccessValue(count=count, first_ns=5, last_ns=9)


def snapshot():
    """Nothing but a policy."""
    world = Recorder(GUARD, facts([], [], []))
    return Snapshot(GUARD, world.facts, compile(GUARD, world.facts, world.ids, 1), State())


@pytest.fixture
def kernel():
    """Nothing is noted yet."""
    return Kernel()


def recording(kernel, *, on=True):
    """A new agent."""
    return Recording(kernel, lambda _: snapshot(), on=on)


def test_an_entry_becomes_an_event(kernel):
    """With its sum, its first and last time, and verdict ALLOWED; no process did it alone."""
    made = recording(kernel)
    kernel.note(7, object=1)
    address = abi.Address()
    address.bytes[:] = bytes.fromhex("00000000000000000000ffffcb00710a")
    kernel.note(class_=abi.EXTERNAL, access=8, port=443, protocol=6, hook=int(Hook.CONNECT4), address=address)
    made.turn()
    file, net = made.take()
    assert (file.count, file.verdict, file.asked, file.hook) == (7, Verdict.ALLOWED, Access.READ, Hook.OPEN)
    assert (file.time_ns - file.first_ns, file.process.name, file.mechanism) == (4, "", Mechanism.LSM)
    assert file.attempt == FileAttempt(ObjectId(Kind.PATH, "(too deep to place)"), "", 0, 0)
    assert file.granted & Access.READ
    assert net.attempt == NetAttempt("203.0.113.10", 443, 6, external=True)
    assert (net.granted, net.mode) == (Access.CONNECT, Mode.ENFORCE)


def test_what_is_not_written_is_taken_again(kernel):
    """A disk that refuses loses nothing, and the round is not ended before all of the last one is written."""
    made = recording(kernel)
    kernel.note()
    made.turn()
    assert [e.asked for e in made.take()] == [Access.READ]
    kernel.note(access=2)
    made.turn()
    assert ([e.asked for e in made.take()], len(kernel.entries)) == ([Access.READ], 2)
    made.kept()
    assert (made.take(), len(kernel.entries)) == ([], 1)
    made.turn()
    assert [e.asked for e in made.take()] == [Access.WRITE]


def test_the_next_agent_finds_what_one_has_left(kernel):
    """Read and not written, or never read: it is told by the next, whether that one records or not."""
    made = recording(kernel)
    kernel.note()
    made.turn()
    made.take()
    kernel.note(access=2)
    after = recording(kernel, on=False)
    after.turn()
    assert {e.asked for e in after.take()} == {Access.READ, Access.WRITE}
    after.kept()
    assert (kernel.entries, kernel.now) == ({}, 0)


def test_only_rounds_that_are_over_are_read(kernel):
    """What a program may still add to is left alone."""
    made = recording(kernel)
    made.turn()
    kernel.note()
    assert made.take() == []
    assert made.waiting == 0


def test_a_crowd_is_written_in_parts(kernel):
    """A bounded number at a time, so that no violation waits for it, and so that a death repeats few."""
    made = recording(kernel)
    for n in range(BATCH + 3):
        kernel.note(object=100 + n)
    made.turn()
    assert (len(made.take()), made.waiting) == (BATCH, BATCH + 3)
    made.kept()
    assert len(made.take()) == 3


def test_the_canary_does_nothing_that_is_recorded(kernel):
    """The self-test's own accesses go without a word."""
    made = recording(kernel)
    kernel.note(subject=int(Reserved.CANARY))
    made.turn()
    assert (made.take(), kernel.entries) == ([], {})


def test_a_host_without_bpf_says_so(kernel, caplog):
    """It is asked to record and nobody does."""
    kernel.begin_round = lambda _: None
    recording(kernel)
    assert "not recorded" in caplog.text
