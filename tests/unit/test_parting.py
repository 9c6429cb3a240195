"""A container leaves a network: what Docker's event says is in force before anybody has looked, and until a look knows of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from enforcer.core.address import packed
from enforcer.core.image import EndpointKey, MemberKey, Table
from enforcer.core.model import Attachment, Facts
from enforcer.edges.dockerd import DockerEvent
from enforcer.runtime.follow import Heard, Writer
from enforcer.runtime.reconcile import Reconcile
from tests.scenarios import policy
from tests.unit.test_runtime import ALPHA, BETA, FACTS, FakeMaps, container, reconcile_in

ADDRESS = "172.30.0.2"
LEAVING = [
    DockerEvent("network", "disconnect", "n1", "inner", 5, container=ALPHA),
    DockerEvent("container", "die", ALPHA, "alpha", 5),
    DockerEvent("container", "destroy", ALPHA, "alpha", 5),
]


class World:
    """A reconcile over maps that only remember, with alpha on the network inner."""

    def __init__(self, directory: Path) -> None:
        self.maps = FakeMaps()
        self.reconcile: Reconcile = reconcile_in(directory, self.maps)
        self.reconcile.load(policy(), FACTS)

    @property
    def holder(self) -> int | None:
        """Whose the address is."""
        found = self.maps.tables[Table.ENDPOINTS].get(EndpointKey(packed(ADDRESS), 1))
        return found and int(found.subject)

    def subject(self, identity: str) -> int:
        """The number of a container."""
        assert self.reconcile.snapshot
        return self.reconcile.snapshot.state.ids.subject(identity)

    @property
    def confined(self) -> bool:
        """Whether alpha still counts as on its network."""
        ids = self.reconcile.snapshot.state.ids  # type: ignore[union-attr]
        return MemberKey(1, self.subject(ALPHA), ids.network("n1")) in self.maps.tables[Table.MEMBERS]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Alpha has the address."""
    made = World(tmp_path)
    assert made.holder == made.subject(ALPHA)
    return made


@pytest.mark.parametrize("event", LEAVING, ids=lambda e: e.action)
def test_the_address_is_nobodys_at_once(world: World, event: DockerEvent) -> None:
    """No question is asked of the engine first. What holds the container itself to its networks stays until a look."""
    world.reconcile.hear([event])
    assert (world.holder, world.confined) == (None, True)


@pytest.mark.parametrize("event", LEAVING, ids=lambda e: e.action)
def test_a_look_that_began_before_does_not_give_it_back(world: World, event: DockerEvent) -> None:
    """Looks are made one after the other: only one that was made for the event, or for a later one, knows of it."""
    world.reconcile.hear([event])
    world.reconcile.update(FACTS)
    world.reconcile.update(FACTS, {ALPHA: 4})
    world.reconcile.update(FACTS, {BETA: 9})
    world.reconcile.load(policy(), FACTS)
    assert not world.maps.tables[Table.ENDPOINTS]


@pytest.mark.parametrize("event", LEAVING, ids=lambda e: e.action)
def test_the_look_that_was_made_for_it_is_believed(world: World, event: DockerEvent) -> None:
    """It may have come back meanwhile, as with `docker restart`."""
    world.reconcile.hear([event])
    world.reconcile.update(FACTS, {ALPHA: 5})
    assert world.holder == world.subject(ALPHA)


def test_the_successor_has_the_address(world: World) -> None:
    """Whatever the order of the looks, the address is the next one's, and not the old one's for a moment."""
    world.reconcile.hear([LEAVING[0]])
    both = replace(FACTS, containers={**FACTS.containers, BETA: container(BETA, "beta", cgroup=78)})
    world.reconcile.update(both, {BETA: 6})
    assert world.holder == world.subject(BETA)
    world.reconcile.update(replace(both, containers={BETA: both.containers[BETA]}), {ALPHA: 5})
    assert world.holder == world.subject(BETA)


def test_it_keeps_its_addresses_elsewhere(world: World) -> None:
    """One network is left, not the others; a container that nobody knows leaves nothing."""
    two = (Attachment("inner", (ADDRESS,)), Attachment("outer", ("172.31.0.2",)))
    facts = Facts({ALPHA: replace(FACTS.containers[ALPHA], attachments=two)}, FACTS.networks)
    world.reconcile.update(facts)
    world.reconcile.hear([LEAVING[0]])
    world.reconcile.hear([DockerEvent("network", "disconnect", "n1", "inner", 5, container=BETA)])
    assert [key.address for key in world.maps.tables[Table.ENDPOINTS]] == [packed("172.31.0.2")]


def test_what_is_no_news_costs_nothing(world: World) -> None:
    """A container has left when it dies, and once more when it is destroyed; other events say nothing by themselves."""
    world.reconcile.hear(LEAVING)
    before = world.maps.applied
    world.reconcile.hear([*LEAVING, DockerEvent("container", "start", ALPHA, "alpha", 6)])
    assert world.maps.applied == before


def test_a_crowd_is_one_change(world: World) -> None:
    """However many containers come and go at once: what waits meanwhile is put in force together."""
    crowd = [DockerEvent("container", "create", f"{n:064x}", f"crowd-{n}", n) for n in range(1, 50)]
    writer, told = Writer(lambda error, again: pytest.fail(str(error))), []

    def hear(events: list[DockerEvent]) -> None:
        told.append(len(events))
        world.reconcile.hear(events)

    heard = Heard(writer, hear)
    for event in (*crowd, LEAVING[0]):
        heard.put(event)
    writer.end()
    writer.run()
    assert told == [50]
    assert world.holder is None
    assert world.reconcile.snapshot
    assert {event.id for event in crowd} < world.reconcile.snapshot.facts.containers.keys()
