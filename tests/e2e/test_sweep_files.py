"""Files that containers had open before the policy, or the agent, in real containers: found, recorded, and said not to be held."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker.models.containers import Container

from enforcer.core.event import Event, FileAttempt
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.replay import replay
from enforcer.edges.policyfile import load
from tests.e2e.agent import DATA, Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.test_reload import await_policy
from tests.e2e.world import BORROWED, World

HOLDER = Path(__file__).parents[1] / "holder.py"
PYTHON = ("/usr/bin/python3", "-I", "-S", "/holder.py", "-")
LAYERS = b"version: 1\ndata:\n  protected: [{layer: '*'}]\n"
GRANT = b"""
version: 1
containers: {reader: {name: reader}}
data:
  rules:
    - {who: reader, read-only: [beta-data]}
"""
RDWR = Access.READ | Access.WRITE


def holder(containers: Containers, name: str, volume: str, *held: str) -> Container:
    """A container with a volume at /v, whose program has all this open, and says so."""
    places = [f"{volume}:/v", *BORROWED, f"{HOLDER}:/holder.py:ro"]
    return containers.start(*PYTHON, *held, name=name, volumes=places, stdin_open=True)


def there(agent: Agent, container: Container) -> None:
    """Return once it has opened everything."""
    agent.await_that("the files to be open", lambda: b"there" in container.logs())


def swept(agent: Agent, after: int) -> list[Event]:
    """What the sweep has reported."""
    return [event for event in agent.events(after) if event.mechanism is Mechanism.SWEEP]


def told(events: list[Event]) -> list[tuple[str, Access]]:
    """Path and what was asked for, in order."""
    return sorted((e.attempt.path, e.asked) for e in events if isinstance(e.attempt, FileAttempt))


def unheld(agent: Agent) -> list[str]:
    """What ``status`` says about open files."""
    return [
        line["what"] for line in agent.status()["degraded"] if "open" in line["what"] and "container" in line["what"]
    ]


def test_files_older_than_the_agent_are_told(agent: Agent, world: World, containers: Containers) -> None:
    """Each once, with whose it is and where it lies, in the journal, the counters and ``status``; lawful ones are not told.

    With every layer protected too: a program's own files, those beneath its overlay among them, are its own.
    """
    (agent.policy / "30-layers.yaml").write_bytes(LAYERS)
    mark = agent.mark()
    agent.stop()
    agent.unload()
    everything = [f"{how}=/v/f" for how in ("read", "write", "mapped", "path")]
    everything += ["directory=/v", "deleted=/v/gone"]
    intruder = holder(containers, "intruder", "beta-data", *everything)
    lawful = holder(
        containers, "worker-1", "worker-1-data", *everything, "many=/tmp", "code=/bin/busybox", "nameless=/tmp"
    )
    for container in (intruder, lawful):
        there(agent, container)
    agent.start()
    expected = sorted([("", Access.READ), ("f", Access.READ), ("f", Access.WRITE), ("f", RDWR), ("gone", RDWR)])
    agent.await_that("the report", lambda: len(swept(agent, mark.sequence)) >= len(expected))
    found = swept(agent, mark.sequence)
    assert told(found) == expected
    for event in found:
        assert isinstance(event.attempt, FileAttempt)
        assert event.attempt.object == ObjectId(Kind.VOLUME, "beta-data")
        assert (event.who.id, event.who.name, event.process.name) == (intruder.id, "intruder", "python3")
        assert (event.verdict, event.mode, event.hook) == (Verdict.OBSERVED, Mode.ENFORCE, Hook.SWEEP)
    assert not any(judged.changed for judged in replay(load(agent.policy), found))
    said = "container intruder still has 5 files open that the policy does not allow: restart it"
    agent.await_that("what is not held to be said", lambda: unheld(agent) == [said])
    one = sample(DATA, container="intruder", object="beta-data", access="read", action="observed")
    assert agent.violations()[one] == 2
    assert not [s for s in agent.violations() if dict(s[1])["container"] == "worker-1"]
    counts = agent.status()["counts"]
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())
    intruder.remove(force=True)
    agent.await_that("what is not held to be forgotten", lambda: not unheld(agent))


def test_a_grant_that_is_taken_away_leaves_what_is_open(agent: Agent, world: World, containers: Containers) -> None:
    """Opened lawfully; told once when the policy changes, and no more while nothing does; given back, it is no matter any more."""
    grant = agent.policy / "30-reader.yaml"
    grant.write_bytes(GRANT)
    await_policy(agent)
    reader = holder(containers, "reader", "beta-data", "read=/v/f")
    there(agent, reader)
    mark = agent.mark()
    grant.write_bytes(GRANT.replace(b"[beta-data]", b"[alpha-config]"))
    await_policy(agent)
    agent.await_that("the report", lambda: bool(swept(agent, mark.sequence)))
    said = "container reader still has 1 files open that the policy does not allow: restart it"
    agent.await_that("what is not held to be said", lambda: unheld(agent) == [said])
    other = holder(containers, "worker-2", "worker-2-data", "read=/v/f")
    there(agent, other)
    agent.await_that("another container to be known", lambda: agent.runs("worker-2"))
    assert told(swept(agent, mark.sequence)) == [("f", Access.READ)]
    grant.write_bytes(GRANT)
    await_policy(agent)
    agent.await_that("what is held again", lambda: not unheld(agent))
    assert len(swept(agent, mark.sequence)) == 1


@pytest.mark.parametrize("how", ["read", "mapped"])
def test_an_agent_that_adopts_tells_again(agent: Agent, world: World, containers: Containers, how: str) -> None:
    """What was opened while no agent ran is judged when the next one adopts the pins, as it is by each load of the policy."""
    (agent.policy / "30-reader.yaml").write_bytes(GRANT.replace(b"read-only", b"read-write"))
    await_policy(agent)
    reader = holder(containers, "reader", "beta-data", f"{how}=/v/f")
    there(agent, reader)
    mark = agent.mark()
    agent.kill()
    (agent.policy / "30-reader.yaml").unlink()
    agent.start()
    assert agent.status()["adopted"] is True
    agent.await_that("the report", lambda: bool(swept(agent, mark.sequence)))
    assert told(swept(agent, mark.sequence)) == [("f", RDWR if how == "mapped" else Access.READ)]
