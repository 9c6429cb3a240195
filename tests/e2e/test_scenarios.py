"""The table of tests/scenarios.py, done by processes in real containers, under the real agent."""

from __future__ import annotations

import pytest

from enforcer.core.event import FileAttempt, NetAttempt
from enforcer.core.model import Access, Verdict
from enforcer.sinks.metrics import access_label
from tests.e2e.agent import DATA, EXTERNAL, Agent, sample
from tests.e2e.world import NETWORK, World
from tests.scenarios import FILES, NETS, FileCase, NetCase, volume

RULES = {("alpha", "alpha-data"): 0, ("alpha", "alpha-config"): 0, ("watched", "alpha-config"): 1}
"""The number of the table's rule that mentions an object for a container; the others are denied for want of one."""


def expected(agent: Agent, verdict: Verdict) -> tuple[str, int]:
    """The recorded verdict and the exit status of the offender."""
    return agent.stopped if verdict is Verdict.DENIED else (verdict.name.lower(), 0)


@pytest.mark.parametrize("case", FILES, ids=lambda c: c.name)
def test_files(agent: Agent, world: World, case: FileCase) -> None:
    """Each deed ends as the table says; what is not allowed is counted once and recorded once, with who, what and why."""
    verdict, status = expected(agent, case.verdict)
    before = agent.mark()
    ran = world.do(case.who, case.deed, f"/{case.where}/f")
    assert ran.status == status, ran.output
    if case.verdict is Verdict.ALLOWED:
        assert agent.rise(before) == {}
        return
    labels = {"container": case.who, "object": case.where, "access": access_label(case.missing), "action": verdict}
    assert agent.rise(before) == {sample(DATA, **labels): 1}
    [event] = agent.await_events(before, 1)
    assert (event.who.name, event.verdict.name.lower(), event.asked, event.count) == (case.who, verdict, case.asked, 1)
    assert isinstance(event.attempt, FileAttempt)
    assert (event.attempt.object, event.attempt.path) == (volume(case.where), "" if case.deed == "list" else "f")
    number = RULES.get((case.who, case.where))
    assert event.rule == (() if number is None else (f"data.rules[{number}]",))
    assert event.mechanism.name.lower() == agent.status()["mechanisms"]["open"]
    assert event.who.id == world.client.containers.get(case.who).id


@pytest.mark.parametrize("case", NETS, ids=lambda c: c.name)
def test_connections(agent: Agent, world: World, case: NetCase) -> None:
    """Each connection ends as the table says, counted once for the network that it would have left; nothing is sent."""
    before = agent.mark()
    ran = world.do(case.who, case.deed, case.address, str(case.port))
    assert ran.status == (77 if case.verdict is Verdict.DENIED else 0), ran.output
    if case.verdict is Verdict.ALLOWED:
        assert agent.rise(before) == {}
        return
    verdict = case.verdict.name.lower()
    assert agent.rise(before) == {sample(EXTERNAL, network=NETWORK, container=case.who, action=verdict): 1}
    [event] = agent.await_events(before, 1)
    assert isinstance(event.attempt, NetAttempt)
    found = (event.attempt.address, event.attempt.port, event.attempt.protocol, event.attempt.network)
    assert found == (case.address.removeprefix("::ffff:"), case.port, case.protocol, NETWORK)
    assert (event.who.name, event.verdict, event.asked) == (case.who, case.verdict, Access.CONNECT)
    assert event.rule == (f"network.rules[{0 if case.who == 'alpha' else 1}]",)
