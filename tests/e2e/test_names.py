"""What a confined container may ask Docker's resolver for is what Docker answers it by itself, on a real engine."""

from __future__ import annotations

import pytest
from docker.models.containers import Container

from deploy.demo.acts import Ran
from tests.e2e.agent import INSIDE, Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.world import INTERNAL, NETWORK, World

REFUSED = "Operation not permitted"


def ask(container: Container, name: str) -> Ran:
    """One question for an address; status 0 if it is answered. Only once, so that a silent resolver does not hold us up."""
    return Containers.execute(container, "nslookup", "-type=a", "-timeout=2", "-retry=1", f"{name}.")


@pytest.fixture
def keeper(agent: Agent, containers: Containers) -> Container:
    """A container with capitals in its name, on the internal network."""
    made = containers.start(name="Keeper", network=INTERNAL)
    agent.await_that("the agent to know its address", lambda: agent.runs("Keeper"))
    return made


def linked(world: World, containers: Containers) -> Container:
    """A container that calls another by an alias of its own: ``docker run --network cell --link Keeper:Boss``."""
    api = world.client.api
    networking = api.create_networking_config({INTERNAL: api.create_endpoint_config(links={"Keeper": "Boss"})})
    options = {"networking_config": networking, "host_config": api.create_host_config(network_mode=INTERNAL, init=True)}
    made = api.create_container(world.images.base, ["sleep", "infinity"], name="linked", **options)
    found: Container = world.client.containers.get(made["Id"])
    containers.keep(found)
    found.start()
    return found


def test_any_case_is_answered_where_docker_answers_it(agent: Agent, keeper: Container, containers: Containers) -> None:
    """The engine compares names of containers by any case: so does the enforcer, and nothing is counted."""
    asker = containers.start(name="asker", network=INTERNAL)
    agent.await_that("names to be known", lambda: ask(asker, "Keeper").status == 0)
    before = agent.mark()
    for name in ("keeper", "KEEPER", f"Keeper.{INTERNAL}", f"keeper.{INTERNAL}", keeper.id[:12].upper()):
        assert ask(asker, name).status == 0, name
    assert agent.rise(before) == {}


@pytest.mark.parametrize("name", [f"Keeper.{INTERNAL.upper()}", "Boss", "keeper.example.com"])
def test_what_docker_would_hand_on_stays(agent: Agent, keeper: Container, containers: Containers, name: str) -> None:
    """A network's name by another case, another container's link, any name outside: the engine itself does not know them."""
    free = containers.start(name="free", network=NETWORK)
    free_too = containers.client.networks.get(INTERNAL)
    free_too.connect(free)
    asker = containers.start(name="asker", network=INTERNAL)
    agent.await_that("names to be known", lambda: ask(asker, "Keeper").status == 0)
    agent.await_that("the other to be free", lambda: INTERNAL in agent.networks_of("free"))
    before = agent.mark()
    assert ask(free, "keeper").status == 0
    assert ask(free, name).status != 0  # not held back by the enforcer, and the engine has no answer
    assert agent.rise(before) == {}
    assert ask(asker, name).status != 0
    [(counted, _)] = agent.rise(before).items()
    assert counted == sample(INSIDE, container="asker", destination="(outside name)", action="denied")


def test_a_link_is_answered_to_who_has_it(
    agent: Agent, keeper: Container, containers: Containers, world: World
) -> None:
    """By `--link` when it is made, and by `docker network connect --link`; it ends with the container that it leads to."""
    first = linked(world, containers)
    second = containers.start(name="second", network=NETWORK)
    cell = world.client.networks.get(INTERNAL)
    cell.connect(second, links=[("Keeper", "Chief")])
    world.client.networks.get(NETWORK).disconnect(second)
    agent.await_that("links to be known", lambda: ask(first, "Boss").status == 0 and ask(second, "Chief").status == 0)
    before = agent.mark()
    for asker, name in ((first, "Boss"), (first, f"Boss.{INTERNAL}"), (second, "Chief")):
        assert ask(asker, name).status == 0, name
    assert agent.rise(before) == {}
    assert ask(second, "Boss").status != 0
    assert agent.rise(before)
    keeper.remove(force=True)
    agent.await_container("Keeper", known=False)
    before = agent.mark()
    assert ask(first, "Boss").status != 0
    assert agent.rise(before)
