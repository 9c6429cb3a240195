"""Trying to write from inside a container while the enforcer is in force: it is judged as the container itself is."""

from __future__ import annotations

import os
from pathlib import Path

from enforcer.core.model import Container
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.writes import Writes
from tests.e2e.agent import DATA, Agent
from tests.e2e.world import World


def test_another_containers_volume_is_refused_and_counted(world: World, agent: Agent) -> None:
    """alpha may write its own volume; at beta's, which is mounted for writing, the enforcer stops it, and no file stays."""
    mark = agent.mark()
    detail: Container = Dockerd(world.engine.url).container("alpha")
    found = Writes(Cgroups()).attempt(detail, ["/alpha-data", "/beta-data", "/nowhere"])
    assert found["/alpha-data"].done, found
    assert found["/beta-data"].tried, found
    assert not found["/beta-data"].done, found
    assert found["/nowhere"].how.startswith("ENOENT"), found
    beta = Path(world.client.volumes.get("beta-data").attrs["Mountpoint"])
    assert os.listdir(beta) == ["f"]
    agent.await_that(
        "the attempt to be counted",
        lambda: any(
            m == DATA and ("object", "beta-data") in labels for (m, labels), n in agent.rise(mark).items() if n
        ),
    )
