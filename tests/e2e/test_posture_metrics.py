"""The running agent says as a metric how containers are made, and follows what changes."""

from __future__ import annotations

from tests.e2e.agent import Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.world import World

POSTURE = "enforcer_posture_checks"


def test_drift_is_seen(world: World, agent: Agent, containers: Containers) -> None:
    """A container that comes is looked at, one that changes has another result, and one that goes has no series."""
    container = containers.start(name="worker-drift", network="cell", user="1001")
    good = sample(POSTURE, check="user", container="worker-drift", result="pass")
    agent.await_that("its user to be looked at", lambda: agent.metrics().get(good) == 1)
    apart = sample(POSTURE, check="network-segmentation", container="worker-drift", result="warn")
    assert apart not in agent.metrics()
    world.client.networks.get("cell").disconnect(container)
    agent.await_that("the network that it left to be missed", lambda: agent.metrics().get(apart) == 1)
    container.remove(force=True)
    agent.await_that(
        "its series to end",
        lambda: not any(("container", "worker-drift") in s[1] for s in agent.metrics() if s[0] == POSTURE),
    )
    assert agent.metrics()[sample("enforcer_posture_timestamp_seconds")] > 0
    assert agent.running
