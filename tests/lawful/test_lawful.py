"""Lawful work is the same with the agent as without it, and nothing of it is a violation."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.agent import DATA, sample
from tests.lawful.rounds import IMAGE, Rounds
from tests.lawful.steps import FAILING, differences, failed, read_steps

pytestmark = pytest.mark.timeout(600)  # the rounds are the first test's: a minute or so, and more on a busy machine

WORKLOADS = {
    **{"files": 60, "bound": 60, "programs": 70, "layer": 45, "confined": 15, "power": 12, "cgroups": 5},
    **{"sharing": 10, "engine": 35, "built": 2, "births": 10, "postgres": 20},
}
"""Each workload of round.sh, and how many steps it has at the least."""


def test_work_succeeds_without_an_agent(rounds: Rounds) -> None:
    """The first round is worth comparing with: everything was done, and only what must fail did."""
    done = {name: sum(key[0] == name for key in rounds.alone) for name in WORKLOADS}
    assert {name: n for name, n in done.items() if n < WORKLOADS[name]} == {}
    wanted = {key for key in FAILING if key in rounds.alone}
    assert {key: rounds.alone[key] for key in failed(rounds.alone) ^ wanted} == {}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_work_is_the_same_under_the_agent(rounds: Rounds, workload: str) -> None:
    """Every step has the exit status and the output that it had without the agent."""
    found = differences(rounds.alone, rounds.governed)
    told = [
        f"{step}: {alone} alone, {governed} governed"
        for (of, step), (alone, governed) in found.items()
        if of == workload
    ]
    assert told == [], "\n".join(told)


def test_nothing_is_counted_or_recorded(rounds: Rounds) -> None:
    """Not one violation, not one record lost, not one event."""
    counts = rounds.after["counts"]
    events = rounds.agent.events()
    assert events == [], "\n".join(map(str, events))
    assert (counts["counted"], counts["recorded"], counts["suppressed"]) == (0, 0, 0)
    assert sum(counts["lost"].values()) == 0
    assert rounds.after["malformed"] == 0


def test_work_degrades_nothing(rounds: Rounds) -> None:
    """What is not fully held is what was not before; no object was left unguarded, the engine was never out of reach."""
    kernel = [entry for entry in rounds.after["degraded"] if entry["why"] != "this host"]
    assert kernel == [entry for entry in rounds.before["degraded"] if entry["why"] != "this host"]
    assert rounds.after["docker"]["connected"]
    assert rounds.after["mechanisms"] == rounds.before["mechanisms"]


def test_agent_was_awake_all_the_time(rounds: Rounds) -> None:
    """The same agent, after all that, stops what is forbidden: silence meant that there was nothing to say."""
    agent, before = rounds.agent, rounds.agent.mark()
    docker = ["docker", "-H", rounds.engine.url]
    subprocess.run([*docker, "volume", "create", "secret"], check=True, capture_output=True)
    run = ["run", "--rm", "--network", "none", "--name", "work-thief", "-v", "secret:/secret", IMAGE, "ls", "/secret"]
    status = subprocess.run([*docker, *run], check=False, capture_output=True).returncode
    verdict, expected = agent.stopped
    assert status == (137 if verdict == "killed" else 2), (status, expected)
    labels = {"container": "work-thief", "object": "secret", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, **labels): 1}


def test_a_difference_is_found() -> None:
    """The comparison itself: another status, another output, a step that was not done, one that was done twice."""
    one = read_steps("w\ta\t0\tx\nw\tb\t0\t\nw\tc\t0\ty\nw\td\t0\t\n")
    other = read_steps("w\ta\t1\tx\nw\tc\t0\tz\nw\td\t0\t\nw\td\t0\t\n")
    assert [key[1] for key in differences(one, other)] == ["a", "b", "c", "d"]
    assert differences(one, one) == {}
    assert failed(other) == {("w", "a")}
    with pytest.raises(AssertionError, match="no step: Traceback"):
        read_steps("Traceback (most recent call last):\n")
