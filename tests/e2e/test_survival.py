"""The agent ends, by force or at a word; what it has put in force does not."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from enforcer.core.event import NetAttempt
from enforcer.core.model import Verdict
from enforcer.settings import WATCH_S
from tests.e2e.agent import DATA, EXTERNAL, Agent, sample
from tests.e2e.world import NETWORK, World

FILE = "/beta-data/f"
OUTSIDE = ("203.0.113.10", "80")


def offend(agent: Agent, world: World, stopped: tuple[str, int]) -> None:
    """A stranger reads what is protected, twice, and alpha connects where it may not."""
    for _ in range(2):
        assert world.do("stranger", "read", FILE).status == stopped[1]
    assert world.do("alpha", "tcp", *OUTSIDE).status == 77


def offended(verdict: str) -> dict:
    """What is counted of it."""
    return {
        sample(DATA, container="stranger", object="beta-data", access="read", action=verdict): 2,
        sample(EXTERNAL, container="alpha", network=NETWORK, action="denied"): 1,
    }


def links(agent: Agent) -> list[str]:
    """The pinned links."""
    return sorted(path.name for path in agent.pins.glob("*/links/*"))


def test_enforcement_and_counting_outlive_a_killed_agent(agent: Agent, world: World) -> None:
    """After kill -9 what is forbidden stays forbidden and is counted; the next agent adopts it all and counts nothing twice."""
    stopped, before, attached = agent.stopped, agent.mark(), links(agent)
    generation = agent.status()["policy"]["generation"]
    agent.kill()
    assert links(agent) == attached
    offend(agent, world, stopped)
    assert world.do("alpha", "read", "/alpha-data/f").status == 0
    agent.start()
    assert agent.status()["adopted"] is True
    assert agent.status()["policy"]["generation"] > generation
    assert links(agent) == attached
    assert agent.rise(before) == offended(stopped[0])
    events = agent.await_events(before, 3)
    assert [e.who.name for e in events] == ["stranger", "stranger", "alpha"]
    assert {e.generation for e in events} == {generation}
    assert isinstance(events[2].attempt, NetAttempt)
    assert (events[2].attempt.address, events[2].attempt.port) == ("203.0.113.10", 80)


def test_journal_is_numbered_on_across_agents(agent: Agent, world: World) -> None:
    """One unbroken sequence, whoever wrote it; and once the ring is empty, what was counted is what is kept."""

    def settled() -> bool:
        counts = agent.status()["counts"]
        return counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())

    def elsewhere() -> int:
        """Violations in the journal that the maps know nothing of: from before somebody unloaded them."""
        violations = (e.count for e in agent.events() if e.verdict is not Verdict.ALLOWED)
        return sum(violations) - int(agent.status()["counts"]["recorded"])

    agent.await_that("every earlier violation to be accounted for", settled)
    before, known = agent.mark(), elsewhere()
    world.do("stranger", "read", FILE)
    agent.await_events(before, 1)
    agent.kill()
    agent.start()
    world.do("stranger", "read", FILE)
    agent.await_events(before, 2)
    assert [r.sequence for r in agent.records()] == list(range(1, len(agent.records()) + 1))
    assert [e.sequence > before.sequence for e in agent.events(before.sequence)] == [True, True]
    agent.await_that("every violation to be accounted for", settled)
    assert elsewhere() == known


def test_killed_while_violations_go_on(agent: Agent, world: World) -> None:
    """Violations without a pause while the agent is killed and started again: each is counted once and recorded once."""
    before = agent.mark()
    container = world.client.containers.get("watched")
    loop = "n=0; while [ ! -e /srv/enough ]; do : < /alpha-data/f; n=$((n+1)); usleep 2000; done; echo $n > /srv/rounds"
    execution = world.client.api.exec_create(container.id, ["sh", "-c", loop])["Id"]
    world.client.api.exec_start(execution, detach=True)
    agent.await_events(before, 1)
    agent.kill()
    agent.start()
    agent.await_that(
        "a record of the new agent's", lambda: bool(agent.events(agent.notices("policy-loaded")[-1].sequence))
    )
    assert world.run(container, "touch", "/srv/enough").status == 0
    agent.await_that("the loop to end", lambda: not world.client.api.exec_inspect(execution)["Running"])
    rounds = int(world.run(container, "cat", "/srv/rounds").output)
    labels = {"container": "watched", "object": "alpha-data", "access": "read", "action": "observed"}
    assert agent.rise(before) == {sample(DATA, **labels): rounds}
    agent.await_that("every record", lambda: sum(e.count for e in agent.events(before.sequence)) >= rounds)
    assert sum(e.count for e in agent.events(before.sequence)) == rounds
    world.run(container, "rm", "/srv/enough", "/srv/rounds")


def test_sigterm_ends_it_cleanly_and_unload_undoes_it(agent: Agent, world: World) -> None:
    """SIGTERM: status 0 and a last word in the journal; the programs stay until `unload`, after which nothing is enforced."""
    stopped, attached = agent.stopped, links(agent)
    assert agent.stop() == 0
    assert agent.records()[-1] == agent.notices("stopped")[-1]
    assert not (agent.directory / "run" / "control.sock").exists()
    assert links(agent) == attached
    assert world.do("stranger", "read", FILE).status == stopped[1]
    agent.unload()
    assert world.do("stranger", "read", FILE).status == 0
    agent.start()
    assert agent.status()["adopted"] is False
    assert world.do("stranger", "read", FILE).status == stopped[1]


def test_state_that_cannot_be_read_is_no_end(agent: Agent, world: World) -> None:
    """What the agent keeps is damaged while it is away: it says so, begins anew, and names and rules are right again."""
    stopped, logged = agent.stopped, agent.log.stat().st_size
    agent.kill()
    (agent.directory / "state" / "state.json").write_text("[]")
    agent.start()
    assert "state.json cannot be read" in agent.log.read_bytes()[logged:].decode()
    before = agent.mark()
    offend(agent, world, stopped)
    assert agent.rise(before) == offended(stopped[0])
    assert [e.who.name for e in agent.await_events(before, 3)] == ["stranger", "stranger", "alpha"]


def test_pause_is_no_end(agent: Agent, world: World) -> None:
    """An agent that was stopped for longer than it ever waits (a debugger, a frozen cgroup, a suspended host) goes on."""
    pid, stopped = agent.pid, agent.stopped
    agent.pause()
    end = time.monotonic() + 2 * WATCH_S
    agent.await_that("the pause to be long enough", lambda: time.monotonic() > end)
    agent.signal(signal.SIGCONT)
    before, generation = agent.mark(), agent.status()["policy"]["generation"]
    (agent.policy / "30-more.yaml").write_text("version: 1\n")
    agent.await_that("it to load a policy", lambda: agent.status()["policy"]["generation"] == generation + 1)
    offend(agent, world, stopped)
    assert [e.generation for e in agent.await_events(before, 3)] == [generation + 1] * 3
    assert (agent.running, agent.status()["pid"]) == (True, pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_end_it(agent: Agent, number: signal.Signals) -> None:
    """An operator's Ctrl-C ends it as SIGTERM does."""
    agent.signal(number)
    assert agent.wait() == 0


def test_unload_is_refused_while_an_agent_runs(agent: Agent) -> None:
    """Nobody takes the programs away under a running agent."""
    before = links(agent)
    done = agent.ask("unload", "--pins", str(agent.pins))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"another agent holds {agent.pins}" in done.stderr
    assert links(agent) == before


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        ("journal", "another agent writes to the journal"),
        ("pins", "another agent holds"),
        ("run", "another agent holds"),
        ("state", "another agent holds"),
    ],
)
def test_second_agent_on_the_same_place_is_refused(agent: Agent, tmp_path: Path, shared: str, said: str) -> None:
    """Two agents in one place would undo each other: the second says so in one line and ends, the first goes on."""
    before, generation = links(agent), agent.status()["policy"]["generation"]
    places = {name: str(tmp_path / name) for name in ("journal", "state", "run")}
    places |= {"pins": f"{agent.pins}-second", "policy": str(agent.policy)}
    places[shared] = dict(zip(agent.options[::2], agent.options[1::2], strict=True))[f"--{shared}"]
    words = [word for name, place in places.items() for word in (f"--{name}", place)]
    words += ["--listen", f"127.0.0.1:{agent.port + 1}", "--cgroup", f"/{agent.engine.name}"]
    done = agent.ask("run", *words, timeout=20)
    assert done.returncode == 3
    [line] = done.stderr.splitlines()
    assert line.startswith("enforcer: ")
    assert said in line
    assert f"--{shared}" in line
    assert not os.path.exists(f"{agent.pins}-second")
    assert (agent.directory / "run" / "canary").is_dir()
    assert agent.running
    assert links(agent) == before
    assert agent.status()["policy"]["generation"] == generation
