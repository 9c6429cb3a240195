"""Storms: every violation is counted, and on record or accounted for; nobody's evidence goes for another's storm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import abi
from enforcer.core.event import FileAttempt, NetAttempt
from tests.kernel.conftest import World
from tests.kernel.storming import ROOM, Stand, balanced, build, window
from tests.scenarios import policy, volume

BUDGET = 500
FILES = 4000
SLACK = 8
"""Records more than the budget in a window, by programs that asked at the same time: two for each CPU would be many."""

HOGS: dict[str, tuple[str, int, str, str]] = {
    "the same again and again": ("watched", 200_000, "same", "alpha-data/f"),
    "many processes": ("watched", 3_000, "children", "alpha-data/f"),
    "many files": ("watched", FILES, "files", "alpha-data/many"),
    "many destinations": ("alpha", 30_000, "destinations", ""),
}
"""Who does what how often. What a process may live through is done natively: to be watched, or to be refused a connection."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that storms."""
    return build(tmp_path_factory.mktemp("storm"))


@pytest.fixture
def stand(world: World, program: Path, tmp_path: Path) -> Iterator[Stand]:
    """A reader over the world's maps, with nothing left over by other tests."""
    world.enforce(policy())
    if not world.probes.holds:
        world.attach()
    many = world.directory / "alpha-data" / "many"
    if not many.exists():
        many.mkdir()
        for n in range(FILES):
            (many / str(n)).touch()
    made = Stand(world, program, tmp_path / "journal")
    made.read_all()
    made.end()
    made = Stand(world, program, tmp_path / "storm")
    try:
        yield made
    finally:
        world.maps.configure(budget=0)
        made.read_all()
        made.end()
        for ring in world.rings:
            ring.close()
        world.rings = world.probes.rings()


def offend(stand: Stand) -> subprocess.Popen[bytes]:
    """Somebody else's only violation."""
    command = stand.world.command("stranger", "read", stand.world.file("beta-data"))
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def assert_seen(stand: Stand) -> None:
    """The stranger's violation is in the journal, once and with everything that is known of it."""
    [event] = stand.events("stranger")
    assert isinstance(event.attempt, FileAttempt)
    assert (event.attempt.object, event.attempt.path, event.count) == (volume("beta-data"), "f", 1)
    assert event.process.pid
    assert event.attempt.inode
    assert balanced(stand.book("stranger"))


@pytest.mark.parametrize("reading", [True, False], ids=["read", "not read"])
@pytest.mark.parametrize("hog", HOGS)
def test_each_violation_is_accounted_for(stand: Stand, hog: str, reading: bool) -> None:
    """In the middle of the storm as after it, with a reader and without; the log grows by the budget and no more."""
    who, count, deed, where = HOGS[hog]
    stand.world.maps.configure(budget=BUDGET)
    begun = window()
    path = [str(stand.world.directory / where)] if where else []
    with subprocess.Popen(stand.command(who, count, deed, *path), stdout=subprocess.DEVNULL) as storm:
        other = offend(stand)
        while storm.poll() is None:
            if reading:
                stand.reader.drain()
    other.wait()
    windows = window() - begun + 1
    book = stand.book(who)
    assert balanced(book), book
    stand.read_all()
    book, events = stand.book(who), stand.events(who)
    assert balanced(book), book
    assert (book.counted, book.waiting) == (count, 0)
    assert sum(e.count for e in events) == book.recorded
    assert len([e for e in events if not e.first_ns]) <= windows * (BUDGET + SLACK)
    assert len(events) <= 2 * windows * (BUDGET + SLACK)
    assert_seen(stand)


def test_the_same_is_one_record_for_a_window(stand: Stand) -> None:
    """A first one at once, and one for all that came after it; none is lost."""
    begun = window()
    stand.storm("watched", 100_000, "same", stand.world.file("alpha-data"))
    windows = window() - begun + 1
    stand.read_all()
    events = stand.events("watched")
    assert sum(e.count for e in events) == 100_000
    assert len(events) <= 2 * windows
    assert {e.attempt.path for e in events if isinstance(e.attempt, FileAttempt)} == {"f"}
    assert all(e.first_ns <= e.time_ns for e in events if e.first_ns)


def test_what_differs_is_told_apart(stand: Stand) -> None:
    """Files of one directory, destinations and ports: nothing is taken for a repeat that is none."""
    stand.storm("watched", 300, "files", str(stand.world.directory / "alpha-data" / "many"))
    stand.storm("alpha", 300, "destinations")
    stand.read_all()
    files = [e.attempt.path for e in stand.events("watched") if isinstance(e.attempt, FileAttempt)]
    assert sorted(files) == sorted(f"many/{n}" for n in range(300))
    addresses = [e.attempt.address for e in stand.events("alpha") if isinstance(e.attempt, NetAttempt)]
    assert len(set(addresses)) == len(addresses) == 300


def test_hogs_leave_room(stand: Stand) -> None:
    """Without a budget and a reader: two hogs have their share, and there is room for everybody else."""
    for who in ("alpha", "watched"):
        stand.storm(who, 20_000, "destinations")
    first, second = (stand.rings.events.waiting()[stand.world.subject(who)] for who in ("alpha", "watched"))
    assert 0 < second <= first <= ROOM // 4
    offend(stand).wait()
    stand.read_all()
    assert_seen(stand)
    for who in ("alpha", "watched"):
        assert balanced(stand.book(who))
        assert stand.book(who).suppressed
        assert not stand.book(who).lost
    assert stand.storm("alpha", 100, "destinations") == 0
    stand.read_all()
    assert len(stand.events("alpha")) == first + 100  # what was read is no longer held against it


def test_refused_attempts_leave_room(stand: Stand) -> None:
    """What a file's mode refuses is cheap to provoke: one who does it leaves most of that ring to the others."""
    if stand.world.held("refused") is None:
        pytest.fail("nothing sees refused attempts here")
    subject, place = stand.world.subject("watched"), str(stand.world.directory / "private")
    Path(place).write_text("root's")
    Path(place).chmod(0o600)
    before = stand.world.maps.losses().get((subject, abi.LOST_UNJUDGED), 0)
    assert stand.storm("watched", 5_000, "refused", place) == 0
    kept = stand.rings.attempts.waiting()[subject]
    lost = stand.world.maps.losses()[subject, abi.LOST_UNJUDGED] - before
    assert kept + lost == 5_000
    assert kept <= abi.ATTEMPTS_PAGES * 4096 // 648 // 4
    stand.storm("stranger", 1, "refused", place)
    assert stand.rings.attempts.waiting()[stand.world.subject("stranger")] == 1


def test_each_process_has_a_record_of_its_own(stand: Stand) -> None:
    """Refused or killed: one that tries what another has tried just before is no repeat."""
    tries = 20
    for _ in range(tries):
        subprocess.run(
            stand.command("alpha", 1, "same", stand.world.file("beta-data")), check=False, stdout=subprocess.DEVNULL
        )
    stand.read_all()
    assert sum(e.count for e in stand.events("alpha")) == tries
    assert len({e.process.pid for e in stand.events("alpha")}) == tries
