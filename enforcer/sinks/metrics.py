"""The metrics of DESIGN section 6, read from the kernel's maps at each scrape: they are as exact as the kernel's counters.

Label values are Docker names and the policy's words, never a path or an address that a container chose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from enforcer import abi
from enforcer.core.model import Access, Verdict
from enforcer.edges.exposition import Counted

CAUSES = {
    abi.LOST_RING: "ring-full",
    abi.LOST_COUNTS: "counts-full",
    abi.LOST_UNJUDGED: "unjudged",
    abi.LOST_JOURNAL: "journal",
    abi.LOST_SUBJECTS: "subjects-full",
    abi.LOST_UNREADABLE: "unreadable",
    abi.LOST_ACCESSES: "accesses-full",
}
"""enum enf_cause, without the suppressed ones."""


class Violation(NamedTuple):
    """One line of the counters with its numbers made names. ``network`` for an external attempt, ``object`` for data.

    ``destination`` for an attempt inside the container's networks; the two others are "" then.
    """

    container: str
    action: Verdict
    object: str = ""
    access: Access = Access.NONE
    network: str = ""
    destination: str = ""


@dataclass(frozen=True)
class Reading:
    """All that a scrape shows. ``holds``: hook → mechanism name; ``containers``: state → number."""

    violations: Mapping[Violation, int]
    lost: Mapping[str, int]
    suppressed: Mapping[str, int]
    holds: Mapping[str, str]
    containers: Mapping[str, int]
    policy: tuple[str, int, str]
    load_failures: int
    selftest: bool
    canary_timestamp: float
    egress_blocked: Mapping[str, int] = field(default_factory=dict)
    """Network → packets that were on their way out of it, or to the host, and were dropped."""


@cache
def access_label(access: Access) -> str:
    """``read``, ``write``, ``read-write``, with ``exec`` after them: the parts that were asked for and not granted."""
    return "-".join(bit.name.lower() for bit in Access if bit & access and bit.name) or "none"


class Metrics(Collector):
    """A Prometheus collector over ``read``, which is called at each scrape."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Nothing to say before the first scrape: registering must not read the kernel."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every metric family of one scrape."""
        reading = self._read()
        yield from _violations(reading)
        yield from _losses(reading)
        yield from _state(reading)


def _violations(reading: Reading) -> Iterator[Metric]:
    data: Counter[tuple[str, ...]] = Counter()
    external: Counter[tuple[str, ...]] = Counter()
    inside: Counter[tuple[str, ...]] = Counter()
    actions = {verdict: verdict.name.lower() for verdict in Verdict}
    for v, n in reading.violations.items():
        action = actions[v.action]
        if v.object:
            data[v.container, v.object, access_label(v.access), action] += n
        elif v.destination:
            inside[v.container, v.destination, action] += n
        else:
            external[v.network, v.container, action] += n
    yield Counted(
        "mcp_data_access_violations",
        "Accesses to protected data that the matrix does not grant.",
        ("container", "object", "access", "action"),
        data,
    )
    yield Counted(
        "mcp_external_connections",
        "Attempts to connect outside the container's networks that no rule allows.",
        ("network", "container", "action"),
        external,
    )
    yield Counted(
        "mcp_network_violations",
        "Attempts to connect inside the container's networks that no rule allows.",
        ("container", "destination", "action"),
        inside,
    )


def _losses(reading: Reading) -> Iterator[Metric]:
    lost: Counter[tuple[str, ...]] = Counter({(cause,): reading.lost.get(cause, 0) for cause in CAUSES.values()})
    suppressed: Counter[tuple[str, ...]] = Counter({(name,): n for name, n in reading.suppressed.items()})
    yield Counted(
        "enforcer_events_lost",
        "What did not reach the journal: ring-full and journal are counted violations without a record; counts-full are "
        "violations counted here only; unjudged are attempts that something else refused and nobody judged; subjects-full "
        "are cgroups that could not be governed; accesses-full are allowed accesses that `run --record accesses` misses.",
        ("cause",),
        lost,
    )
    yield Counted(
        "enforcer_events_suppressed",
        "Violations beyond what one container may have in the log: counted, but not told one by one.",
        ("container",),
        suppressed,
    )
    yield Counted(
        "enforcer_egress_blocked_packets",
        "Packets of a guarded network that were on their way out of it, or to the host itself, and were dropped.",
        ("network",),
        Counter({(name,): n for name, n in reading.egress_blocked.items()}),
    )
    failures = CounterMetricFamily(
        "enforcer_policy_load_failures", "Policies that did not load; the running one stayed."
    )
    failures.add_metric((), reading.load_failures)
    yield failures


def _state(reading: Reading) -> Iterator[Metric]:
    probes = GaugeMetricFamily("enforcer_probe_info", "Which mechanism holds which hook.", labels=("hook", "mechanism"))
    for hook, mechanism in sorted(reading.holds.items()):
        probes.add_metric((hook, mechanism), 1)
    yield probes
    policy = GaugeMetricFamily("enforcer_policy_info", "The policy in force.", labels=("hash", "generation", "mode"))
    policy.add_metric((reading.policy[0], str(reading.policy[1]), reading.policy[2]), 1)
    yield policy
    containers = GaugeMetricFamily("enforcer_containers", "Containers by state.", labels=("state",))
    for state, n in sorted(reading.containers.items()):
        containers.add_metric((state,), n)
    yield containers
    yield GaugeMetricFamily(
        "enforcer_selftest_success",
        "1 if the canary's last forbidden attempts were stopped.",
        value=float(reading.selftest),
    )
    yield GaugeMetricFamily(
        "enforcer_canary_timestamp_seconds", "When the canary last ran, Unix time.", value=reading.canary_timestamp
    )
