"""What only packets tell, in real containers: names asked of Docker's own resolver, pings, raw and packet sockets."""

from __future__ import annotations

import socket

import pytest

from tests.e2e.agent import INSIDE, Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.test_following import INTERNAL, NETWORK, address_of
from tests.e2e.world import World

OUTSIDE_NAME = "data-in-a-name.example.com"


def test_names_of_its_networks_are_answered_and_no_other_is_asked_for(agent: Agent, containers: Containers) -> None:
    """A confined container resolves its neighbours, by name and alias; an outside name is refused, counted and told."""
    verdict = "denied"
    containers.start(name="neighbour", network=INTERNAL)
    inmate = containers.start(name="inmate", network=INTERNAL)
    agent.await_that("the agent to know", lambda: INTERNAL in agent.networks_of("inmate"))
    before = agent.mark()
    assert containers.execute(inmate, "nslookup", "-type=a", "neighbour", "127.0.0.11").status == 0
    assert agent.rise(before) == {}
    assert containers.execute(inmate, "nslookup", "-type=a", OUTSIDE_NAME, "127.0.0.11").status != 0
    counted = agent.rise(before)
    assert set(counted) == {sample(INSIDE, container="inmate", destination="(outside name)", action=verdict)}
    events = agent.await_events(before, int(sum(counted.values())))
    assert {(e.attempt.name, e.attempt.network, e.verdict.name.lower()) for e in events} == {
        (OUTSIDE_NAME, INTERNAL, verdict)
    }


def test_a_container_that_is_free_may_ask(agent: Agent, containers: Containers, world: World) -> None:
    """One that is on another network too is not confined: nothing of its questions is counted."""
    guest = containers.start(name="guest", network=NETWORK)
    before = agent.mark()
    containers.execute(guest, "nslookup", "-type=a", OUTSIDE_NAME, "127.0.0.11")
    assert agent.rise(before) == {}


def test_the_kernel_answers_for_a_container(agent: Agent, containers: Containers, world: World) -> None:
    """Echo replies and resets are no attempts of the container: whoever may reach it gets them, and nothing is counted."""
    inmate = containers.start(name="inmate", network=INTERNAL)
    agent.await_that("the agent to know", lambda: INTERNAL in agent.networks_of("inmate"))
    address = address_of(inmate, INTERNAL)
    before = agent.mark()
    host = world.engine.namespace
    assert host.run("busybox", "ping", "-c", "1", "-W", "5", address, check=False).status == 0
    with host.entered(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 9), timeout=10)
    assert agent.rise(before) == {}


@pytest.mark.parametrize(
    ("command", "destination"),
    [
        (["ping", "-c", "1", "-W", "1", "203.0.113.9"], ""),
        (["arping", "-c", "1", "-w", "1", "203.0.113.9"], "(packet socket)"),
    ],
)
def test_pings_and_packet_sockets(agent: Agent, containers: Containers, command: list[str], destination: str) -> None:
    """A confined container pings nobody outside, and gets no packet socket; each is counted once under what it is."""
    inmate = containers.start(name="inmate", network=INTERNAL)
    agent.await_that("the agent to know", lambda: INTERNAL in agent.networks_of("inmate"))
    before = agent.mark()
    assert containers.execute(inmate, *command).status != 0
    found = {dict(labels).get("destination", ""): n for (_, labels), n in agent.rise(before).items()}
    assert found == {destination: 1}
