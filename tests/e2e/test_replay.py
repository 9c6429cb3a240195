"""The running policy gives every recorded verdict again: real containers, every kind of attempt that can be made here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from enforcer.core.event import Event, NetAttempt
from enforcer.core.model import Hook, Mechanism, Verdict
from enforcer.core.timestamp import to_rfc3339
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.test_commands import run_option
from tests.e2e.test_network import OUTSIDE_NAME
from tests.e2e.test_sweep import GRANT, call, put, speaks, swept
from tests.e2e.world import INTERNAL, NETWORK, World


def replayed(agent: Agent, since: int, status: int = 0) -> dict[str, Any]:
    """What `replay` says of everything since then under the policy that is in force."""
    words = ("replay", str(agent.journal), "--policy", str(agent.policy), "--since", to_rfc3339(since))
    done = agent.ask(*words, "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, found["changes"]) == (status, [])
    return found


def attempts(agent: Agent, world: World, containers: Containers) -> None:
    """Files, names of files, mounts, sockets, connections, datagrams, packets, names, and who is cut off."""
    for who in ("alpha", "beta", "stranger", "watched"):
        for deed in ("read", "write", "update", "list"):
            world.do(who, deed, "/beta-data/f" if who != "beta" else "/alpha-config/f")
        for deed in ("tcp", "udp", "sendto"):
            world.do(who, deed, "203.0.113.200", "443")
            world.do(who, deed, "2001:db8:f::1", "22")
        for kind in (("raw", "1"), ("raw", "255"), ("packet", "3")):
            world.do(who, "make-socket", *kind)
        world.do(who, "ping", "203.0.113.9")
    reader = containers.start(name="reader", volumes=["alpha-config:/config:ro"])
    containers.execute(reader, "sh", "-c", "echo x > /config/f")
    inmate = containers.start(name="inmate", network=INTERNAL)
    agent.await_that("the agent to know", lambda: INTERNAL in agent.networks_of("inmate"))
    containers.execute(inmate, "nslookup", "-type=a", OUTSIDE_NAME, "127.0.0.11")
    containers.execute(inmate, "nc", "-w", "1", "203.0.113.9", "80")
    guest = containers.start(name="cut-off", network=NETWORK)
    agent.await_that("the agent to know", lambda: agent.runs("cut-off"))
    assert agent.ask("quarantine", "cut-off", "--why", "a test", *run_option(agent)).returncode == 0
    containers.execute(guest, "nc", "-w", "1", "203.0.113.9", "80")
    assert agent.ask("release", "cut-off", "--why", "a test", *run_option(agent)).returncode == 0


@pytest.mark.timeout(300)
def test_the_running_policy_gives_every_verdict_again(agent: Agent, world: World, containers: Containers) -> None:
    """Nothing changes: by whichever hook and mechanism it was stopped, watched or found."""
    put(agent, GRANT)
    caller, _ = call(containers, network=NETWORK)
    agent.await_that("the caller to be known", lambda: agent.runs("caller"))
    speaks(agent, caller)
    mark = agent.mark()
    since = agent.records()[-1].time_ns + 1
    put(agent)
    agent.await_that("the sweep", lambda: bool(swept(agent, mark.sequence)))
    attempts(agent, world, containers)
    events = wait_for_all(agent, mark.sequence)
    hooks, mechanisms = {e.hook for e in events}, {e.mechanism for e in events}
    assert hooks >= {
        Hook.OPEN,
        Hook.CONNECT4,
        Hook.CONNECT6,
        Hook.SENDMSG4,
        Hook.SENDMSG6,
        Hook.SOCKET,
        Hook.NAME,
        Hook.SWEEP,
    }
    assert Hook.REFUSED in hooks
    assert mechanisms >= {Mechanism.CGROUP, Mechanism.SWEEP, Mechanism.MOUNT}
    assert {e.verdict for e in events} >= {Verdict.OBSERVED, Verdict.DENIED}
    assert any(e.rule == ("quarantine",) for e in events)
    assert any(isinstance(e.attempt, NetAttempt) and e.attempt.socket for e in events)
    found = replayed(agent, since)
    assert found["attempts"] == sum(e.count for e in events)


def wait_for_all(agent: Agent, after: int) -> list[Event]:
    """Every attempt, once all that was counted is in the journal."""

    def settled() -> bool:
        counts = agent.status()["counts"]
        return counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())

    agent.await_that("the journal to be complete", settled)
    return agent.events(after)
