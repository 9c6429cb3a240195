"""The command line of `replay` and `learn`: pacing, comparing, and what is refused."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from enforcer.cli import cli
from enforcer.cli.replay import paced
from enforcer.core.event import FileAttempt, Notice
from enforcer.core.model import Kind, ObjectId, Verdict
from enforcer.edges.ecs import encode
from tests.unit.test_replay import denied

POLICY = """
version: 1
mode: {mode}
containers: {{agents: {{name: "mcp-*"}}}}
data: {{protected: [{{volume: "mcp-*"}}], rules: [{{who: agents, {grant}: ["mcp-*"]}}]}}
"""


@pytest.fixture
def place(tmp_path):
    """A journal with a denied write and an allowed read, and two policies."""
    allowed = denied(
        verdict=Verdict.ALLOWED, attempt=FileAttempt(ObjectId(Kind.VOLUME, "mcp-01-data"), "", 0, 0), count=4
    )
    (tmp_path / "events.jsonl").write_bytes(
        encode(denied(), 1) + encode(Notice(2, 1, "started", "x"), 2) + encode(allowed, 3)
    )
    for name, grant in (("wide", "read-write"), ("narrow", "read-only")):
        (tmp_path / f"{name}.yaml").write_text(POLICY.format(mode="enforce", grant=grant))
    return tmp_path


def told(place, *words):
    """What a command prints, and its status."""
    names = {"JOURNAL": "events.jsonl", "WIDE": "wide.yaml", "NARROW": "narrow.yaml"}
    found = CliRunner().invoke(cli, [str(place / names[w]) if w in names else w for w in words])
    return found.output, found.exit_code


def test_what_a_policy_changes(place):
    """The denied write would be let through, the allowed one too: one change."""
    output, status = told(place, "replay", "JOURNAL", "--policy", "WIDE", "--format", "json")
    found = json.loads(output)
    assert (status, found["attempts"], found["changed"], found["against"]) == (1, 5, 1, "recorded")
    assert [(c["was"], c["now"], c["rule"]) for c in found["changes"]] == [("denied", "allowed", ["data.rules[0]"])]


def test_two_policies(place):
    """All five writes differ between them, whatever was recorded."""
    output, status = told(place, "replay", "JOURNAL", "--policy", "NARROW", "--against", "WIDE", "--format", "json")
    found = json.loads(output)
    assert (status, found["changed"]) == (1, 5)
    assert {(c["was"], c["now"]) for c in found["changes"]} == {("allowed", "denied")}
    assert told(place, "replay", "JOURNAL", "--policy", "WIDE", "--against", "WIDE")[1] == 0


def test_filters_choose_what_is_judged(place):
    """As with `log`."""
    output, status = told(place, "replay", "JOURNAL", "--policy", "WIDE", "--object", "mcp-01-*", "--format", "json")
    assert (status, json.loads(output)["attempts"]) == (0, 4)
    output, _ = told(place, "replay", "JOURNAL", "--container", "nobody")
    assert "no attempt is recorded" in output


@pytest.mark.parametrize("words", [("--against", "WIDE"), ("--policy", "WIDE", "--speed", "2"), ("--speed", "-1")])
def test_options_that_say_nothing_together_are_refused(place, words):
    """A comparison without a policy, a pace without a timeline."""
    assert told(place, "replay", "JOURNAL", *words)[1] == 2


@pytest.mark.parametrize("speed", ["nan", "inf", "-inf", "-1", "-nan"])
def test_what_is_no_speed_is_refused(place, speed):
    """As a wrong use of the command, not while the timeline is played."""
    output, status = told(place, "replay", "JOURNAL", "--speed", speed)
    assert (status, "Traceback" in output, "--speed" in output) == (2, False, True)


def test_a_timeline_is_played_in_its_own_time():
    """Gaps are divided by the speed; a clock that went back makes nobody wait."""
    times = [10, 12, 11, 20]
    items = [Notice(n, time * 10**9, "started", "x") for n, time in enumerate(times)]
    slept: list[float] = []
    assert list(paced(items, 2, slept.append)) == items
    assert slept == [1.0, 4.0]
    assert list(paced(items, 0, slept.append)) == items
    assert len(slept) == 2


def test_ctrl_c_ends_it_quietly(place, monkeypatch):
    """Without a traceback, and with what was shown until then."""

    def interrupted(_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("enforcer.cli.replay.time.sleep", interrupted)
    output, status = told(place, "replay", "JOURNAL", "--speed", "0.001")
    assert (status, "Traceback" in output, "mcp-02-data" in output) == (0, False, True)


def test_learn_prints_a_policy_that_loads(place):
    """And says so where there is nothing to learn from."""
    output, status = told(place, "learn", "JOURNAL", "--mode", "enforce")
    assert (status, "mode: enforce" in output, "was denied, once" in output) == (0, True, True)
    (place / "wide.yaml").write_text(output)
    assert told(place, "check", "WIDE")[1] == 0
    found = CliRunner().invoke(cli, ["learn", str(place / "events.jsonl"), "--container", "nobody"])
    assert "no access is recorded" in str(found.exception)
