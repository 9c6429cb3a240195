"""Two rounds of the same work in an engine of their own: without any agent, then under one that protects everything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.engine import Engine, private_engine
from enforcer.edges.cgroup import Cgroups
from tests.e2e.agent import Agent
from tests.lawful.image import build
from tests.lawful.steps import Steps, read_steps

HERE = Path(__file__).parent
IMAGE = "lawful:local"
PORT = 9475
HALVES = (
    ("programs", "files", "bound", "layer", "power", "cgroups"),
    ("engine", "postgres", "births", "sharing", "confined", "built"),
)
"""The workloads of round.sh; the two halves share no name of a container or volume."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First of all tests: the first round must meet a host without an agent, and others keep theirs for the session."""
    items.sort(key=lambda item: HERE not in item.path.parents)


@dataclass(frozen=True)
class Rounds:
    """What came of it. ``before`` and ``after`` are the agent's status around the second round."""

    alone: Steps
    governed: Steps
    before: dict[str, Any]
    after: dict[str, Any]
    agent: Agent
    engine: Engine


@pytest.fixture(scope="package")
def lawful_engine() -> Iterator[Engine]:
    """An engine with the image of Debian's programs."""
    with private_engine() as engine:
        tar = build(HERE.parents[1] / ".cache/lawful")
        subprocess.run(["docker", "-H", engine.url, "import", tar, IMAGE], check=True, capture_output=True)
        yield engine


def play(engine: Engine, host: Path) -> Steps:
    """One round: both halves at once."""
    env = os.environ | {"DOCKER_HOST": engine.url, "CGROUPS": str(Cgroups().root / engine.name)}
    halves = []
    for number, workloads in enumerate(HALVES):
        (own := host / str(number)).mkdir(exist_ok=True)
        words = ["bash", HERE / "round.sh", IMAGE, own, *workloads]
        halves.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ends = [half.communicate(timeout=240) for half in halves]
    assert [(half.returncode, errors) for half, (_, errors) in zip(halves, ends, strict=True)] == [(0, "")] * len(
        halves
    )
    return read_steps("".join(said for said, _ in ends))


@pytest.fixture(scope="package")
def rounds(lawful_engine: Engine) -> Iterator[Rounds]:
    """The two rounds."""
    host = lawful_engine.directory / "host"
    host.mkdir()
    alone = play(lawful_engine, host)
    agent = Agent(lawful_engine, lawful_engine.directory / "lawful", port=PORT)
    (agent.policy / "policy.yaml").write_text((HERE / "policy.yaml").read_text().replace("HOST", str(host)))
    try:
        agent.start()
        before = agent.status()
        governed = play(lawful_engine, host)
        yield Rounds(alone, governed, before, agent.status(), agent, lawful_engine)
    finally:
        agent.close()
