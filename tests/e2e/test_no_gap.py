"""Attack loops at full speed in a container while the agent is killed, restarted, reloaded and upgraded: not one try succeeds.

Where opens are answered with death, the loop has a child of its own for each open: it shows that every open was answered, not
that nothing was read before (README, trust model). The connects are refused before the fact under every mechanism.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from docker.models.containers import Container

from deploy.demo.pins import program_exists, programs_of
from enforcer.edges.bpf.source import probes_directory
from tests import hammering
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.test_survival import offend, offended
from tests.e2e.world import NETWORK, World

NAME = "worker-9"
TARGETS = {"open": "open:/beta-data/f", "connect": "connect:203.0.113.10:9"}
RELOADS = 5


@dataclass
class Hammers:
    """Two loops in two containers of one name's rules: one deed each, so that both go at full speed."""

    containers: dict[str, Container]
    phases: list[str] = field(default_factory=lambda: ["enforced"])

    def next(self, phase: str) -> None:
        """From here on the tries belong to another phase."""
        for container in self.containers.values():
            os.kill(container.attrs["State"]["Pid"], signal.SIGRTMIN)
        self.phases.append(phase)

    def end(self) -> dict[str, hammering.Log]:
        """Stop, and the logs by deed."""
        for container in self.containers.values():
            container.stop()
        return {deed: hammering.Log.read(c.logs().decode()) for deed, c in self.containers.items()}


@pytest.fixture
def hammers(tmp_path: Path, agent: Agent, containers: Containers) -> Hammers:
    """The loops, running, in containers that may do neither."""
    program = hammering.build(tmp_path)
    forked = ["-f"] if agent.stopped[0] == "killed" else []
    made = {}
    for deed, target in TARGETS.items():
        made[deed] = containers.start(
            *("/hammer", *(forked if deed == "open" else ()), target),
            name=f"{NAME}-{deed}",
            init=False,
            network=NETWORK,
            volumes=[f"{program}:/hammer:ro", "beta-data:/beta-data"],
        )
    for container in made.values():
        agent.await_that("the loop to run", lambda: hammering.READY in container.logs().decode())  # noqa: B023
    return Hammers(made)


@pytest.fixture
def other_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Choose what the next agent is made from: the checkout, or a copy of it whose probes have one comment more."""
    copy, checkout = tmp_path / "copy", probes_directory().parent
    for part in ("enforcer", "probes"):
        shutil.copytree(checkout / part, copy / part)
    with (copy / "probes" / "main.c").open("a") as main:
        main.write("/* another build */\n")
    path = os.environ.get("PYTHONPATH", "")

    def choose(other: bool) -> None:
        monkeypatch.setenv("PYTHONPATH", str(copy) if other else path)

    return choose


def reload(agent: Agent) -> None:
    """Another policy that forbids the same, and the table's again."""
    more = agent.policy / "30-more.yaml"
    for number in range(RELOADS):
        generation = agent.status()["policy"]["generation"]
        if more.exists():
            more.unlink()
        else:
            more.write_text(f"version: 1\ncontainers:\n  more-{number}: {{name: more}}\n")
        agent.await_that("the next generation", lambda: agent.status()["policy"]["generation"] > generation)  # noqa: B023


def builds(agent: Agent) -> list[str]:
    """What is pinned."""
    return sorted(path.name for path in agent.pins.iterdir())


def test_not_one_try_succeeds(
    agent: Agent, world: World, hammers: Hammers, other_build: Callable[[bool], None]
) -> None:
    """Killed, adopted, reloaded, upgraded, gone back, stopped, started: refused throughout; unloaded, the same loops succeed."""
    verdict, refused = agent.stopped[0], {"denied": "EPERM", "killed": "killed"}
    first, logged = builds(agent), agent.log.stat().st_size
    programs = programs_of(agent.pins)
    hammers.next("killed and started")
    agent.kill()
    agent.start()
    assert (agent.status()["adopted"], builds(agent), programs_of(agent.pins)) == (True, first, programs)
    hammers.next("reloaded")
    reload(agent)
    hammers.next("upgraded")
    agent.kill()
    other_build(True)
    agent.start()
    assert agent.status()["adopted"] is False
    assert len(builds(agent)) == 1
    assert builds(agent) != first
    hammers.next("gone back")
    agent.stop()
    other_build(False)
    agent.start()
    assert builds(agent) == first
    hammers.next("stopped")
    agent.stop()
    programs = programs_of(agent.pins)
    hammers.next("unloading")
    agent.unload()
    shutil.rmtree(agent.journal)  # its counts are gone, and no later test wants to read two hundred thousand records
    agent.await_that("the programs to be gone", lambda: not any(map(program_exists, programs)))
    hammers.next("unloaded")
    world.do("stranger", "read", "/beta-data/f")
    logs = hammers.end()
    for deed, answer in {"open": refused[verdict], "connect": "EPERM"}.items():
        assert logs[deed].gaps(deed, hammers.phases, answer) == {}
        assert set(logs[deed].deeds[deed][-1].outcomes) == {hammering.DONE}
    said = agent.log.read_bytes()[logged:].decode()
    assert said.count("is replaced without a gap") == 2


def test_counts_and_records_outlive_an_upgrade(agent: Agent, world: World, other_build: Callable[[bool], None]) -> None:
    """What happened while no agent lived is counted once and recorded once by an agent of another build, and by the next one."""
    stopped, before = agent.stopped, agent.mark()
    agent.kill()
    offend(agent, world, stopped)
    other_build(True)
    agent.start()
    assert agent.status()["adopted"] is False
    assert agent.rise(before) == offended(stopped[0])
    assert [e.who.name for e in agent.await_events(before, 3)] == ["stranger", "stranger", "alpha"]
    agent.stop()
    other_build(False)
    agent.start()
    assert agent.rise(before) == offended(stopped[0])
    counts = agent.status()["counts"]
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())
    assert len(agent.events(before.sequence)) == 3
