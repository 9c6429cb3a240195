"""The posture as metrics: which series there are, and when it is looked at."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from enforcer.errors import EdgeError
from enforcer.posture.finding import Finding, Result
from enforcer.runtime import posture_watch
from enforcer.runtime.posture_watch import PostureWatch
from enforcer.sinks.posture_metrics import PostureMetrics, PostureReading
from tests.unit.worlds import GUIDE, GUIDE_FACTS


def scraped(metrics: PostureMetrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample, by metric and label values."""
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {f.name: {tuple(s.labels.values()): s.value for s in f.samples} for f in families}


def test_the_series() -> None:
    """One for each check, container and result that there is; none for what nobody found."""
    reading = PostureReading({("user", "a", "PASS"): 1, ("apparmor", "", "WARN"): 1, ("health", "a", "FAIL"): 2}, 5.0)
    assert scraped(PostureMetrics(lambda: reading)) == {
        "enforcer_posture_checks": {("user", "a", "pass"): 1, ("apparmor", "", "warn"): 1, ("health", "a", "fail"): 2},
        "enforcer_posture_timestamp_seconds": {(): 5.0},
    }


class Snapshot:
    """What the watch looks at of the agent's picture of the host."""

    policy, facts = GUIDE, GUIDE_FACTS


class Clock:
    """A clock that stands unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.now

    def time(self) -> float:
        """As time.time."""
        return self.now


class Looks:
    """Stands for the engine: notes that it was asked, takes its time, and fails if told to. What is seen is ``there``."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.number, self.takes, self.fails = clock, 0, 0.0, False
        self.there, self.judged = "c1", 0

    def see(self, *_arguments: object) -> str:
        """One look."""
        self.number += 1
        self.clock.now += self.takes
        if self.fails:
            raise EdgeError("docker: gone")
        return self.there

    def judge(self, _policy: object, _facts: object, seen: str) -> tuple[Finding, ...]:
        """What was seen does not pass."""
        self.judged += 1
        return (Finding("user", Result.FAIL, seen, "e", "s"),)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """No engine, and no time."""
    made = Looks(Clock())
    monkeypatch.setattr(posture_watch, "seen_of", made.see)
    monkeypatch.setattr(posture_watch, "judge", made.judge)
    monkeypatch.setattr(posture_watch, "time", made.clock)
    return made


def test_it_looks_when_the_host_has_changed_and_once_a_minute(looks: Looks) -> None:
    """Not while nothing has changed."""
    now: list[Any] = [None]
    watch = PostureWatch(None, "", lambda: now[0])  # type: ignore[arg-type]
    watch.look()
    assert looks.number == 0  # no policy is in force yet
    now[0] = Snapshot()
    watch.look()
    watch.look()
    assert (looks.number, watch.reading.checks) == (1, {("user", "c1", "FAIL"): 1})
    now[0] = Snapshot()
    watch.look()
    assert looks.number == 2
    looks.clock.now += posture_watch.PERIOD_S
    watch.look()
    assert looks.number == 3


def test_what_has_not_changed_is_not_judged_again(looks: Looks) -> None:
    """But its time goes on; what has changed, in the engine or in the agent's picture, is judged, after a failure too."""
    now = [Snapshot()]
    watch = PostureWatch(None, "", lambda: now[0])  # type: ignore[arg-type,return-value]
    watch.look()
    looks.clock.now += posture_watch.PERIOD_S
    watch.look()
    assert (looks.judged, watch.reading.time) == (1, looks.clock.now)
    looks.there = "c2"
    looks.clock.now += posture_watch.PERIOD_S
    watch.look()
    assert (looks.judged, watch.reading.checks) == (2, {("user", "c2", "FAIL"): 1})
    now[0], looks.fails = Snapshot(), True
    watch.look()
    looks.fails = False
    looks.clock.now += posture_watch.PERIOD_S
    watch.look()
    assert looks.judged == 3


def test_a_look_that_takes_long_is_not_repeated_at_once(looks: Looks) -> None:
    """A host of thousands of containers, where something happens all the time."""
    watch = PostureWatch(None, "", Snapshot)  # type: ignore[arg-type,return-value]
    looks.takes = 3.0
    watch.look()
    for _ in range(29):
        looks.clock.now += 1
        watch.look()
    assert looks.number == 1
    looks.clock.now += 1
    watch.look()
    assert looks.number == 2


def test_an_engine_that_is_away_leaves_the_last_reading(looks: Looks) -> None:
    """With its time, by which one sees how old it is."""
    watch = PostureWatch(None, "", Snapshot)  # type: ignore[arg-type,return-value]
    watch.look()
    before = watch.reading
    looks.fails = True
    looks.clock.now += 1
    watch.look()
    assert (looks.number, watch.reading) == (2, before)
