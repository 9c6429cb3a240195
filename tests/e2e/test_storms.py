"""Storms in real containers: what another container did meanwhile is in the journal, whatever became of agent and disk."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.engine import Engine
from enforcer import abi
from enforcer.core.event import Event, FileAttempt
from enforcer.core.model import Mechanism
from enforcer.edges.cgroup import Cgroups
from tests.e2e.agent import Agent, put_policy
from tests.e2e.world import World
from tests.kernel.storming import build, window

FILE = "/beta-data/f"
BUDGET = 20
SLACK = 8
"""Records beyond the budget, by programs that ask at the same time."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that storms."""
    return build(tmp_path_factory.mktemp("storm"))


@pytest.fixture
def alone(engine: Engine, world: World, tmp_path: Path) -> Iterator[Agent]:
    """An agent of this test: what a storm does to its books is no other test's affair."""
    made = Agent(engine, tmp_path / "storm", port=9471)
    put_policy(made)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def storming(
    world: World, program: Path, who: str, count: int, deed: str, *path: str
) -> Iterator[subprocess.Popen[str]]:
    """A storm in a container's cgroup, under way; it is awaited at the end."""
    container = world.client.containers.get(who)
    procs = Cgroups().root / world.engine.name / str(container.id) / "cgroup.procs"
    words = [str(program), str(procs), str(count), deed, *path]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        yield child
        assert child.wait(120) == 0


def place(world: World, volume: str) -> str:
    """Where the host has a volume."""
    return str(world.client.volumes.get(volume).attrs["Mountpoint"])


def book(agent: Agent, who: str) -> dict[str, Any]:
    """What ``status`` says of a container's violations."""
    nothing = {"counted": 0, "recorded": 0, "suppressed": 0, "waiting": 0, "lost": {}}
    return dict(agent.status()["counts"]["containers"].get(who, nothing))


def await_balance(agent: Agent, who: str, counted: int) -> dict[str, Any]:
    """Until nothing waits any more; then everything is accounted for, and the journal holds what it is said to hold."""
    agent.await_that("nothing to wait", lambda: not book(agent, who)["waiting"])
    found = book(agent, who)
    assert found["counted"] == counted
    assert found["counted"] == found["recorded"] + found["suppressed"] + sum(found["lost"].values()), found
    assert found["recorded"] == sum(e.count for e in told(agent, who))
    return found


def told(agent: Agent, who: str) -> list[Event]:
    """What the journal holds of a container."""
    return [event for event in agent.events() if event.who.name == who]


def assert_seen(agent: Agent) -> None:
    """The stranger's one violation is in the journal with everything."""
    agent.await_that("the stranger's violation to be told", lambda: bool(told(agent, "stranger")))
    [event] = told(agent, "stranger")
    assert isinstance(event.attempt, FileAttempt)
    assert (event.attempt.object.name, event.attempt.path, event.count) == ("beta-data", "f", 1)
    assert event.process.pid
    assert event.who.image


def test_while_it_reads(alone: Agent, world: World, program: Path) -> None:
    """Two storms at once; the log has no more of them than the budget, and the stranger's violation."""
    alone.start("--records-per-second", str(BUDGET))
    begun = window()
    with (
        storming(world, program, "watched", 50_000, "same", f"{place(world, 'alpha-data')}/f"),
        storming(world, program, "alpha", 100_000, "destinations"),
    ):
        world.do("stranger", "read", FILE)
    windows = window() - begun + 1
    assert_seen(alone)
    for who, counted in (("watched", 50_000), ("alpha", 100_000)):
        # a file that was open when the agent looked for the first time is told by the sweep, too
        found = await_balance(alone, who, counted + sum(e.mechanism is Mechanism.SWEEP for e in told(alone, who)))
        assert len([e for e in told(alone, who) if not e.first_ns]) <= windows * (BUDGET * 2**30 // 10**9 + SLACK)
        assert bool(found["suppressed"]) == (who == "alpha")
    assert alone.ask("selftest", "--run", str(alone.directory / "run")).returncode == 0


def test_while_it_stands_still(alone: Agent, world: World, program: Path) -> None:
    """Stopped before the storm, and continued long after it: what was there is told, and the hog had its share only."""
    alone.start("--records-per-second", "0")
    alone.pause()
    with storming(world, program, "alpha", 100_000, "destinations"):
        pass
    world.do("stranger", "read", FILE)
    alone.signal(signal.SIGCONT)
    assert_seen(alone)
    found = await_balance(alone, "alpha", 100_000)
    assert 0 < found["recorded"] <= abi.EVENTS_PAGES * 4096 // 648 // 4


def test_while_it_is_killed(alone: Agent, world: World, program: Path) -> None:
    """kill -9 in the middle, twice; the next one goes on where it was, and tells nothing twice."""
    alone.start("--records-per-second", "0")
    with storming(world, program, "alpha", 300_000, "destinations"):
        alone.kill()
        alone.start("--records-per-second", "0")
        world.do("stranger", "read", FILE)
        alone.kill()
    alone.start("--records-per-second", "0")
    assert_seen(alone)
    await_balance(alone, "alpha", 300_000)
    told_of = [e.attempt for e in told(alone, "alpha")]
    assert len(told_of) == len(set(told_of))


def test_while_the_disk_is_full(alone: Agent, world: World, program: Path) -> None:
    """The log ends, the losses are exact; with room again it goes on by itself, and says what is missing."""
    alone.journal.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", alone.journal], check=True)
    try:
        alone.start("--records-per-second", "0")
        with storming(world, program, "alpha", 20_000, "destinations"):
            pass
        alone.await_that("the disk to be full", lambda: bool(book(alone, "alpha")["lost"]["journal"]))
        found = await_balance(alone, "alpha", 20_000)
        assert found["lost"]["journal"]
        subprocess.run(["mount", "-o", "remount,size=64m", alone.journal], check=True)
        world.do("stranger", "read", FILE)
        assert_seen(alone)
        # a small batch may have had room between two that had not
        missing = [int(notice.fields["violations"]) for notice in alone.notices("journal-resumed")]
        assert sum(missing) == found["lost"]["journal"]
        alone.stop()
    finally:
        subprocess.run(["umount", "-l", alone.journal], check=False)
