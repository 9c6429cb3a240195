"""Each record is in the journal once and accounted once, wherever the agent is killed, and whatever the disk does."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from enforcer import abi
from enforcer.core.model import Hook
from enforcer.edges.bpf.accounts import Accounts
from enforcer.edges.bpf.repeats import Repeats
from enforcer.edges.bpf.ring import Ring
from enforcer.edges.bpf.shares import Shares
from enforcer.edges.journal import Journal
from enforcer.errors import EdgeError
from tests.kernel.storming import ROOM, Stand, balanced
from tests.kernel.test_storms import program, stand

__all__ = ["program", "stand"]  # fixtures

WHO = "watched"


class Killed(BaseException):
    """What kill -9 does, as far as a process can do it to itself: nothing that comes after it is done."""


@contextmanager
def killed(step: str, *, after: bool) -> Iterator[None]:
    """Within, an agent dies before a step, or after it."""
    place, name = STEPS[step]
    done = getattr(place, name)

    def die(*arguments: Any, **named: Any) -> None:
        if after:
            done(*arguments, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, name, die)
        with suppress(Killed):
            yield


STEPS: dict[str, tuple[type, str]] = {
    "the journal": (Journal, "append"),
    "the account": (Accounts, "add"),
    "what was taken": (Shares, "take"),
    "the ring": (Ring, "advance"),
    "the repeats": (Repeats, "forget"),
}
"""What a batch goes through, in this order."""


def violate(stand: Stand) -> int:
    """Some violations of each kind: in a ring, in the other one, and repeated; how many in all."""
    many = stand.world.directory / "alpha-data" / "many"
    stand.storm(WHO, 100, "files", str(many))
    stand.storm(WHO, 50, "same", str(many / "0"))
    stand.storm("alpha", 40, "destinations")
    return 190


def settle(stand: Stand, count: int) -> None:
    """A reader that nobody kills makes good whatever was left, and all books balance."""
    stand.end()
    stand.begin()
    stand.read_all()
    counted = 0
    for who in (WHO, "alpha"):
        book, told = stand.book(who), sum(e.count for e in stand.events(who))
        assert balanced(book), book
        assert (book.waiting, book.recorded) == (0, told)
        counted += book.counted
    assert counted == count


WHEN = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@WHEN
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(stand: Stand, step: str, times: int, after: bool) -> None:
    """In the first batch of records, in that of repeats, and in those of the agents that come after it and die as well."""
    count = violate(stand)
    for _ in range(times):
        with killed(step, after=after):
            stand.read_all()
        stand.end()
        stand.begin()
    settle(stand, count)
    files = [e for e in stand.events(WHO) if not e.first_ns]
    assert len(files) == len({(e.process.pid, e.attempt) for e in files})


@pytest.fixture
def entered(stand: Stand) -> Iterator[Stand]:
    """A stand whose container alpha has a first process, from which paths can be followed."""
    world = stand.world
    with subprocess.Popen(world.command("alpha", "resend", "::1", "9"), stdin=subprocess.PIPE, stdout=-1) as first:
        assert first.stdout
        first.stdout.readline()
        facts = world.facts
        containers = {i: replace(c, pid=first.pid) if c.name == "alpha" else c for i, c in facts.containers.items()}
        world.facts = replace(facts, containers=containers)
        stand.end()
        stand.begin()
        yield stand
        world.facts = facts
        first.kill()


@WHEN
@pytest.mark.parametrize("step", ["the journal", "the account", "what was taken", "the ring"])
def test_killed_over_attempts(entered: Stand, step: str, after: bool) -> None:
    """What only the agent counts is counted once, though its path may lead nowhere when it is read again."""
    secret = entered.world.directory / "beta-data" / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    entered.storm("alpha", 10, "refused", str(secret))
    with killed(step, after=after):
        entered.read_all()
    if entered.events("alpha"):
        secret.unlink()  # judged again it would concern nothing
    entered.end()
    entered.begin()
    entered.read_all()
    secret.unlink(missing_ok=True)
    found = [e for e in entered.events("alpha") if e.hook is Hook.REFUSED]
    book = entered.book("alpha")
    assert (len(found), book.counted, book.recorded) == (10, 10, 10)


class Full:
    """A journal on a disk that is full so many times."""

    def __init__(self, journal: Journal, times: int) -> None:
        self.journal, self.times = journal, times

    @property
    def mark(self) -> str:
        """Of the real one."""
        return self.journal.mark

    def append(self, batch: Any, *, mark: str = "") -> int:
        """Refuse, or hand on."""
        self.times -= 1
        if self.times >= 0:
            raise EdgeError("no space left on device")
        return self.journal.append(batch, mark=mark)


def on_full(stand: Stand, times: int) -> None:
    """From now on the disk is full."""
    stand.end()
    stand.begin(lambda journal: Full(journal, times))  # type: ignore[arg-type,return-value]


def test_a_full_disk_loses_what_it_says(stand: Stand) -> None:
    """The batches that it refuses are lost, exactly; those after them are kept."""
    on_full(stand, times=1)
    count = violate(stand)
    stand.read_all()
    lost = stand.book(WHO).lost[abi.LOST_JOURNAL] + stand.book("alpha").lost[abi.LOST_JOURNAL]
    assert lost
    settle(stand, count)
    violate(stand)
    settle(stand, 2 * count)
    assert lost == stand.book(WHO).lost[abi.LOST_JOURNAL] + stand.book("alpha").lost[abi.LOST_JOURNAL]


@WHEN
@pytest.mark.parametrize("step", ["the account", "what was taken", "the ring", "the repeats"])
def test_killed_while_the_disk_is_full(stand: Stand, step: str, after: bool) -> None:
    """What was lost is not kept after all, and what was not yet lost is."""
    on_full(stand, times=1 << 30)
    count = violate(stand)
    with killed(step, after=after):
        stand.read_all()
    settle(stand, count)


def test_a_slow_disk(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """While each batch takes its time, the ring fills up to the share, the rest is suppressed, and the books balance."""
    write = Journal.append

    def slowly(*arguments: Any, **named: Any) -> int:
        time.sleep(0.3)
        return write(*arguments, **named)

    monkeypatch.setattr(Journal, "append", slowly)
    done = threading.Event()

    def read_on() -> None:
        while not done.is_set():
            stand.reader.drain()

    reading = threading.Thread(target=read_on)
    reading.start()
    try:
        stand.storm("alpha", 60_000, "destinations")
    finally:
        done.set()
        reading.join()
    stand.read_all()
    book = stand.book("alpha")
    assert balanced(book)
    assert (book.counted, book.waiting, sum(book.lost.values())) == (60_000, 0, 0)
    assert book.recorded == sum(e.count for e in stand.events("alpha")) >= ROOM // 5


def test_shares_are_settled_at_the_start(stand: Stand) -> None:
    """A killed agent may have said that it took more or less than it did: the next one begins with what is there."""
    subject = stand.world.subject("alpha")
    stand.storm("alpha", 100, "destinations")
    Shares(stand.world.maps.fd("shares"), stand.world.maps.fd("taken"), abi.RING_EVENTS).take({subject: 10**6})
    stand.end()
    stand.begin()
    stand.storm("alpha", 20_000, "destinations")
    assert stand.rings.events.waiting()[subject] <= ROOM // 4
