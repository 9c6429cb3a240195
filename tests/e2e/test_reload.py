"""A policy is replaced under running containers: at a signal, at a change of its files, and never by a broken one."""

from __future__ import annotations

import os
import signal

import pytest

from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import Agent, sample
from tests.e2e.world import World
from tests.scenarios import POLICY

TABLE = "10-table.yaml"
GRANTED = POLICY.replace(
    b"read-only: [alpha-config]}\n    - {who: watched", b"read-only: [alpha-config, beta-data]}\n    - {who: watched"
)
BROKEN = POLICY.replace(b"read-only:", b"raed-only:").replace(b"mode: monitor", b"mode: observe")
FAILURES = "enforcer_policy_load_failures_total"


def failures(agent: Agent) -> float:
    """Policies that did not load."""
    return agent.metrics()[sample(FAILURES)]


def generation(agent: Agent) -> int:
    """Of the policy in force."""
    found: int = agent.status()["policy"]["generation"]
    return found


def await_policy(agent: Agent) -> None:
    """Return once what is in the policy's directory is in force."""
    wanted = read_policy(agent.policy).hash
    agent.await_that("the new policy", lambda: agent.status()["policy"]["hash"] == wanted)


def written(agent: Agent, text: bytes) -> None:
    """An editor that writes in place."""
    (agent.policy / TABLE).write_bytes(text)


def replaced(agent: Agent, text: bytes) -> None:
    """An editor, or a tool, that writes beside and renames: the old file never has half a policy."""
    scratch = agent.policy / ".new"
    scratch.write_bytes(text)
    os.replace(scratch, agent.policy / TABLE)


def added(agent: Agent, text: bytes) -> None:
    """Another file in the directory grants it, by rules of its own."""
    assert text == GRANTED
    more = b"version: 1\ndata:\n  rules:\n    - {who: alpha, read-only: [beta-data]}\n"
    (agent.policy / "30-grant.yaml").write_bytes(more)


@pytest.mark.parametrize("how", [written, replaced, added], ids=lambda how: how.__name__)
def test_changed_files_are_loaded(agent: Agent, world: World, how) -> None:
    """A change of the files is seen by itself: what it grants is allowed without a restart, as the next generation."""
    _, status = agent.stopped
    before, pid = generation(agent), agent.pid
    assert world.do("alpha", "read", "/beta-data/f").status == status
    how(agent, GRANTED)
    await_policy(agent)
    assert world.do("alpha", "read", "/beta-data/f").status == 0
    assert generation(agent) == before + 1
    assert agent.status()["pid"] == pid
    mark = agent.mark()
    assert world.do("stranger", "read", "/beta-data/f").status == status
    [event] = agent.await_events(mark, 1)
    assert (event.generation, event.policy) == (before + 1, read_policy(agent.policy).hash)
    labels = {"hash": event.policy, "generation": str(before + 1), "mode": "enforce"}
    assert agent.metrics()[sample("enforcer_policy_info", **labels)] == 1


def test_taken_grant_is_gone_at_once(agent: Agent, world: World) -> None:
    """A grant that is taken away no longer holds, for a container that has used it before."""
    verdict, status = agent.stopped
    assert world.do("alpha", "read", "/alpha-config/f").status == 0
    written(agent, POLICY.replace(b", read-only: [alpha-config]}\n    - {who: watched", b"}\n    - {who: watched"))
    await_policy(agent)
    mark = agent.mark()
    assert world.do("alpha", "read", "/alpha-config/f").status == status
    assert [e.verdict.name.lower() for e in agent.await_events(mark, 1)] == [verdict]


def test_mode_is_changed_without_a_restart(agent: Agent, world: World) -> None:
    """From enforce to monitor: what was refused is let through, and counted as observed."""
    written(agent, POLICY.replace(b"mode: enforce", b"mode: monitor", 1))
    await_policy(agent)
    mark = agent.mark()
    assert world.do("stranger", "read", "/beta-data/f").status == 0
    assert world.do("alpha", "tcp", "203.0.113.10", "80").status == 0
    assert {dict(labels)["action"] for _, labels in agent.rise(mark)} == {"observed"}
    assert [e.verdict.name for e in agent.await_events(mark, 2)] == ["OBSERVED", "OBSERVED"]


def test_sighup_loads_what_does_not_look_changed(agent: Agent, world: World) -> None:
    """A file of the same size and time as before is read again at SIGHUP; one that is the same is no new generation."""
    before, pid = generation(agent), agent.pid
    assert world.do("alpha", "tcp", "203.0.113.10", "444").status == 77
    agent.signal(signal.SIGHUP)
    times = (agent.policy / TABLE).stat()
    written(agent, POLICY.replace(b"[443/tcp, 53/udp]", b"[444/tcp, 53/udp]"))
    os.utime(agent.policy / TABLE, ns=(times.st_atime_ns, times.st_mtime_ns))
    agent.signal(signal.SIGHUP)
    await_policy(agent)
    assert world.do("alpha", "tcp", "203.0.113.10", "444").status == 0
    assert (generation(agent), agent.status()["pid"]) == (before + 1, pid)


@pytest.mark.parametrize("signalled", [False, True], ids=["by itself", "at SIGHUP"])
def test_broken_policy_changes_nothing(agent: Agent, world: World, signalled: bool) -> None:
    """The running policy stays; the failure is counted, each mistake is logged at its place, and a notice is on record."""
    _, status = agent.stopped
    before, number, mark, logged = failures(agent), generation(agent), agent.mark(), agent.log.stat().st_size
    written(agent, BROKEN)
    if signalled:
        agent.signal(signal.SIGHUP)
    agent.await_that("the failure to be counted", lambda: failures(agent) > before)
    assert generation(agent) == number
    assert world.do("stranger", "read", "/beta-data/f").status == status
    assert world.do("alpha", "read", "/alpha-data/f").status == 0
    said = agent.log.read_bytes()[logged:].decode()
    lines = BROKEN.decode().splitlines()
    mistakes = [n for n, line in enumerate(lines, 1) if "raed-only" in line or "observe" in line]
    assert mistakes
    for line in mistakes:
        assert f"{agent.policy / TABLE}:{line}:" in said
    assert "Traceback" not in said
    agent.await_that("the notice", lambda: bool(agent.notices("policy-refused", mark.sequence)))
    notice = agent.notices("policy-refused", mark.sequence)[0]
    assert notice.outcome == "failure"
    assert str(agent.policy / TABLE) in notice.message


def test_policy_that_vanishes_changes_nothing(agent: Agent, world: World) -> None:
    """A policy that is gone is a mistake like another; when it is back as it was, that is no new generation."""
    _, status = agent.stopped
    before, number, aside = failures(agent), generation(agent), agent.directory / "aside"
    mark = agent.mark()
    agent.policy.rename(aside)
    try:
        agent.await_that("the failure to be counted", lambda: failures(agent) > before)
        assert world.do("stranger", "read", "/beta-data/f").status == status
    finally:
        aside.rename(agent.policy)
    agent.signal(signal.SIGHUP)
    assert world.do("stranger", "read", "/beta-data/f").status == status
    assert [e.generation for e in agent.await_events(mark, 2)] == [number, number]


def test_refused_start_by_a_broken_policy_leaves_what_is_in_force(agent: Agent, world: World) -> None:
    """An agent that is restarted with a broken policy does not start; the pinned programs hold the last good one."""
    _, status = agent.stopped
    agent.stop()
    written(agent, BROKEN)
    done = agent.ask("run", *agent.options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 4)
    assert world.do("stranger", "read", "/beta-data/f").status == status
    assert world.do("alpha", "read", "/alpha-data/f").status == 0
