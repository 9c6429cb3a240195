"""What the enforcer counts, read as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from enforcer.errors import EdgeError

VIOLATIONS = (
    "mcp_data_access_violations_total",
    "mcp_external_connections_total",
    "mcp_network_violations_total",
)
"""The counters of which the story expects exactly what it says and nothing more (DESIGN section 6)."""

Sample = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its labels, sorted."""


@dataclass(frozen=True)
class Count:
    """One violation as the metrics tell it. ``labels`` are those that must be there with these values."""

    metric: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def matches(self, sample: Sample) -> bool:
        """Whether ``sample`` is a counter of this."""
        name, labels = sample
        return name == self.metric and self.labels.items() <= dict(labels).items()

    def __str__(self) -> str:
        return _text(self.metric, tuple(sorted(self.labels.items())))


def violations(exposition: str) -> dict[Sample, float]:
    """The violation counters in an answer of the enforcer's /metrics."""
    try:
        families = list(text_string_to_metric_families(exposition))
    except ValueError as e:
        raise EdgeError(f"the enforcer's metrics are not in Prometheus's format: {e}") from e
    samples = (s for family in families for s in family.samples if s.name in VIOLATIONS)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}


def change(before: Mapping[Sample, float], after: Mapping[Sample, float]) -> dict[Sample, float]:
    """What was counted between two readings."""
    deltas = {sample: value - before.get(sample, 0) for sample, value in after.items()}
    return {sample: delta for sample, delta in deltas.items() if delta}


def tell(changes: Mapping[Sample, float]) -> str:
    """Changes for a person's eye."""
    return ", ".join(f"{_text(*sample)} +{delta:g}" for sample, delta in sorted(changes.items())) or "nothing counted"


def _text(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    return f"{name}{{{', '.join(f'{k}={v}' for k, v in labels)}}}"
