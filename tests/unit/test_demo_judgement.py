"""The demo judges what it saw: a step is as expected only if its end and the counters both are."""

from __future__ import annotations

import pytest

from deploy.demo.acts import Ran
from deploy.demo.metrics import Count, change, violations
from deploy.demo.play import check_alerts, judge
from deploy.demo.prometheus import GUIDES_ALERTS, HOSTS_ALERTS, Alert
from deploy.demo.story import STORY, Expected, Outcome, expected

TRACEPOINT = {"open": "tracepoint", "connect4": "cgroup", "connect6": "cgroup"}
LSM = {**TRACEPOINT, "open": "lsm"}

READS = next(step for step in STORY if step.outcome is Outcome.FILE)
ALLOWED = next(step for step in STORY if step.outcome is Outcome.ALLOWED)


def sample(count: Count, **more: str):
    """The counter that ``count`` describes, as the metrics have it."""
    return (count.metric, tuple(sorted({**count.labels, **more}.items())))


@pytest.mark.parametrize(
    ("mechanism", "status", "action"),
    [("lsm", 1, "denied"), ("fmod_ret", 1, "denied"), ("tracepoint", 137, "killed"), ("audit", 0, "observed")],
)
def test_the_mechanism_settles_how_a_violation_must_end(mechanism, status, action):
    """EPERM where the hook can refuse, SIGKILL where it can only punish, nothing where it only sees."""
    must = expected(READS, {"open": mechanism})
    assert (must.status, must.action) == (status, action)


DENIED = Ran(1, "cat: can't open '/x': Operation not permitted")
COUNT = Count(READS.count.metric, {**READS.count.labels, "action": "denied"})
ONCE = {sample(COUNT): 1.0}


def test_a_denied_and_counted_violation_is_as_expected():
    """The one good end: refused with EPERM, and exactly its own counter moved by one."""
    assert judge(READS, expected(READS, LSM), ran=DENIED, counted=ONCE) == ()


@pytest.mark.parametrize(
    ("ran", "counted"),
    [
        (Ran(0, "the secret of somebody"), ONCE),
        (Ran(1, "cat: No such file or directory"), ONCE),
        (Ran(137, ""), ONCE),
        (Ran(1, "Operation not permitted, but the secret of somebody was read"), ONCE),
        (DENIED, {}),
        (DENIED, {sample(COUNT): 2.0}),
        (DENIED, {sample(COUNT, action="killed"): 1.0}),
        (DENIED, {**ONCE, sample(COUNT, container="bystander"): 1.0}),
    ],
    ids=["read", "other error", "killed", "leaked", "not counted", "twice", "other action", "also another"],
)
def test_anything_else_is_not_as_expected(ran, counted):
    """No other exit status, message or counter passes, and neither does one counter too many."""
    assert judge(READS, expected(READS, LSM), ran=ran, counted=counted) != ()


def test_what_is_allowed_may_count_nothing():
    """An allowed step fails as soon as any violation is counted meanwhile."""
    fine = Ran(0, ALLOWED.shows)
    assert judge(ALLOWED, Expected(0, ALLOWED.shows, ""), ran=fine, counted={}) == ()
    assert judge(ALLOWED, Expected(0, ALLOWED.shows, ""), ran=fine, counted=ONCE) != ()


def test_changes_are_read_from_the_exposition():
    """Only the violation counters are read, and only what moved between two readings is told."""
    before = violations('mcp_data_access_violations_total{container="a"} 3\nenforcer_selftest_success 1\n')
    after = violations(
        'mcp_data_access_violations_total{container="a"} 3\nmcp_network_violations_total{container="b"} 2\n'
    )
    assert change(before, after) == {("mcp_network_violations_total", (("container", "b"),)): 2.0}


def test_the_story_holds_every_act_of_the_issue():
    """Nothing may fall out of the table unnoticed: each kind of end occurs, and each violation names its counter."""
    assert {step.outcome for step in STORY} == set(Outcome)
    assert all((step.count is not None) == (step.outcome is not Outcome.ALLOWED) for step in STORY)
    assert all(step.control for step in STORY if step.outcome is Outcome.FILE)


class Firing:
    """Stands for the demo's Prometheus: these alerts fire."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def await_guides_alerts(self) -> list[Alert]:
        """As Prometheus.await_guides_alerts."""
        return [Alert(name, {}, "") for name in self.names]


def test_the_demo_takes_no_alert_but_the_guides_and_those_about_the_kernel():
    """A kernel that can do no better makes the demo no failure; an enforcer in trouble does, and so does a silent alert."""
    assert not check_alerts(Firing(*GUIDES_ALERTS)).wrong
    assert not check_alerts(Firing(*GUIDES_ALERTS, *HOSTS_ALERTS)).wrong
    assert check_alerts(Firing(*GUIDES_ALERTS, "EnforcerEventsLost")).wrong == ("EnforcerEventsLost fires",)
    assert check_alerts(Firing("MCPDataIsolationViolation")).wrong == ("MCPNetworkIsolationBreach does not fire",)
