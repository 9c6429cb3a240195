"""Containers are governed from their first instruction on, named or not, whether or not the agent has heard of them."""

from __future__ import annotations

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.demo.acts import Ran
from enforcer.runtime.records import UNNAMED
from tests.e2e.agent import DATA, Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.world import CONTENT, mounted

STARTS = 20
ATTACK = ("cat", "/beta-data/f")


def refused(agent: Agent) -> tuple[str, int]:
    """The verdict on a forbidden ``cat``, and its exit status."""
    verdict, _ = agent.stopped
    return verdict, 137 if verdict == "killed" else 1


def started(containers: Containers, name: str, *command: str) -> Ran:
    """``docker run``: a container's life with this command as its first program, in the volumes that the name means."""
    own = f"{name}-data" if name.startswith("worker") else "beta-data"
    return containers.run(*command, name=name, init=False, volumes=mounted(own))


def test_entrypoint_that_attacks_is_caught_each_time(agent: Agent, containers: Containers) -> None:
    """Twenty containers, two at a time, whose first program reads another's data: twenty refused, twenty counted."""
    verdict, status = refused(agent)
    before = agent.mark()
    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(lambda n: started(containers, f"attacker-{n}", *ATTACK), range(STARTS)))
    assert [r.status for r in ran] == [status] * STARTS
    assert [r for r in ran if CONTENT in r.output] == []
    rise = agent.rise(before)
    assert sum(rise.values()) == STARTS
    counted = [dict(labels) for _, labels in rise]
    assert {(c["object"], c["access"], c["action"]) for c in counted} == {("beta-data", "read", verdict)}
    events = agent.await_events(before, STARTS)
    assert Counter(e.attempt.object.name for e in events) == {"beta-data": STARTS}
    # one that two at a time was too fast for is counted without its name, but counted
    names = Counter(e.who.name for e in events)
    assert names == Counter({c["container"]: n for c, n in zip(counted, rise.values(), strict=True)})
    assert names.keys() <= {f"attacker-{n}" for n in range(STARTS)} | {UNNAMED}


def test_lawful_entrypoint_is_not_disturbed(agent: Agent, containers: Containers) -> None:
    """Twenty containers, created and started in one go, whose first program uses what a rule grants it: none is refused."""
    before = agent.mark()
    for number in range(100, 100 + STARTS):
        place = f"/worker-{number}-data/f"
        ran = started(containers, f"worker-{number}", "sh", "-c", f"echo mine > {place} && cat {place}")
        assert ran == Ran(0, "mine")
    assert agent.rise(before) == {}


def test_container_that_no_rule_names_may_touch_nothing_protected(agent: Agent, containers: Containers) -> None:
    """An unnamed container is refused protected data, and is free in a volume that nobody protects."""
    verdict, status = refused(agent)
    before = agent.mark()
    free = containers.run("sh", "-c", "echo x > /free/f && cat /free/f", name="nameless-1", volumes=["free:/free"])
    assert free == Ran(0, "x")
    assert agent.rise(before) == {}
    assert started(containers, "nameless-2", *ATTACK).status == status
    labels = {"container": "nameless-2", "object": "beta-data", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, **labels): 1}


@pytest.mark.parametrize("absence", ["stopped", "killed"])
def test_container_born_while_the_agent_is_away(agent: Agent, containers: Containers, absence: str) -> None:
    """Nobody has prepared it: the pinned programs grant it nothing. When the agent is back it has its name and its rights."""
    verdict, status = refused(agent)
    before = agent.mark()
    agent.pause() if absence == "stopped" else agent.kill()
    container = containers.start(name="worker-1", volumes=mounted("beta-data", "worker-1-data"))
    for command in (ATTACK, ("cat", "/worker-1-data/f")):
        ran = containers.execute(container, *command)
        assert (ran.status, CONTENT in ran.output) == (status, False)
    agent.signal(signal.SIGCONT) if absence == "stopped" else agent.start()
    agent.await_container("worker-1")
    agent.await_that(
        "it to have its rights", lambda: containers.execute(container, "cat", "/worker-1-data/f").status == 0
    )
    gap = {dict(labels)["object"]: n for (_, labels), n in agent.rise(before).items()}
    assert gap["beta-data"] == 1
    back = agent.mark()
    assert containers.execute(container, *ATTACK).status == status
    labels = {"container": "worker-1", "object": "beta-data", "access": "read", "action": verdict}
    assert agent.rise(back) == {sample(DATA, **labels): 1}
    assert [e.who.name for e in agent.await_events(back, 1)] == ["worker-1"]
