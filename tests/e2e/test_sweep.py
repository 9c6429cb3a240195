"""Connections that are older than the policy, or than the agent, in real containers: found, recorded, and cut."""

from __future__ import annotations

import pytest
from docker.models.containers import Container

from enforcer.core.event import Event, NetAttempt
from enforcer.core.model import Hook, Mechanism, Verdict
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers
from tests.e2e.test_following import address_of
from tests.e2e.test_reload import await_policy
from tests.e2e.world import NETWORK, World

RULES = """
version: 1
containers: {{caller: {{name: caller}}, server: {{name: server}}}}
network:
  rules:
    - {{who: caller, connect: [{grant}], mode: {mode}}}
    - {{who: server, connect: []}}
"""
GRANT = "{cidr: 0.0.0.0/0}"
ECHO = ("nc", "-ll", "-p", "8080", "-e", "cat")
CALL = 'mkfifo /w && { sleep infinity > /w & } && nc "$0" 8080 < /w > /heard; echo the call has ended'


def put(agent: Agent, grant: str = "", mode: str = "enforce") -> None:
    """Put the rules for caller and server in force beside the others."""
    (agent.policy / "30-sweep.yaml").write_text(RULES.format(grant=grant, mode=mode))
    await_policy(agent)


def speaks(agent: Agent, caller: Container) -> None:
    """Return once a word that the caller says has come back to it."""

    def said() -> bool:
        heard = Containers.execute(caller, "sh", "-c", "echo word > /w; cat /heard")
        return "word" in heard.output

    agent.await_that("the server's answer", said)


def swept(agent: Agent, after: int) -> list[Event]:
    """What the sweep has reported."""
    return [event for event in agent.events(after) if event.mechanism is Mechanism.SWEEP]


def joined(containers: Containers, how: str) -> dict[str, str]:
    """The network of the caller: of its own, the host's, or another container's."""
    if how == "container":
        return {"network_mode": f"container:{containers.start(name='landlord', network=NETWORK).id}"}
    return {"network": NETWORK} if how == "bridge" else {"network_mode": "host"}


def call(containers: Containers, **place: str) -> tuple[Container, Container]:
    """A caller with a connection to a server that echoes."""
    server = containers.start(*ECHO, name="server", network=NETWORK)
    return containers.start("sh", "-c", CALL, address_of(server, NETWORK), name="caller", **place), server


@pytest.mark.parametrize("how", ["bridge", "host", "container"])
def test_a_connection_that_a_new_policy_does_not_allow_is_cut(
    agent: Agent, world: World, containers: Containers, how: str
) -> None:
    """It was granted, it is no more: the call ends, the journal says whose it was and where it went, all of it accounted for."""
    put(agent, GRANT)
    caller, server = call(containers, **joined(containers, how))
    agent.await_that("the caller to be known", lambda: agent.runs("caller"))
    speaks(agent, caller)
    mark = agent.mark()
    put(agent)
    assert caller.wait(timeout=60)["StatusCode"] == 0
    assert b"the call has ended" in caller.logs()
    agent.await_that("the report", lambda: bool(swept(agent, mark.sequence)))
    [event] = swept(agent, mark.sequence)
    assert isinstance(event.attempt, NetAttempt)
    assert (event.attempt.address, event.attempt.port) == (address_of(server, NETWORK), 8080)
    assert (event.who.id, event.process.name) == (caller.id, "nc")
    assert (event.verdict, event.hook) == (Verdict.DENIED, Hook.SWEEP)
    counts = agent.status()["counts"]
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())


def test_a_connection_that_is_only_watched_goes_on(agent: Agent, world: World, containers: Containers) -> None:
    """In monitor mode it is observed, once for each policy, and left alone."""
    put(agent, GRANT)
    caller, _ = call(containers, network=NETWORK)
    agent.await_that("the caller to be known", lambda: agent.runs("caller"))
    speaks(agent, caller)
    mark = agent.mark()
    put(agent, mode="monitor")
    agent.await_that("the report", lambda: bool(swept(agent, mark.sequence)))
    speaks(agent, caller)
    assert [event.verdict for event in swept(agent, mark.sequence)] == [Verdict.OBSERVED]


def test_a_connection_older_than_the_agent_is_cut_and_an_accepted_one_is_not(
    agent: Agent, world: World, containers: Containers
) -> None:
    """At its start it finds what was opened while nothing was in force. The server may call nobody, and goes on answering."""
    put(agent)
    mark = agent.mark()
    agent.stop()
    agent.unload()
    caller, server = call(containers, network=NETWORK)
    other = containers.start("sh", "-c", CALL, address_of(server, NETWORK), name="other", network=NETWORK)
    for each in (caller, other):
        speaks(agent, each)
    agent.start()
    assert caller.wait(timeout=60)["StatusCode"] == 0
    agent.await_that("the report", lambda: bool(swept(agent, mark.sequence)))
    speaks(agent, other)
    assert [event.who.id for event in swept(agent, mark.sequence)] == [caller.id]
    assert server.id not in {event.who.id for event in agent.events(mark.sequence)}
