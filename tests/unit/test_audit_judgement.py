"""From an observation to a count and a record: whose process it was, which object, which verdict. No kernel takes part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.image import Subject, Table
from enforcer.core.model import Access, Container, DataObject, Facts, Hook, Inode, Mechanism, Verdict
from enforcer.core.plan import Delete, Publish, Put
from enforcer.edges.audit_calls import CALLS, X86_64
from enforcer.edges.audit_records import Item, Observation
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.record import Record, record_of
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.procevents import ProcEvent, What
from enforcer.edges.procfs import Procfs
from enforcer.runtime import lineage
from enforcer.runtime.lineage import Lineage
from enforcer.runtime.queue import ROOM, Joined, Queue
from enforcer.runtime.reconcile import Reconcile, Snapshot
from enforcer.runtime.records import path_of
from enforcer.runtime.sighting import Sightings, fill_path
from enforcer.runtime.state import State, StateFile
from enforcer.runtime.watching import Tables
from tests.scenarios import policy, volume

ALPHA, STRANGER, NOBODY = "a" * 64, "b" * 64, "c" * 64
R, W = Access.READ, Access.WRITE
FACTS = Facts(
    containers={ALPHA: Container(ALPHA, "alpha"), STRANGER: Container(STRANGER, "stranger")},
    objects={
        volume("alpha-data"): DataObject(volume("alpha-data"), (Inode(1, 5),), "/v/alpha-data"),
        volume("beta-data"): DataObject(volume("beta-data"), (Inode(1, 6),), "/v/beta-data"),
    },
)


class World:
    """A policy in force over tables in memory, and the means to observe something."""

    def __init__(self, directory: Path) -> None:
        self.maps = Tables()
        file = StateFile(directory / "state")
        self.snapshot: Snapshot = Reconcile(self.maps, file, State(), canary=Inode(1, 3)).load(policy(), FACTS)
        (directory / "cgroup").mkdir()
        self.cgroups = Cgroups(directory / "cgroup", procfs=Procfs(directory))
        self.sightings = Sightings(self.maps, lambda: self.snapshot, self.cgroups)

    def number(self, name: str) -> int:
        """Of a volume."""
        return self.snapshot.state.ids.object(volume(name))

    def see(self, name: str, own: str, place: str | None, parent: str | None = None, **more: object) -> list[Record]:
        """Take one call of this name that a rule of ours matched; the records that it made."""
        call = next(c for c in CALLS if c.name == name)
        seen = Observation(
            serial=1,
            time_ns=10**18,
            arch=X86_64,
            syscall=call.numbers[0] or 0,
            exit=0,
            arguments=(0xFFFFFF9C, 0, 0, 0),
            pid=0,
            parent=0,
            uid=1000,
            comm=b"offender-with-a-long-name",
            items=(Item(b"/there/f", 99, 1, "NORMAL"),),
        )
        number = self.number(own) if own else 0
        self.sightings.take(call, replace(seen, **more), number, (place, parent))  # type: ignore[arg-type]
        return [record_of(raw) for raw in self.sightings.events.read(100)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The table's policy over two containers and two volumes."""
    return World(tmp_path)


def test_what_no_rule_grants_is_counted_and_recorded(world: World) -> None:
    """A stranger reads: one count, one record, observed by audit, though the policy would deny."""
    [record] = world.see("openat", "beta-data", f"/docker/{STRANGER}")
    subject = world.snapshot.state.ids.subject(STRANGER)
    assert (record.subject, record.object, record.verdict) == (subject, world.number("beta-data"), Verdict.OBSERVED)
    assert (record.mechanism, record.hook, record.asked, record.granted) == (Mechanism.AUDIT, Hook.OPEN, R, 0)
    assert (record.generation, record.count, record.uid, record.command) == (1, 1, 1000, b"offender-with-a")
    assert (path_of(record), record.inode) == (("there/f", False), 99)
    key = (subject, world.number("beta-data"), 0, abi.DATA, int(R), int(Verdict.OBSERVED), int(Hook.OPEN))
    assert world.maps.counts() == {key: 1}


def test_what_a_rule_grants_leaves_no_trace(world: World) -> None:
    """A container in its own volume."""
    assert world.see("openat", "alpha-data", f"/docker/{ALPHA}") == []
    assert world.see("unlink", "alpha-data", f"/docker/{ALPHA}") == []
    assert (world.maps.counts(), world.sightings.unplaced) == ({}, 0)


@pytest.mark.parametrize(
    ("place", "parent"),
    [
        (f"/docker/{STRANGER}/nested/deeper", None),
        (f"/system.slice/docker-{STRANGER}.scope", None),
        (None, f"/docker/{STRANGER}"),
        (None, f"/{STRANGER}"),
    ],
)
def test_whose_process_it_was(world: World, place: str | None, parent: str | None) -> None:
    """By its cgroup, nested or not and by either driver, or by its parent's where its own cannot be told any more."""
    [record] = world.see("openat", "beta-data", place, parent)
    assert record.subject == world.snapshot.state.ids.subject(STRANGER)


def test_a_container_that_nobody_prepared_is_unnamed(world: World) -> None:
    """It is judged as one that no rule names."""
    [record] = world.see("openat", "beta-data", f"/docker/{NOBODY}")
    assert record.subject == Reserved.UNNAMED


def test_a_process_of_the_host_is_nobody(world: World) -> None:
    """Whatever it does is not looked at, and is no failure to place it."""
    (world.cgroups.root / "user.slice").mkdir()
    assert world.see("openat", "beta-data", "/user.slice") == []
    assert world.see("openat", "beta-data", "/gone.slice") == []
    assert (world.maps.counts(), world.sightings.unplaced) == ({}, 0)


def test_who_cannot_be_told_is_counted_and_not_guessed(world: World) -> None:
    """A process that had ended, with a parent that tells nothing; and a container whose rows are gone with it."""
    assert world.see("openat", "beta-data", None) == []
    assert world.sightings.unplaced == 1
    snapshot = world.snapshot
    rows = {k: v for k, v in snapshot.image.rows.items() if k.subject != snapshot.state.ids.subject(STRANGER)}
    world.snapshot = replace(
        snapshot, image=replace(snapshot.image, tables={**snapshot.image.tables, Table.ROWS: rows})
    )
    assert world.see("openat", "beta-data", f"/docker/{STRANGER}") == []
    assert (world.sightings.unplaced, world.maps.counts()) == (2, {})


def test_the_canary_is_known_by_its_cgroup(world: World) -> None:
    """Its cgroup has no container's name: the tables say whose it is."""
    cgroup = world.cgroups.ensure("/docker/enforcer-canary-1")
    world.maps.apply(Put(Table.CGROUPS, cgroup, Subject(int(Reserved.CANARY), 1)))
    [record] = world.see("openat", "beta-data", "/docker/enforcer-canary-1")
    assert record.subject == Reserved.CANARY
    world.maps.apply(Delete(Table.CGROUPS, cgroup))
    assert world.see("openat", "beta-data", "/docker/enforcer-canary-1") == []


def test_what_failed_is_no_attempt_on_data(world: World) -> None:
    """A name that was not there, a directory that was not empty: nothing was reached."""
    place = f"/docker/{STRANGER}"
    assert world.see("openat", "beta-data", place, exit=-2) == []
    assert world.see("unlink", "beta-data", place, exit=-30) == []
    assert list(world.sightings.attempts.read(9)) == []


def test_an_open_that_a_mount_refused_is_left_to_the_reader(world: World) -> None:
    """EROFS and EACCES: the path as it was given goes where the kernel's own such records go, made absolute where it can be."""
    for number, name, cwd, path in (
        (30, b"/conf/f", b"/", b"/conf/f\0"),
        (13, b"f", b"/conf", b"/conf/f\0"),
        (13, b"x" * 600, b"/", b"/" + b"x" * 510 + b"\0"),
    ):
        assert (
            world.see(
                *("openat", "beta-data", f"/docker/{ALPHA}"),
                exit=-number,
                items=(Item(name, 0, 0, "NORMAL"),),
                cwd=cwd,
                arguments=(0xFFFFFF9C, 0, 1, 0),
            )
            == []
        )
        [raw] = world.sightings.attempts.read(9)
        record = abi.decode(abi.CEvent, raw)
        assert (record.hook, record.mechanism, record.error, record.asked) == (
            Hook.REFUSED,
            Mechanism.MOUNT,
            -number,
            W,
        )
        assert bytes(record.path[: record.path_len & ~abi.PATH_CUT]) == path
        assert bool(record.path_len & abi.PATH_CUT) == (len(name) > abi.PATH)
    assert world.maps.counts() == {}


def test_full_queue_is_a_counted_loss(world: World) -> None:
    """A reader that stands still: counts go on, the missing records are counted by cause."""
    world.sightings.events.put = lambda record: False  # type: ignore[method-assign]
    assert world.see("openat", "beta-data", f"/docker/{STRANGER}") == []
    assert sum(world.maps.counts().values()) == 1
    assert world.maps.losses() == {(world.snapshot.state.ids.subject(STRANGER), abi.LOST_RING): 1}


def test_queue_has_an_end_and_joins_a_ring() -> None:
    """It takes so many records; read together with a ring, the ring's come first, and no more than asked for."""
    queue, ring = Queue(), Queue()
    assert all(queue.put(abi.CEvent(pid=2)) for _ in range(ROOM))
    assert not queue.put(abi.CEvent(pid=2))
    ring.put(abi.CEvent(pid=1))
    joined = Joined(ring, queue)
    assert [abi.decode(abi.CEvent, raw).pid for raw in joined.read(3)] == [1, 2, 2]
    assert len(list(joined.read(10**6))) == ROOM - 2


def test_a_path_longer_than_the_record_keeps_its_lower_end() -> None:
    """As the kernel's side does it: whole names, leaf first, and the cut is said."""
    record = abi.CEvent()
    fill_path(record, b"/".join([b"top", *[b"d%03d" % n for n in range(200)], b"leaf"]))
    path, cut = path_of(record_of(bytes(record)))
    assert cut
    assert path.endswith("d199/leaf")
    assert not path.startswith("top")
    fill_path(record, b"\xff/\n")
    assert path_of(record_of(bytes(record))) == ("\udcff/\n", False)


def test_tables_publish() -> None:
    """The stand-in for the kernel's maps knows the live generation and what it was told of losses and records."""
    tables = Tables()
    tables.apply(Publish(4))
    tables.add_loss(2, abi.LOST_UNJUDGED, 3)
    tables.accounts.add({Account(abi.RECORDED, 0, 17): 2})
    assert (tables.config().generation, tables.losses(), tables.recorded()) == (4, {(2, abi.LOST_UNJUDGED): 3}, {17: 2})


class Processes:
    """A /proc of our own, and events put in by hand."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory / "proc"
        self.directory.mkdir()
        (directory / "cgroup").mkdir()
        monkeypatch.setattr(lineage, "ProcEvents", lambda: None)
        procfs = Procfs(self.directory)
        self.put(2, "/", b"[kthreadd]\0")
        self.lineage = Lineage(Cgroups(directory / "cgroup", procfs=procfs), procfs=procfs)

    def put(self, pid: int, place: str, command: bytes = b"sh\0") -> None:
        """A process that lives."""
        (self.directory / str(pid)).mkdir(exist_ok=True)
        (self.directory / str(pid) / "cgroup").write_text(f"0::{place}\n")
        (self.directory / str(pid) / "cmdline").write_bytes(command)

    def end(self, pid: int) -> None:
        """It is gone before anybody has looked."""
        for name in ("cgroup", "cmdline"):
            (self.directory / str(pid) / name).unlink()
        (self.directory / str(pid)).rmdir()

    def happen(self, *events: tuple[What, int, int]) -> None:
        """Process events, in order."""
        for what, pid, parent in events:
            self.lineage._take(ProcEvent(what, pid, parent))


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    """An empty host."""
    return Processes(tmp_path, monkeypatch)


def test_a_child_is_where_its_parent_was(processes: Processes) -> None:
    """Born and ended between two looks: the fork has told of it; the number's next owner inherits nothing."""
    processes.put(50, f"/docker/{ALPHA}")
    processes.happen((What.EXEC, 50, 0), (What.FORK, 51, 50), (What.EXIT, 51, 0))
    assert processes.lineage.place(51) == f"/docker/{ALPHA}"
    processes.happen((What.FORK, 51, 999))
    assert processes.lineage.place(51) is None


def test_a_new_program_is_looked_at_anew(processes: Processes) -> None:
    """runc's child is moved into the container's cgroup before its program starts: what the fork said is no longer so."""
    processes.put(60, "/system.slice", b"runc\0")
    processes.put(61, f"/docker/{ALPHA}")
    processes.happen((What.EXEC, 60, 0), (What.FORK, 61, 60), (What.EXEC, 61, 0))
    processes.end(61)
    assert processes.lineage.place(61) == f"/docker/{ALPHA}"
    processes.happen((What.FORK, 62, 60), (What.EXEC, 62, 0))
    assert processes.lineage.place(62) is None, "it had ended before it was looked at: where it was is not known"


@pytest.mark.parametrize(
    "command",
    [
        b"/usr/bin/containerd-shim-runc-v2\0-namespace\0moby\0-id\0" + ALPHA.encode() + b"\0-address\0/run/x.sock\0",
        b"runc\0--root\0/run/runc/moby\0exec\0--process\0/tmp/p\0--detach\0" + ALPHA.encode() + b"\0",
    ],
)
def test_the_engines_processes_say_whose_child_it_was(processes: Processes, command: bytes) -> None:
    """A shim's child, and that of the runc which it begot, belong to the shim's container, though all of them have ended."""
    processes.put(70, "/system.slice", command)
    processes.happen((What.EXEC, 70, 0), (What.FORK, 71, 70), (What.FORK, 72, 71))
    processes.end(70)
    assert [processes.lineage.heir(pid, parent) for pid, parent in ((72, 71), (73, 71), (74, 70))] == [f"/{ALPHA}"] * 3


def test_a_parent_that_says_nothing(processes: Processes) -> None:
    """A child of the host's is nowhere in particular; a program that only looks like a shim, in a container, is no shim."""
    processes.put(80, "/user.slice", b"bash\0")
    assert processes.lineage.heir(81, 80) is None
    assert processes.lineage.heir(81, 4711) is None
    processes.put(90, f"/docker/{ALPHA}", b"containerd-shim\0-id\0" + STRANGER.encode() + b"\0")
    processes.happen((What.EXEC, 90, 0))
    processes.lineage._look_around()
    assert processes.lineage.heir(91, 90) == f"/docker/{ALPHA}"
