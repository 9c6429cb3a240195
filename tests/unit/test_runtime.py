"""Reconcile, the pipeline and the records' names, against maps that only remember."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enforcer import abi
from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice
from enforcer.core.ids import Reserved
from enforcer.core.image import Image, Table, docker_id
from enforcer.core.model import Attachment, Container, DataObject, Facts, Hook, Inode, Mechanism, Network, Verdict
from enforcer.core.plan import Delete, Op, Publish, Put, Renew
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.record import LAYOUT, Record, record_of
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.dockerd import DockerEvent
from enforcer.errors import AbiError, EdgeError, HostError
from enforcer.runtime.follow import RETRY_S, Reload, Resync, Settled, Surveyor, Writer
from enforcer.runtime.orders import Order, Orders
from enforcer.runtime.pipeline import Pipeline
from enforcer.runtime.reconcile import Reconcile
from enforcer.runtime.records import UNNAMED, Records, path_of
from enforcer.runtime.state import State, StateFile
from enforcer.runtime.watching import NoRepeats, Remembered
from tests.scenarios import policy, volume

ALPHA, BETA = "a" * 64, "b" * 64


def container(identity: str, name: str, **more: Any) -> Container:
    """A running container on the network inner."""
    return Container(identity, name, image="bb:1", attachments=(Attachment("inner", ("172.30.0.2",)),), pid=9, **more)


FACTS = Facts(
    containers={ALPHA: container(ALPHA, "alpha", cgroup=77)},
    networks={"inner": Network("n1", "inner", internal=True)},
    objects={volume("alpha-data"): DataObject(volume("alpha-data"), (Inode(1, 5),), "/v/alpha-data")},
)
GROWN = Facts({**FACTS.containers, BETA: Container(BETA, "beta")}, networks=FACTS.networks, objects=FACTS.objects)


MADE = DockerEvent("container", "create", BETA, "beta", 1)


class FakeMaps:
    """Applies operations to dicts; fails at the n-th one if asked to."""

    def __init__(self) -> None:
        self.tables: dict[Table, dict[Any, Any]] = {table: {} for table in Table}
        self.generation, self.epoch, self.fail_at, self.applied = 0, 0, -1, 0
        self.watch: Callable[[], None] = lambda: None
        self.accounts, self.repeats = Remembered(), NoRepeats()

    def config(self) -> abi.Config:
        """What is live."""
        return abi.Config(generation=self.generation, epoch=self.epoch)

    def apply_all(self, ops: Iterable[Op]) -> None:
        """A plan."""
        for op in ops:
            self.apply(op)

    def apply(self, op: Op) -> None:
        """One operation."""
        self.applied += 1
        self.watch()
        if self.applied == self.fail_at:
            raise EdgeError("the kernel refuses")
        match op:
            case Put(table, key, value):
                self.tables[table][key] = value
            case Delete(table, key):
                self.tables[table].pop(key, None)
            case Publish(generation):
                self.generation, self.epoch = generation, self.epoch + 1
            case Renew():
                self.epoch += 1

    def sweep(self, image: Image) -> int:
        """Keep what the image has; cgroups are the kernel's."""
        for table in set(Table) - {Table.CGROUPS}:
            self.tables[table] = {k: v for k, v in self.tables[table].items() if k in image.tables[table]}
        return 0


World = tuple[Reconcile, FakeMaps]


def reconcile_in(directory: Path, maps: FakeMaps | None = None) -> Reconcile:
    """A reconcile over fakes, with its state in ``directory``."""
    file = StateFile(directory)
    return Reconcile(maps or FakeMaps(), file, file.read(), canary=None)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A reconcile and the maps that it writes."""
    maps = FakeMaps()
    return reconcile_in(tmp_path, maps), maps


def test_load_publishes_a_generation(world: World) -> None:
    """After a load the maps hold exactly the image, and its generation is live; the next load has the next number."""
    reconcile, maps = world
    image = reconcile.load(policy(), FACTS).image
    assert maps.tables == image.tables
    assert maps.generation == image.generation == 1
    assert reconcile.load(policy(b"version: 1\nmode: monitor\n"), FACTS).image.generation == 2
    assert {key.generation for key in maps.tables[Table.ROWS]} == {2}


def test_what_is_settled_is_what_the_maps_hold(world: World) -> None:
    """Nothing is while they are written, or after that has failed; it bears the epoch by which the kernel knows it."""
    reconcile, maps = world
    seen: list[object] = []
    maps.watch = lambda: seen.append(reconcile.settled)
    first = reconcile.load(policy(), FACTS)
    assert (set(seen), reconcile.settled is first, first.epoch) == ({None}, True, maps.epoch)
    second = reconcile.update(GROWN)
    assert (set(seen), reconcile.settled is second, second.epoch) == ({None}, True, maps.epoch)
    maps.fail_at = maps.applied + 1
    with pytest.raises(EdgeError):
        reconcile.update(FACTS)
    assert (reconcile.settled, reconcile.snapshot is second) == (None, True)
    assert reconcile.update(FACTS) is reconcile.settled


def test_update_changes_only_what_changed(world: World) -> None:
    """A new container costs its own rows; a look that finds nothing new costs nothing."""
    reconcile, maps = world
    reconcile.load(policy(), FACTS)
    before = maps.applied
    image = reconcile.update(GROWN).image
    assert 0 < maps.applied - before < 10
    assert maps.tables == image.tables
    before = maps.applied
    reconcile.update(GROWN)
    assert maps.applied == before


def test_quarantined_containers_are_a_fact(world: World) -> None:
    """What an operator orders is in the facts that are compiled, at once and with every later look, until it is taken back."""
    reconcile, _ = world
    order = Order("alpha", "alice", "odd", 1.0)
    reconcile.order(Orders(quarantined={ALPHA: order}))
    assert reconcile.load(policy(), FACTS).facts.quarantined == {ALPHA}
    assert reconcile.update(GROWN).facts.quarantined == {ALPHA}
    reconcile.order(Orders(quarantined={BETA: order}))
    assert reconcile.snapshot.facts.quarantined == {BETA}
    reconcile.order(Orders())
    assert reconcile.snapshot.facts.quarantined == frozenset()


def test_a_foreseen_container_is_prepared_until_it_has_been_looked_at(world: World) -> None:
    """It is known from its create event on; looks that came too early do not forget it; the look at it settles it."""
    reconcile, maps = world
    reconcile.load(policy(), FACTS)
    key = docker_id(BETA)

    def known() -> bool:
        """Whether it has been looked at; it is prepared in either case."""
        assert key in maps.tables[Table.PREPARED]
        assert reconcile.snapshot
        return not reconcile.snapshot.facts.containers[BETA].foreseen

    reconcile.hear([MADE])
    assert not known()
    reconcile.update(FACTS)
    assert not known()
    reconcile.load(policy(b"version: 1\nmode: monitor\n"), FACTS)
    assert not known()
    reconcile.update(GROWN, {BETA: 1})
    assert known()
    reconcile.update(FACTS)
    assert key not in maps.tables[Table.PREPARED]


def test_a_foreseen_container_that_was_seen_is_forgotten_when_it_goes(world: World) -> None:
    """Once a look has found it, a later look without it is believed, even if the engine's word of its end was lost."""
    reconcile, maps = world
    reconcile.load(policy(), FACTS)
    reconcile.hear([MADE])
    reconcile.update(GROWN)
    image = reconcile.update(FACTS).image
    assert docker_id(BETA) not in maps.tables[Table.PREPARED]
    assert maps.tables == image.tables


class FakeCgroups:
    """Says of each pid whether it is still where it was."""

    def __init__(self, *there: int) -> None:
        self.there = there

    def is_in(self, pid: int, cgroup: int) -> bool:
        """As it was told."""
        return pid in self.there


@pytest.mark.parametrize(("there", "placed"), [((), False), ((os.getpid(),), True)])
def test_a_pid_that_is_no_longer_the_containers_is_not_followed(
    world: World, tmp_path: Path, there: tuple[int, ...], placed: bool
) -> None:
    """A refused path is followed in the container's first process only while that pid is still the container's."""
    reconcile, _ = world
    ours = container(ALPHA, "alpha", cgroup=77)
    facts = replace(FACTS, containers={ALPHA: replace(ours, pid=os.getpid())})
    ids = reconcile.load(policy(), facts).state.ids
    text = os.fsencode(tmp_path)
    records = Records(reconcile.at, FakeCgroups(*there))  # type: ignore[arg-type]
    raw = record(
        subject=ids.subject(ALPHA), class_=abi.DATA, hook=Hook.REFUSED, mechanism=Mechanism.MOUNT, asked=1, pid=0,
        dirfd=-100, error=-30, path=text, path_len=len(text),
    )  # fmt: skip
    assert records.attempted(raw, 0) is None  # the path is in no protected object
    assert records.unplaced == (not placed)


def test_a_foreseen_container_that_never_was_is_forgotten(world: World) -> None:
    """A container that is gone when it is looked at leaves nothing."""
    reconcile, maps = world
    reconcile.load(policy(), FACTS)
    reconcile.hear([MADE])
    image = reconcile.update(FACTS, {BETA: 1}).image
    assert docker_id(BETA) not in maps.tables[Table.PREPARED]
    assert maps.tables == image.tables


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_failure_between_operations_is_repaired(world: World, stop: int) -> None:
    """Wherever the kernel refuses in the middle of a plan, the next look leaves exactly the image."""
    reconcile, maps = world
    reconcile.load(policy(), FACTS)
    maps.fail_at = maps.applied + stop
    try:
        reconcile.update(GROWN)
    except EdgeError:
        reconcile.update(FACTS)  # meanwhile the container is gone again
        assert reconcile.snapshot
        kept = {t: r for t, r in maps.tables.items() if t is not Table.CGROUPS}
        assert kept == {t: r for t, r in reconcile.snapshot.image.tables.items() if t is not Table.CGROUPS}
    else:
        assert maps.applied < maps.fail_at  # the plan was shorter than that


def test_numbers_outlive_the_agent(tmp_path: Path) -> None:
    """A second agent gives the same containers the same numbers, and generations go on."""
    file = StateFile(tmp_path)
    one, two = (Reconcile(FakeMaps(), file, file.read(), canary=None).load(policy(), FACTS) for _ in range(2))
    assert one.state.ids == two.state.ids
    assert (one.image.generation, two.image.generation) == (1, 2)


def test_one_agent_per_state_directory(tmp_path: Path) -> None:
    """A second agent would give the same numbers to other things: it is refused."""
    held = StateFile(tmp_path)
    with pytest.raises(HostError, match="another agent holds"):
        StateFile(tmp_path)
    assert held.read() is not None


def test_state_of_another_boot_is_not_used(tmp_path: Path) -> None:
    """Pins do not survive a reboot, so neither do the numbers; a file that is not ours is refused."""
    file = StateFile(tmp_path)
    file.write(State(generation=9))
    assert file.read().generation == 9
    path = tmp_path / "state.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    path.write_text(path.read_text().replace(boot, "another"))
    assert file.read().generation == 0


@pytest.mark.parametrize("content", [b"", b"{nonsense", b"[]", b'{"boot": 1}'])
def test_state_that_cannot_be_read_is_not_ours(tmp_path: Path, content: bytes) -> None:
    """A file that a crash emptied does not stop the agent; the new state has another instance, so no map is adopted by it."""
    file = StateFile(tmp_path)
    kept = State(generation=9)
    file.write(kept)
    assert file.read().instance == kept.instance
    (tmp_path / "state.json").write_bytes(content)
    found = file.read()
    assert (found.generation, found.ids) == (0, State().ids)
    assert found.instance != kept.instance


def record(**fields: Any) -> Record:
    """A record as the kernel writes it."""
    text, address = fields.pop("path", b""), fields.pop("address", bytes(16))
    found = abi.CEvent(**{"generation": 1, "count": 1, "comm": b"cat", **fields})
    found.path[: len(text)] = text
    found.address.bytes[:] = address
    return record_of(bytes(found))


def test_a_file_record_becomes_an_event(world: World) -> None:
    """Numbers become names, the path is put together, and the rules of the row stand on it."""
    reconcile, _ = world
    ids = reconcile.load(policy(), FACTS).state.ids
    text = b"leaf\0dir\0"
    found = Records(reconcile.at, None).event(
        record(
            subject=ids.subject(ALPHA), object=ids.object(volume("alpha-data")), class_=abi.DATA, hook=Hook.OPEN,
            mechanism=Mechanism.LSM, verdict=Verdict.DENIED, mode=1, asked=2, granted=1, pid=3, tid=4, uid=5, inode=6,
            device=1, path=text, path_len=len(text),
        ),
        1000,
    )  # fmt: skip
    assert isinstance(found, Event)
    assert found.attempt == FileAttempt(volume("alpha-data"), "dir/leaf", 6, 1)
    assert (found.who.name, found.who.networks, found.who.internal) == ("alpha", ("inner",), ("inner",))
    assert (found.rule, found.time_ns, found.generation) == (("data.rules[0]",), 1000, 1)


def test_a_connection_record_becomes_an_event(world: World) -> None:
    """An external attempt is told by address, port and the network that it would have left."""
    reconcile, _ = world
    ids = reconcile.load(policy(), FACTS).state.ids
    raw = record(
        subject=ids.subject(ALPHA), object=ids.network("n1"), class_=abi.EXTERNAL, hook=Hook.CONNECT4,
        mechanism=Mechanism.CGROUP, verdict=Verdict.DENIED, mode=1, asked=8, port=443, protocol=6,
        address=bytes(10) + b"\xff\xff" + bytes((203, 0, 113, 10)),
    )  # fmt: skip
    found = Records(reconcile.at, None).event(raw, 0)
    assert found is not None
    assert found.attempt == NetAttempt("203.0.113.10", 443, 6, network="inner", external=True)


def test_names_of_containers_that_are_gone(world: World) -> None:
    """A record that comes after its container has gone still has its name; one of nobody's is unnamed."""
    reconcile, _ = world
    ids = reconcile.load(policy(), FACTS).state.ids
    reconcile.update(Facts(networks=FACTS.networks, objects=FACTS.objects))
    common = {"class_": abi.DATA, "hook": Hook.OPEN, "mechanism": Mechanism.LSM, "verdict": 2, "mode": 1, "asked": 1}
    records = Records(reconcile.at, None)
    gone = records.event(record(subject=ids.subject(ALPHA), **common), 0)
    unnamed = records.event(record(subject=Reserved.UNNAMED, **common), 0)
    assert gone is not None
    assert unnamed is not None
    assert (gone.who.name, gone.who.image, unnamed.who.name) == ("alpha", "bb:1", UNNAMED)


def test_values_that_the_contract_lacks_are_refused(world: World) -> None:
    """An unknown enum value or an impossible length is our bug: it is never guessed."""
    reconcile, _ = world
    reconcile.load(policy(), FACTS)
    with pytest.raises(AbiError):
        Records(reconcile.at, None).event(record(class_=abi.DATA, hook=99, mechanism=1, mode=1), 0)
    with pytest.raises(AbiError):
        path_of(record(path_len=abi.PATH + 1))


@pytest.mark.parametrize(
    ("raw", "length", "path"),
    [
        (b"", 0, ("", False)),
        (b"f\0", 2, ("f", False)),
        (b"f\0d\0", 4 | abi.PATH_CUT, ("d/f", True)),
        (b"\xff\n\0", 3, ("\udcff\n", False)),
    ],
)
def test_paths(raw: bytes, length: int, path: tuple[str, bool]) -> None:
    """Components come leaf first; a cut is told; bytes that are no UTF-8 are kept."""
    assert path_of(record(path=raw, path_len=length)) == path


class FakeRing:
    """Gives records once; remembers when its place was given back."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = [LAYOUT.pack(*r) for r in records]
        self.read_count, self.advanced = 0, 0

    def read(self, most: int) -> Iterator[bytes]:
        """Up to ``most``."""
        for raw in self.records[self.read_count : self.read_count + most]:
            self.read_count += 1
            yield raw

    def advance(self) -> None:
        """What was read is given back."""
        self.advanced = self.read_count

    @property
    def position(self) -> int:
        """How many have been read."""
        return self.read_count

    def skip(self, position: int) -> None:
        """Those are kept."""
        self.read_count = self.advanced = max(self.read_count, position)


class FakeJournal:
    """A sink that keeps, or loses, what it is given."""

    def __init__(self, ring: FakeRing) -> None:
        self.ring, self.batches, self.broken = ring, [], False
        self.lost, self.mark, self.marks = {"journal": 0}, "", []

    def write(self, batch: list[Event | Notice], mark: str = "") -> None:
        """Keep it, and see that the ring still holds it."""
        assert self.ring.advanced < self.ring.read_count or not batch
        if self.broken:
            self.lost["journal"] += sum(e.count for e in batch if isinstance(e, Event))
        else:
            self.batches.append(batch)
            self.mark = mark or self.mark
            self.marks.append(mark)


@pytest.mark.parametrize("broken", [False, True])
def test_what_is_read_is_kept_or_counted(world: World, broken: bool) -> None:
    """The ring gets its place back only after the journal has the batch; a batch that it refuses is counted as lost."""
    reconcile, maps = world
    ids = reconcile.load(policy(), FACTS).state.ids
    common = {"class_": abi.DATA, "hook": Hook.OPEN, "mechanism": Mechanism.LSM, "verdict": 2, "mode": 1, "asked": 1}
    ring = FakeRing(
        [
            record(subject=ids.subject(ALPHA), count=3, **common),
            record(subject=Reserved.CANARY, count=2, **common),
            record(subject=Reserved.UNNAMED, hook=Hook.BORN, path=BETA.encode(), path_len=64),
            record(subject=ids.subject(ALPHA), **{**common, "hook": 99}),
        ]
    )
    journal, born = FakeJournal(ring), []
    journal.broken = broken
    rings = Rings(ring, FakeRing([]))
    pipeline = Pipeline(rings, maps, Records(reconcile.at, None), journal, born=born.append)
    assert pipeline.drain() == 4
    assert ring.advanced == 4
    assert (pipeline.canary_records, pipeline.malformed, born) == ({"open": 2}, 1, [BETA])
    subject = ids.subject(ALPHA)
    unreadable = {Account(abi.LOST, abi.LOST_UNREADABLE, subject): 1}
    three = Account(abi.LOST, abi.LOST_JOURNAL, subject) if broken else Account(abi.RECORDED, 0, subject)
    assert maps.accounts.all() == unreadable | {three: 3}


class FakeSurvey:
    """A host whose looks are counted, and fail as often as they are told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.looks = failures, []

    def full(self) -> Facts:
        """Everything."""
        return self._look("full")

    def after(self, event: DockerEvent) -> Facts:
        """What an event concerns."""
        return self._look(event.kind)

    def look_for_links(self) -> None:
        """Nothing slow to look at."""

    def _look(self, what: str) -> Facts:
        self.looks.append(what)
        if self.failures:
            self.failures -= 1
            raise EdgeError("docker is busy")
        return FACTS


def event(kind: str) -> DockerEvent:
    """Something of that kind has started."""
    return DockerEvent(kind, "start", ALPHA, "alpha", 1)


def surveyor(survey: FakeSurvey, *messages: object, replaced: FakeSurvey | None = None) -> list[Settled]:
    """Let a surveyor work off messages that are there already, and those that it gives itself; what it found settled."""
    found: list[Settled] = []
    made = Surveyor(
        survey,
        found=lambda facts, settled: found.append(settled),
        reload=lambda _: replaced,
        stopped=lambda seconds: False,
    )
    batch = list(messages)
    while batch:
        made._act(batch)
        batch = [] if made._messages.empty() else [made._messages.get()]
        assert made.behind == bool(batch)
    return found


@pytest.mark.parametrize("failures", [0, 1, 7])
def test_failed_looks_are_repeated_until_one_succeeds(failures: int) -> None:
    """A failed look becomes a full one, again and again with growing waits; until it succeeds the agent says it is behind."""
    survey = FakeSurvey(failures)
    found = surveyor(survey, event("container"))
    assert survey.looks == ["container", *["full"] * failures]
    assert found == [{ALPHA: 1}]


def test_an_end_ends_the_wait_before_a_repeated_look() -> None:
    """An agent that is told to stop does not wait for the engine to come back."""
    survey, waits = FakeSurvey(1), []
    made = Surveyor(
        survey,
        found=lambda facts, settled: None,
        reload=lambda _: None,
        stopped=lambda seconds: waits.append(seconds) or True,
    )
    made._act([event("container")])
    made._act([Resync()])
    assert survey.looks == ["container"]
    assert waits == [RETRY_S[0]]


def test_events_are_looked_at_together() -> None:
    """Volumes and networks come first, so that they are protected before the container that uses them runs."""
    survey = FakeSurvey()
    found = surveyor(survey, event("container"), event("volume"), event("network"))
    assert survey.looks == ["volume", "network", "container"]
    assert found == [{ALPHA: 1}]


def test_a_resync_covers_the_events_before_it() -> None:
    """A full look settles what the events would have."""
    survey = FakeSurvey()
    assert surveyor(survey, event("container"), Resync()) == [{ALPHA: 1}]
    assert survey.looks == ["full"]


def test_a_reload_looks_with_the_new_policys_eyes() -> None:
    """After a reload the new survey, which knows the new policy's paths, is the one that looks."""
    old, new = FakeSurvey(), FakeSurvey()
    surveyor(old, Reload(), event("volume"), replaced=new)
    assert (old.looks, new.looks) == ([], ["volume"])


def test_the_end_is_not_delayed_by_what_waits() -> None:
    """When the agent stops, messages that still wait are dropped."""
    survey = FakeSurvey()
    made = Surveyor(
        survey,
        found=lambda facts, settled: None,
        reload=lambda _: None,
        stopped=lambda seconds: False,
    )
    for message in (event("container"), None):
        made.put(message)
    made.run()
    assert survey.looks == []


def test_the_writer_goes_on_after_a_failure() -> None:
    """A task that fails is told of, and the next one is done; what waits for changes is told of that one."""
    failures: list[tuple[str, object]] = []
    done: list[int] = []
    writer = Writer(lambda error, again: failures.append((str(error), again)), lambda: done.append(2))

    def refuse() -> None:
        raise EdgeError("no")

    writer.put(refuse, Reload())
    writer.put(lambda: done.append(1), Resync())
    writer.end()
    writer.run()
    assert (failures, done) == ([("no", Reload())], [1, 2])
