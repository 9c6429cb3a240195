"""``enforcer_posture_checks``: what `enforcer verify` would say now of how containers are made, so that drift is alerted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True)
class PostureReading:
    """``checks``: check, container ("" for none) and result → how many findings say so; ``time``: of the last whole look, Unix."""

    checks: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    time: float = 0.0


class PostureMetrics(Collector):
    """A Prometheus collector over ``read``, which only hands out what was found last."""

    def __init__(self, read: Callable[[], PostureReading]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Nothing to say before the first scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Both families. A result that no check has any more has no series: an alert on it ends."""
        reading = self._read()
        checks = GaugeMetricFamily(
            "enforcer_posture_checks",
            "Findings of the checks of `enforcer verify` that look at how containers are made, by result.",
            labels=("check", "container", "result"),
        )
        for (check, container, result), n in sorted(reading.checks.items()):
            checks.add_metric((check, container, result.lower()), n)
        yield checks
        yield GaugeMetricFamily(
            "enforcer_posture_timestamp_seconds",
            "When the containers were last looked at, Unix time.",
            value=reading.time,
        )
