"""Networks as hosts have them: named in vain, gone while in use, made anew, wide, none of a container's own; by real containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from enforcer.core.names import leaks_names
from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.test_following import OUTSIDE, REFUSED, address_of, reach, server
from tests.e2e.world import NETWORK, World

MOON, WIDE = "moon", "10.0.0.0/8"
POLICY = b"""
version: 1
containers:
  astronaut: {name: "astronaut*"}
  base: {name: base}
network:
  rules:
    - who: astronaut
      connect: [{network: moon}, {container: base, ports: [8080/tcp]}, {cidr: 198.51.100.0/24}]
    - {who: base, connect: []}
"""
GRANTED = "198.51.100.1"  # no route leads there, either: what is let go finds the network unreachable


@pytest.fixture
def agent_with_moon(agent: Agent) -> Agent:
    """The agent, whose policy speaks of a network that is not there."""
    (agent.policy / "50-moon.yaml").write_bytes(POLICY)
    wanted = read_policy(agent.policy).hash
    agent.await_that("the policy", lambda: agent.status()["policy"]["hash"] == wanted)
    return agent


@pytest.fixture
def moon(world: World, containers: Containers) -> Iterator[dict[str, Any]]:
    """How to make the network, with the widest subnet there is for it; it is removed at the end, if it is there."""
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=WIDE, gateway="10.255.255.254")])
    yield {"name": MOON, "ipam": pools, "labels": world.engine.labels}
    containers.remove_all()
    with suppress(NotFound):
        world.client.networks.get(MOON).remove()


def test_a_network_that_is_not_there_is_no_grant_until_it_is(
    agent_with_moon: Agent, world: World, containers: Containers, moon: dict[str, Any]
) -> None:
    """`check --host` fails and names it; the running agent has said so and goes on; once it is made, the grant follows."""
    agent = agent_with_moon
    checked = agent.ask("check", str(agent.policy), "--host")
    assert checked.returncode == 1
    missing = f"there is no network '{MOON}' on this host: no grant"
    assert missing in checked.stdout
    assert missing in agent.log.read_text()
    walker = containers.start(name="astronaut", network=NETWORK)
    neighbour = server(containers, "neighbour", NETWORK)
    agent.await_that("the agent to know", lambda: agent.runs("neighbour") and agent.runs("astronaut"))
    assert REFUSED in reach(walker, address_of(neighbour, NETWORK)).output
    made = world.client.networks.create(**moon)
    for one in (walker, neighbour):
        made.connect(one)
    address = address_of(neighbour, MOON)
    agent.await_that("it to be reached there", lambda: reach(walker, address).status == 0)
    assert agent.ask("check", str(agent.policy), "--host").stdout.count(MOON) == 0


def left(made: Network, *containers: Container) -> None:
    """Everybody is torn from the network, and it is removed while they run."""
    for container in containers:
        made.disconnect(container, force=True)
    made.remove()


def test_a_network_that_goes_while_it_is_in_use(
    agent_with_moon: Agent, world: World, containers: Containers, moon: dict[str, Any]
) -> None:
    """Nobody is reached by its addresses any more; one made anew under its name is another network, and granted."""
    agent = agent_with_moon
    walker = containers.start(name="astronaut", network=NETWORK)
    neighbour = server(containers, "neighbour", NETWORK)
    for _ in range(2):
        made = world.client.networks.create(**moon)
        for one in (walker, neighbour):
            made.connect(one)
        address = address_of(neighbour, MOON)
        agent.await_that("it to be reached", lambda at=address: reach(walker, at).status == 0)
        left(made, walker, neighbour)
        agent.await_that("it to be refused", lambda at=address: REFUSED in reach(walker, at).output)
        agent.await_that("it to be forgotten", lambda: MOON not in agent.networks_of("neighbour"))


def test_a_container_with_two_addresses_is_reached_at_both(
    agent_with_moon: Agent, world: World, containers: Containers, moon: dict[str, Any]
) -> None:
    """A rule that names a container means every address that it has, at the ports of the rule."""
    agent, made = agent_with_moon, world.client.networks.create(**moon)
    base = server(containers, "base", NETWORK)
    walker = containers.start(name="astronaut", network=NETWORK)
    for one in (base, walker):
        made.connect(one)
    for network in (MOON, NETWORK):
        address = address_of(base, network)
        agent.await_that(f"it to be reached on {network}", lambda at=address: reach(walker, at).status == 0)
    assert REFUSED in containers.execute(walker, "nc", "-w", "1", address_of(base, NETWORK), "8081").output


def test_its_own_addresses_are_free(agent_with_moon: Agent, containers: Containers) -> None:
    """A container that may connect nowhere reaches itself: by loopback, and by its address on a network."""
    agent, base = agent_with_moon, server(containers, "base", NETWORK)
    address = address_of(base, NETWORK)
    agent.await_that("the agent to know", lambda: reach(base, address).status == 0)
    assert reach(base, "127.0.0.1").status == 0
    assert REFUSED in reach(base, OUTSIDE).output


@pytest.mark.parametrize("mode", ["host", "container:owner", "none"])
def test_rules_hold_without_a_network_of_its_own(agent_with_moon: Agent, containers: Containers, mode: str) -> None:
    """With host networking, in another's namespace, or with none: who is judged is the container, not where it is."""
    agent = agent_with_moon
    containers.start(name="owner", network=NETWORK)
    agent.await_that("the agent to know", lambda: agent.runs("owner"))
    walker = containers.start(name="astronaut-2", network_mode=mode)
    before = agent.mark()
    assert REFUSED in reach(walker, OUTSIDE).output
    assert [dict(labels)["container"] for _, labels in agent.rise(before)] == ["astronaut-2"]
    assert REFUSED not in reach(walker, GRANTED).output
    other = containers.start(name=f"stranger-{mode.partition(':')[0]}", network_mode=mode)
    agent.await_that("the agent to know it", lambda: REFUSED not in reach(other, OUTSIDE).output)


def test_doctor_tells_whether_names_leak_here(agent: Agent, world: World) -> None:
    """CVE-2024-29018, of the very engine that runs."""
    done = agent.ask("doctor", "--cgroup", f"/{world.engine.name}", "--format", "json")
    checks = {check["what"]: check for check in json.loads(done.stdout)["checks"]}
    version = world.client.version()["Version"]
    said = checks["Docker's resolver"]["seen"]
    assert version in said
    assert ("has no CVE-2024-29018" in said) is not leaks_names(version)
    assert checks["nftables"] == {
        "what": "nftables",
        "ok": True,
        "seen": "holds the egress guard: a table like its own was written and removed",
        "vital": False,
    }
    assert "doctor" not in world.engine.namespace.run("nft", "list", "tables").out
