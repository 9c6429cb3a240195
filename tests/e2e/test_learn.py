"""From a wide policy to a strict one: record what containers do, learn from it, enforce that, and see who minds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from enforcer.core.event import Event, FileAttempt, NetAttempt
from enforcer.core.model import Access, Verdict
from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.world import NETWORK, World

WIDE = """
version: 1
mode: monitor
containers: {everybody: {name: "*"}}
data:
  protected: [{volume: "*"}]
  rules: [{who: everybody, read-write: ["*"]}]
"""
STRICT = """
version: 1
mode: enforce
data: {protected: [{volume: "app-*"}]}
"""
NAMES = ("app-1", "app-2", "app-3")
SERVER = ("nc", "-ll", "-p", "8080", "-e", "cat")
WORK = (
    "set -e; for n in 1 2 3 4 5 6 7; do cat /config/f; done; echo x > /own/x; echo hello | nc -w 1 server 8080 || true"
)
READS = 7


@dataclass
class Site:
    """Three containers that do the same work, each on data of its own, and a server that they call."""

    agent: Agent
    containers: Containers
    directory: Path
    apps: list[Container] = field(default_factory=list)

    def put(self, text: str, *, mode: str = "") -> None:
        """Have just this policy in the agent's directory."""
        for file in self.agent.policy.iterdir():
            file.unlink()
        (self.agent.policy / "10.yaml").write_text(text)

    def work(self) -> list[int]:
        """What is lawful, in each of the containers; the exit statuses."""
        return [self.containers.execute(app, "sh", "-c", WORK).status for app in self.apps]

    def told(self, *words: str, status: int = 0) -> str:
        """What a command prints."""
        done = self.agent.ask(*words)
        assert (done.returncode, done.stderr) == (status, "")
        return done.stdout

    def accesses(self, after: int) -> list[Event]:
        """What is recorded as allowed."""
        return [e for e in self.agent.events(after) if e.verdict is Verdict.ALLOWED]


@pytest.fixture
def site(agent: Agent, world: World, containers: Containers, tmp_path: Path) -> Iterator[Site]:
    """The agent has stopped; it ends without what the test has told it."""
    agent.stop()
    made = Site(agent, containers, tmp_path)
    containers.start(*SERVER, name="server", network=NETWORK)
    for name in NAMES:
        volumes = [f"{name}-data:/own", "app-config:/config", *(f"{other}-data:/all/{other}" for other in NAMES)]
        app = containers.start(name=name, network=NETWORK, volumes=volumes)
        containers.execute(app, "sh", "-c", "echo x > /config/f; echo x > /own/x")
        made.apps.append(app)
    yield made
    if agent.running:
        agent.stop()
    for volume in (*(f"{name}-data" for name in NAMES), "app-config"):
        containers.remove_all()
        world.client.volumes.get(volume).remove(force=True)


def reads_of(events: list[Event], name: str) -> int:
    """How often a container has read the configuration."""
    found = [e for e in events if isinstance(e.attempt, FileAttempt) and e.attempt.object.name == "app-config"]
    return sum(e.count for e in found if e.who.name == name and e.asked is Access.READ)


def test_what_was_recorded_can_be_learnt_and_enforced(site: Site) -> None:
    """The lawful work goes on under the learnt policy without a violation; what nobody did is refused."""
    agent, before = site.agent, max((i.sequence for i in site.agent.records()), default=0)
    site.put(WIDE)
    agent.start("--record", "accesses")
    assert agent.status()["recording"] == {"accesses": True, "lost": 0}
    since = agent.records()[-1].time_ns
    assert site.work() == [0, 0, 0]
    agent.kill()  # what the kernel has noted, the next one finds
    assert site.work() == [0, 0, 0]
    agent.start("--record", "accesses")
    agent.stop()
    accesses = site.accesses(before)
    assert [reads_of(accesses, name) for name in NAMES] == [2 * READS] * 3
    calls = [e for e in accesses if isinstance(e.attempt, NetAttempt) and e.attempt.port == 8080]
    assert {(e.who.name, e.attempt.peer, e.count) for e in calls} <= {
        (name, "server", n) for name in NAMES for n in (1, 2)
    }
    assert sum(e.count for e in calls) == 6
    assert all(e.first_ns <= e.time_ns and e.first_ns >= since for e in calls)

    chosen = [str(agent.journal), *(w for n in ("app-*", "server") for w in ("--container", n))]
    learnt = site.told("learn", *chosen, "--mode", "enforce")
    (site.directory / "learnt.yaml").write_text(learnt)
    site.told("check", str(site.directory / "learnt.yaml"))
    assert 'read-write: ["{name}-data"], read-only: ["app-config"]' in learnt
    assert f"# volume app-config: read {6 * READS} times" in learnt
    assert '{container: "server", ports: [8080/tcp]}' in learnt

    held_to(site, learnt)
    changes_of_the_past(site, chosen)


def held_to(site: Site, learnt: str) -> None:
    """Under the learnt policy the lawful work is no violation, and what nobody did is refused."""
    agent = site.agent
    site.put(learnt)
    agent.start()
    mark = agent.mark()
    assert site.work() == [0, 0, 0]
    assert agent.rise(mark) == {}
    assert site.containers.execute(site.apps[0], "cat", "/all/app-2/x").status != 0
    assert site.containers.execute(site.apps[0], "nc", "-w", "1", "server", "8081").status != 0
    refused = agent.await_events(mark, 2)
    assert {e.who.name for e in refused} == {"app-1"}
    assert site.accesses(mark.sequence) == []
    assert agent.status()["recording"]["accesses"] is False


def changes_of_the_past(site: Site, chosen: list[str]) -> None:
    """A stricter policy is tried on what was recorded, and compared with the learnt one."""
    (site.directory / "strict.yaml").write_text(STRICT)
    strict, learnt = str(site.directory / "strict.yaml"), str(site.directory / "learnt.yaml")
    found: dict[str, Any] = json.loads(site.told("replay", *chosen, "--policy", strict, "--format", "json", status=1))
    reads = [c for c in found["changes"] if (c["container"], c["target"]) == ("app-1", "volume app-config")]
    assert [(c["was"], c["now"] in ("denied", "killed"), c["attempts"], c["access"]) for c in reads] == [
        ("allowed", True, 2 * READS, ["read"])
    ]
    words = ("replay", *chosen, "--policy", strict, "--against", learnt, "--format", "json")
    against: dict[str, Any] = json.loads(site.told(*words, status=1))
    assert against["against"]["hash"] == read_policy(Path(learnt)).hash
    data = [c for c in against["changes"] if c["target"].startswith("volume")]
    assert {c["was"] for c in data} == {"allowed"}
    assert {c["now"] for c in data} <= {"denied", "killed"}
    assert "0 would go another way" in site.told("replay", *chosen, "--policy", learnt, "--against", learnt)
