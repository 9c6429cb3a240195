"""The two rounds: without any agent, then under one that protects everything."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.engine import Engine, private_engine
from enforcer.edges.cgroup import Cgroups
from tests.e2e.agent import Agent
from tests.lawful.image import build
from tests.lawful.steps import Steps, read_steps

HERE = Path(__file__).parent
REPO = HERE.parents[1]
IMAGE = "lawful:local"
PORT = 9475


@dataclass(frozen=True)
class Rounds:
    """What came of them. ``before`` and ``after`` are the agent's status around the second."""

    alone: Steps
    governed: Steps
    before: dict[str, Any]
    after: dict[str, Any]
    agent: Agent
    engine: Engine


@contextmanager
def engine_with_image() -> Iterator[Engine]:
    """An engine of its own with the image of Debian's programs."""
    with private_engine() as engine:
        tar = build(REPO / ".cache/lawful").tar
        subprocess.run(["docker", "-H", engine.url, "import", tar, IMAGE], check=True, capture_output=True)
        yield engine


def play(engine: Engine, host: Path, halves: Sequence[Sequence[str]], env: Mapping[str, str], *, limit_s: int) -> Steps:
    """One round; each of ``halves`` names workloads of round.sh, and all of them run at once."""
    env = os.environ | {"DOCKER_HOST": engine.url, "CGROUPS": str(Cgroups().root / engine.name)} | env
    started = []
    for number, workloads in enumerate(halves):
        (own := host / str(number)).mkdir(exist_ok=True)
        words = ["bash", HERE / "round.sh", IMAGE, own, *workloads]
        started.append(subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    ends = [half.communicate(timeout=limit_s) for half in started]
    wrong = [(half.returncode, ends[n][1]) for n, half in enumerate(started) if half.returncode or ends[n][1]]
    assert wrong == [], f"(exit status, complaints): {wrong}"
    return read_steps("".join(said for said, _ in ends))


@contextmanager
def two_rounds(
    engine: Engine,
    halves: Sequence[Sequence[str]],
    env: Mapping[str, str] = {},
    *,
    limit_s: int = 240,
) -> Iterator[Rounds]:
    """Both rounds are played; the agent of the second still runs."""
    host = engine.directory / "host"
    host.mkdir()
    alone = play(engine, host, halves, env, limit_s=limit_s)
    agent = Agent(engine, engine.directory / "lawful", port=PORT)
    (agent.policy / "policy.yaml").write_text((HERE / "policy.yaml").read_text().replace("HOST", str(host)))
    try:
        agent.start()
        before = agent.status()
        governed = play(engine, host, halves, env, limit_s=limit_s)
        yield Rounds(alone, governed, before, agent.status(), agent, engine)
    finally:
        agent.close()
