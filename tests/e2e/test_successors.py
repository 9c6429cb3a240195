"""An address that a container has left is nobody's: whoever gets it next is not reached by the rules that named the one before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.world import World

SUBNET, ADDRESS = "172.29.0.0/24", "172.29.0.50"
ROUNDS = 5
POLICY = b"""
version: 1
containers:
  caller: {name: caller}
  granted: {name: granted}
network:
  rules:
    - {who: caller, connect: [{container: granted}]}
"""
LOOP = f"while true; do nc -w 2 {ADDRESS} 8080 < /dev/null; usleep 3000; done"
"""Whoever answers says who it is."""


@pytest.fixture
def lane(world: World) -> Iterator[Network]:
    """A network of the test's own, on which a container may have the address that it asks for."""
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)])
    made: Network = world.client.networks.create("lane", ipam=pools, labels=world.engine.labels)
    yield made
    made.remove()


@pytest.fixture
def caller(agent: Agent, lane: Network, containers: Containers) -> Iterator[Container]:
    """A container that may connect to `granted` only, and that tries the address all the time."""
    (agent.policy / "40-lane.yaml").write_bytes(POLICY)
    wanted = read_policy(agent.policy).hash
    agent.await_that("the policy", lambda: agent.status()["policy"]["hash"] == wanted)
    yield containers.start("sh", "-c", LOOP, name="caller", network=lane.name)
    containers.remove_all()


def serving(name: str, **options: Any) -> dict[str, Any]:
    """What starts a container that says who it is on port 8080."""
    return {"command": ["nc", "-ll", "-p", "8080", "-e", "echo", name], "name": name, "init": True, **options}


def heard(caller: Container) -> set[str]:
    """Who has answered so far."""
    return set(caller.logs(stderr=False).decode().split())


def test_an_address_that_was_parted_with_is_not_open_to_the_next(
    agent: Agent, lane: Network, caller: Container, containers: Containers, world: World
) -> None:
    """Two containers change places on a network, the second as soon as the engine lets it: only the granted one is ever reached."""
    both = {
        name: world.client.containers.create(world.images.base, network_mode="bridge", **serving(name))
        for name in ("granted", "successor")
    }
    try:
        for container in both.values():
            container.start()
        for _ in range(ROUNDS):
            lane.connect(both["granted"], ipv4_address=ADDRESS)
            before = caller.logs(stderr=False).count(b"granted")
            agent.await_that("it to be reached", lambda n=before: caller.logs(stderr=False).count(b"granted") > n)
            lane.disconnect(both["granted"])
            lane.connect(both["successor"], ipv4_address=ADDRESS)
            agent.await_that("the agent to know", lambda: "lane" in agent.networks_of("successor"))
            lane.disconnect(both["successor"])
        assert heard(caller) == {"granted"}
    finally:
        for container in both.values():
            container.remove(force=True)


def test_an_address_of_a_container_that_is_gone_is_not_open_to_the_next(
    agent: Agent, lane: Network, caller: Container, containers: Containers, world: World
) -> None:
    """A container is removed, and another one that was made before starts with its address: it is never reached."""
    for _ in range(ROUNDS):
        made = [
            world.client.api.create_container(
                world.images.base,
                host_config=world.client.api.create_host_config(init=True),
                networking_config={"EndpointsConfig": {"lane": {"IPAMConfig": {"IPv4Address": ADDRESS}}}},
                **{key: value for key, value in serving(name).items() if key != "init"},
            )["Id"]
            for name in ("granted", "successor")
        ]
        granted, successor = (world.client.containers.get(identity) for identity in made)
        granted.start()
        before = caller.logs(stderr=False).count(b"granted")
        agent.await_that("it to be reached", lambda n=before: caller.logs(stderr=False).count(b"granted") > n)
        granted.remove(force=True)
        successor.start()
        agent.await_that("the agent to know", lambda: agent.runs("successor"))
        successor.remove(force=True)
    assert heard(caller) == {"granted"}
