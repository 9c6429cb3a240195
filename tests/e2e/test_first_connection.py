"""The first connection of a container's first program: made where it is granted, refused where it is not, from its start on."""

from __future__ import annotations

from typing import Any

import pytest
from docker.models.containers import Container

from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.test_following import OUTSIDE, REFUSED, address_of, server
from tests.e2e.world import INTERNAL, NETWORK

ROUNDS = 8


@pytest.fixture
def guest(agent: Agent, containers: Containers) -> Container:
    """Serves on the internal network."""
    made = server(containers, "guest", INTERNAL)
    agent.await_that("the agent to know it", lambda: agent.runs("guest"))
    return made


def calling(address: str) -> tuple[str, ...]:
    """A program that connects first of all; its exit status is 0 if somebody answers."""
    return "sh", "-c", f"nc -w 5 {address} 8080 < /dev/null"


def test_what_is_granted_is_reached_from_the_first_program_on(
    agent: Agent, containers: Containers, guest: Container
) -> None:
    """Its networks are known before it starts: nothing lawful is refused, whether a rule names it or only its network."""
    address = address_of(guest, INTERNAL)
    before = agent.mark()
    for number in range(ROUNDS):
        name = ("worker-9", "inmate")[number % 2]
        done = containers.run(*calling(address), name=name, network=INTERNAL)
        assert done.status == 0, done.output
        containers.client.containers.get(name).remove()
    assert agent.rise(before) == {}


def test_a_container_that_joins_anothers_network_is_known_before_it_starts(
    agent: Agent, containers: Containers, guest: Container
) -> None:
    """The listing tells whose namespace it joins; an inspection would come after its first program."""
    address = address_of(guest, INTERNAL)
    owner = containers.start(name="owner", network=INTERNAL)
    agent.await_that("the agent to know it", lambda: agent.runs("owner"))
    before = agent.mark()
    for number in range(ROUNDS):
        done = containers.run(*calling(address), name=f"sidecar-{number}", network_mode=f"container:{owner.id}")
        assert done.status == 0, done.output
    assert agent.rise(before) == {}


@pytest.mark.parametrize("place", [{"network": INTERNAL}, {"network_mode": "container:owner"}], ids=["own", "joined"])
def test_what_is_confined_is_so_from_the_first_program_on(
    agent: Agent, containers: Containers, place: dict[str, Any]
) -> None:
    """A container that no rule names, on internal networks only: nothing that it tries to leave them with goes."""
    containers.start(name="owner", network=INTERNAL)
    agent.await_that("the agent to know it", lambda: agent.runs("owner"))
    for number in range(ROUNDS):
        done = containers.run(*calling(OUTSIDE), name=f"inmate-{number}", **place)
        assert REFUSED in done.output


def test_who_is_on_no_network_of_dockers_is_not_held(agent: Agent, containers: Containers) -> None:
    """With host networking, or none, and no rule that names it, a container is not confined: the first look tells."""
    for number, mode in enumerate(("none", "host", NETWORK)):
        done = containers.run(*calling(OUTSIDE), name=f"rover-{number}", network_mode=mode)
        assert REFUSED not in done.output
