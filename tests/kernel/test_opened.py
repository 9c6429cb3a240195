"""The sweep of files under real probes: processes that held files open before their container was governed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.demo.process import await_that
from enforcer import abi
from enforcer.core.event import Event, FileAttempt
from enforcer.core.image import Image
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.replay import replay
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.opened import Opened
from enforcer.edges.bpf.record import record_of
from enforcer.edges.ecs import decode, encode
from enforcer.errors import EdgeError
from enforcer.runtime.books import books, total
from enforcer.runtime.look import BUDGET
from enforcer.runtime.queue import ROOM
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import Records
from enforcer.runtime.state import State
from enforcer.runtime.sweep_files import BLIND, FileSweep
from enforcer.runtime.watching import Watching
from tests.kernel.conftest import World
from tests.scenarios import POLICY, policy, volume

HOLDER = Path(__file__).parents[1] / "holder.py"
WATCHED_MAY = POLICY.replace(b"watched, read-only: [alpha-config]", b"watched, read-only: [alpha-config, beta-data]")
GRANTED = POLICY.replace(b"read-write: [alpha-data]", b"read-write: [alpha-data, beta-data]")


class Holder:
    """A process of tests/holder.py."""

    def __init__(self, place: str, *held: str) -> None:
        words: list[str | bytes] = [sys.executable, "-I", "-S", str(HOLDER), place, *map(os.fsencode, held)]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.pid = self._child.pid
        assert self._answer() == "there"

    def do(self, command: str) -> str:
        """One line of its input, and its answer."""
        assert self._child.stdin
        print(command, file=self._child.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Have it end, with all that it holds."""
        self._child.communicate()

    def _answer(self) -> str:
        assert self._child.stdout
        return self._child.stdout.readline().strip()


@dataclass
class Ground:
    """The world, its policy in force, and a sweep over it."""

    world: World
    holders: list[Holder] = field(default_factory=list)
    snapshot: Snapshot | None = None

    def __post_init__(self) -> None:
        self.maps = self.world.probes.open_maps()
        self.sweep = FileSweep(self.maps, lambda: self.snapshot, self.world.probes.opened)
        self.records = Records(lambda _: self.snapshot, self.world.cgroups)

    def load(self, text: bytes = POLICY) -> None:
        """Put a policy in force."""
        loaded, world = policy(text), self.world
        image = world.enforce(loaded)
        names = {c.id: c.name for c in world.facts.containers.values()}
        self.snapshot = Snapshot(loaded, world.facts, image, State(world.ids, names))

    def holder(self, who: str, *held: str, nested: str = "") -> Holder:
        """A process of a container that has opened all this before it was one; ``-``: it stays the host's."""
        parts = [part for part in (self.world.parent, who, nested) if part]
        if nested:
            self.world.cgroups.ensure("/".join(parts))
        place = self.world.cgroups.root.joinpath(*(p.lstrip("/") for p in parts), "cgroup.procs")
        made = Holder("-" if who == "-" else str(place), *held)
        self.holders.append(made)
        return made

    def file(self, where: str) -> str:
        """The file f of a volume."""
        return self.world.file(where)

    def look(self, before: Image | None = None) -> list[Event]:
        """Look once; what was reported, as the journal keeps it."""
        self.sweep.look(before)
        found = [self.records.event(record_of(raw), 0) for raw in self.sweep.events.read(ROOM)]
        lines = [decode(encode(event, 1)) for event in found if event]
        return [event for event in lines if isinstance(event, Event)]

    def swept(self) -> int:
        """What is counted by the sweep, over all containers."""
        return sum(n for key, n in self.maps.counts().items() if key[3] == abi.DATA and key[6] == Hook.SWEEP)

    def close(self) -> None:
        """End every process."""
        for holder in self.holders:
            holder.end()
        self.maps.close()


@pytest.fixture
def ground(world: World) -> Iterator[Ground]:
    """The policy of the table is in force, all programs are attached."""
    made = Ground(world)
    made.load()
    if not world.probes.holds:
        world.attach()
    try:
        yield made
    finally:
        made.close()


def told(events: list[Event]) -> set[tuple[str, str, Access]]:
    """Container, path and what was asked for of each event."""
    return {(e.who.name, e.attempt.path, e.asked) for e in events if isinstance(e.attempt, FileAttempt)}


RDWR = Access.READ | Access.WRITE
CASES = {
    "read": ("f", Access.READ),
    "write": ("f", Access.WRITE),
    "directory": ("", Access.READ),
    "nameless": (None, RDWR),
    "mapped": ("f", RDWR),
    "code": ("f", Access.READ | Access.EXEC),
    "deleted": ("gone", RDWR),
    "removed": ("gone.d", Access.READ),
    "connected": ("s", Access.CONNECT),
    "pipe": ("fifo", RDWR),
    "unshared": ("f", Access.READ),
    "leaderless": ("f", Access.READ),
}


@pytest.mark.parametrize("how", CASES)
def test_what_is_open_already_is_told(ground: Ground, how: str) -> None:
    """Whose it is, what it is, where it lies and what for; counted and recorded once, and left open."""
    path, asked = CASES[how]
    place = ground.world.directory / "beta-data"
    if how == "pipe":
        os.mkfifo(place / "fifo")
    before = ground.swept()
    holder = ground.holder("alpha", f"{how}={place / (path or '')}")
    if how == "leaderless":
        stat = Path(f"/proc/{holder.pid}/stat")
        await_that("the first thread to end", lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z")
    [event] = ground.look()
    assert isinstance(event.attempt, FileAttempt)
    assert event.attempt.object == ObjectId(Kind.VOLUME, "beta-data")
    assert event.attempt.path == path if path is not None else event.attempt.path.startswith("#")
    assert (event.asked, event.granted, event.who.name) == (asked, Access.NONE, "alpha")
    assert (event.process.pid, event.process.uid) == (holder.pid, os.getuid())
    assert event.process.name == Path(f"/proc/{holder.pid}/comm").read_text().strip()
    assert (event.verdict, event.mode, event.mechanism) == (Verdict.OBSERVED, Mode.ENFORCE, Mechanism.SWEEP)
    assert (event.hook, event.policy) == (Hook.SWEEP, policy().hash)
    assert (event.attempt.inode != 0, event.attempt.device) == (
        True,
        ground.world.facts.objects[volume("beta-data")].inodes[0].device,
    )
    assert ground.swept() == before + 1
    assert [judged.changed for judged in replay(policy(), [event])] == [False]
    if how == "pipe":
        (place / "fifo").unlink()


def test_what_is_no_access_or_is_granted_is_not_told(ground: Ground) -> None:
    """O_PATH reads nothing; an own volume is its own; what the host holds is nobody's; so are files of no volume."""
    own, other, free = ground.file("alpha-data"), ground.file("beta-data"), ground.world.directory / "free"
    free.touch()
    ground.holder("alpha", f"path={other}", f"read={own}", f"write={own}", f"mapped={own}")
    ground.holder("alpha", f"read={ground.file('alpha-config')}", f"directory={ground.world.directory}")
    ground.holder("alpha", f"read={free}", f"write={free}")
    ground.holder("-", f"read={other}", f"write={other}", f"mapped={other}")
    assert ground.look() == []
    assert (ground.sweep.last.found, ground.sweep.shortcomings()) == ({}, {})


def test_more_than_is_granted_is_told(ground: Ground) -> None:
    """A volume that may be read is open for writing; the rule that grants the reading is named."""
    ground.holder("alpha", f"write={ground.file('alpha-config')}")
    [event] = ground.look()
    assert (event.asked, event.granted, event.rule) == (Access.WRITE, Access.READ | Access.EXEC, ("data.rules[0]",))


def test_it_is_told_once_while_it_is_open_and_the_policy_stays(ground: Ground) -> None:
    """The list of what is not held follows what is open; another policy that does not allow it either is no news."""
    other = ground.file("beta-data")
    holder = ground.holder("alpha", f"read={other}", f"write={other}")
    assert len(ground.look()) == 2
    assert [len(ground.look()) for _ in range(3)] == [0, 0, 0]
    [(what, why)] = ground.sweep.shortcomings().items()
    assert what == "container alpha still has 2 files open that the policy does not allow: restart it"
    assert f"volume beta-data by {Path(f'/proc/{holder.pid}/comm').read_text().strip()} ({holder.pid})" in why
    assert holder.do("close read") == "ok"
    assert ground.look() == []
    assert next(iter(ground.sweep.shortcomings())).startswith("container alpha still has 1 files open")
    ground.load()
    assert ground.look() == []
    assert next(iter(ground.sweep.shortcomings())).startswith("container alpha still has 1 files open")
    holder.end()
    assert ground.look() == []
    assert ground.sweep.shortcomings() == {}


def test_a_grant_that_is_taken_away_is_told_of(ground: Ground) -> None:
    """Opened lawfully by a governed process, and open still when the policy changes."""
    ground.load(GRANTED)
    holder = ground.holder("alpha")
    assert holder.do(f"open read={ground.file('beta-data')}") == "ok"
    assert ground.look() == []
    ground.load()
    assert told(ground.look()) == {("alpha", "f", Access.READ)}
    ground.load(GRANTED)
    assert ground.look() == []
    assert ground.sweep.shortcomings() == {}


def test_a_look_that_a_new_policy_overtakes_says_nothing(ground: Ground) -> None:
    """The kernel judges by the new one already, the agent does not know it yet: the look after it tells, once."""
    ground.holder("alpha", f"read={ground.file('beta-data')}")
    assert len(ground.look()) == 1
    said, old = ground.sweep.shortcomings(), ground.snapshot
    ground.load()
    new, ground.snapshot = ground.snapshot, old
    assert ground.look() == []
    assert ground.sweep.shortcomings() == said
    ground.snapshot = new
    assert ground.look() == []


def test_in_monitor_mode_nothing_is_said_to_be_held(ground: Ground) -> None:
    """It is observed, as all is there, and no shortcoming."""
    ground.holder("watched", f"read={ground.file('beta-data')}")
    [event] = ground.look()
    assert (event.verdict, event.mode) == (Verdict.OBSERVED, Mode.MONITOR)
    assert ground.sweep.shortcomings() == {}


def test_what_a_hook_has_told_of_is_no_news_where_it_is_only_watched(ground: Ground) -> None:
    """An open in monitor mode was counted when it was made; one that an earlier policy allowed was not."""
    ground.load(WATCHED_MAY)
    holder = ground.holder("watched")
    assert holder.do(f"open read={ground.file('beta-data')}") == "ok"
    assert holder.do(f"open write={ground.file('alpha-data')}") == "ok"
    assert ground.snapshot
    before = ground.snapshot.image
    ground.load()
    assert told(ground.look(before)) == {("watched", "f", Access.READ)}
    assert ground.look() == []


def test_what_is_watched_and_then_enforced_is_told_again(ground: Ground) -> None:
    """From monitor to enforce: what was observed is now not held."""
    ground.holder("watched", f"read={ground.file('beta-data')}")
    assert [event.mode for event in ground.look()] == [Mode.MONITOR]
    ground.load(POLICY.replace(b"mode: monitor", b"mode: enforce"))
    assert [event.mode for event in ground.look()] == [Mode.ENFORCE]


def test_a_volume_that_is_protected_from_now_on_is_judged(ground: Ground) -> None:
    """What nobody protected, nobody watched."""
    ground.load(POLICY.replace(b', {volume: "beta-*"}', b""))
    assert ground.snapshot
    before = ground.snapshot.image
    ground.holder("watched", f"read={ground.file('beta-data')}")
    assert ground.look() == []
    ground.load()
    assert told(ground.look(before)) == {("watched", "f", Access.READ)}


def test_containers_have_each_their_own_and_nested_cgroups_count(ground: Ground) -> None:
    """A container may have cgroups of its own: their processes are the container's."""
    nested = f"{ground.world.parent}/alpha/deeper"
    try:
        ground.holder("alpha", f"read={ground.file('beta-data')}", nested="deeper")
        ground.holder("stranger", f"write={ground.file('alpha-data')}")
        expected = {("alpha", "f", Access.READ), ("stranger", "f", Access.WRITE)}
        assert told(ground.look()) == expected
    finally:
        for holder in ground.holders:
            holder.end()
        ground.world.cgroups.remove(nested)


def test_a_link_and_another_mount_hide_nothing(ground: Ground, tmp_path: Path) -> None:
    """Where a file lies is told by its inode's directories, through whatever it was opened."""
    link = tmp_path / "link"
    link.symlink_to(ground.file("beta-data"))
    other = tmp_path / "mount"
    other.mkdir()
    mount = ["mount", "--bind", str(ground.world.directory / "beta-data" / "empty"), str(other)]
    subprocess.run(mount, check=True)
    try:
        (other / "deep").write_text("x")
        ground.holder("alpha", f"read={link}", f"write={other / 'deep'}")
    finally:
        subprocess.run(["umount", "--lazy", str(other)], check=True)  # the mount is reachable no more, its file is open
    assert told(ground.look()) == {("alpha", "f", Access.READ), ("alpha", "empty/deep", Access.WRITE)}


@pytest.mark.parametrize("name", [b"new\nline", b"\x1b[31mred", b"\xff\xfe", b" ", b"x" * 255])
def test_names_are_evidence_and_nothing_else(ground: Ground, name: bytes) -> None:
    """Whatever a container has called its file stands in the record, byte for byte."""
    place = os.fsencode(ground.world.directory / "beta-data") + b"/" + name
    Path(os.fsdecode(place)).touch()
    ground.holder("alpha", f"read={os.fsdecode(place)}")
    assert told(ground.look()) == {("alpha", os.fsdecode(name), Access.READ)}


def test_a_number_that_came_back_is_another_file(ground: Ground) -> None:
    """Version and process tell them apart: both are told."""
    place = ground.world.directory / "beta-data" / "back"
    first = ground.holder("alpha", f"deleted={place}")
    assert len(ground.look()) == 1
    first.end()
    ground.holder("alpha", f"deleted={place}")
    assert len(ground.look()) == 1


def test_many_open_files_take_no_place_from_others(ground: Ground) -> None:
    """Each is counted; records of one container are bounded, and another one's single file is among what is told."""
    place = ground.world.directory / "beta-data" / secrets.token_hex(3)
    place.mkdir()
    before = total(books(ground.maps, {}).values())
    names = [f"many={place}", f"read={ground.file('beta-data')}"]
    ground.holder("alpha", *names)
    ground.holder("alpha", *names[:1])
    ground.holder("stranger", f"read={ground.file('beta-data')}")
    events = ground.look()
    assert sum(event.who.name == "alpha" for event in events) == BUDGET
    assert sum(event.who.name == "stranger" for event in events) == 1
    after = total(books(ground.maps, {}).values())
    assert after["counted"] - before["counted"] == 2002
    assert after["suppressed"] - before["suppressed"] == 2002 - len(events)
    assert "container alpha still has 2001 files open" in str(ground.sweep.shortcomings())
    assert ground.look() == []


def test_more_descriptors_than_one_look_tells_of_are_said(ground: Ground) -> None:
    """Ten thousand descriptors of one file are one file; how many were not looked at is a shortcoming."""
    for _ in range(2):
        ground.holder("alpha", f"often={ground.file('beta-data')}")
    ground.holder("stranger", f"read={ground.file('beta-data')}")
    assert sorted(event.who.name for event in ground.look()) == ["alpha", "alpha", "stranger"]
    said = "3616 more descriptors of container alpha are not looked at"
    assert ground.sweep.shortcomings()[said] == "it has more than 16384 that the policy does not allow"


def test_every_report_is_recorded_or_lost(ground: Ground) -> None:
    """With no room for more records, what is counted is counted as lost, too."""
    ground.holder("alpha", f"read={ground.file('beta-data')}")
    before = ground.maps.losses()
    while ground.sweep.events.put(abi.CEvent()):
        pass
    ground.sweep.look()
    key = ground.world.subject("alpha"), abi.LOST_RING
    assert ground.maps.losses()[key] == before.get(key, 0) + 1


def test_it_looks_when_it_is_woken(ground: Ground) -> None:
    """In a thread of its own: at once, and when what is in force has changed."""
    ground.load(GRANTED)
    ground.holder("alpha", f"read={ground.file('beta-data')}")
    thread = threading.Thread(target=ground.sweep.run)
    thread.start()
    try:
        ground.load()
        ground.sweep.wake()
        await_that("the report", lambda: sum(ground.sweep.last.found.values()) == 1)
    finally:
        ground.sweep.end()
        thread.join()


def test_what_cannot_be_looked_at_is_said(ground: Ground) -> None:
    """A host without BPF, and pins that somebody has removed; what was told before is not forgotten over it."""
    ground.holder("alpha", f"read={ground.file('beta-data')}")
    assert len(ground.look()) == 1
    working = ground.world.probes.opened

    def broken(maps: Maps) -> Opened:
        return Opened(Path("/sys/fs/bpf/none"), maps)

    for opened, why in ((broken, "No such file"), (Watching("refused", lambda _: pytest.fail()).opened, "refused")):
        ground.sweep._opened = opened
        assert ground.look() == []
        assert why in ground.sweep.shortcomings()[BLIND]
    ground.sweep._opened = working
    assert ground.look() == []
    assert BLIND not in ground.sweep.shortcomings()


def test_nothing_is_looked_at_before_a_policy_is_in_force(ground: Ground) -> None:
    """There is nothing to judge by."""
    ground.snapshot = None
    assert ground.look() == []


def test_the_programs_say_where_they_are(ground: Ground) -> None:
    """They are held as any other, by one mechanism; without them a read is an error of the neighbour's."""
    assert ground.world.held("opened") is Mechanism.SWEEP
    with pytest.raises(EdgeError, match="No such file"):
        list(Opened(Path("/sys/fs/bpf/none"), ground.maps).all())
