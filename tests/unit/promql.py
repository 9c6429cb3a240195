"""What a PromQL expression names, and what the agent exports: so that neither can drift from the other.

No parser: promtool has judged the syntax, and what remains are names between brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from enforcer.core.enums import Mechanism
from enforcer.posture.finding import Result
from enforcer.runtime.probes import PROGRAMS
from enforcer.sinks.metrics import CAUSES, Metrics
from enforcer.sinks.posture_metrics import PostureMetrics, PostureReading
from tests.unit.test_metrics import READING

OF_PROMETHEUS = frozenset({"job", "instance"})
"""The labels that Prometheus gives to whatever it scrapes."""

VALUES = {
    "cause": frozenset(CAUSES.values()),
    "mechanism": frozenset({m.name.lower() for m in Mechanism} | {"none"}),
    "hook": frozenset(p.group for p in PROGRAMS),
    "result": frozenset(r.value.lower() for r in Result),
    "job": frozenset({"enforcer"}),
}
"""Label → its values, where they are a closed list. Names of containers, networks and objects are not."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_TIMES = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^{}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_IDENTIFIER = re.compile(r"[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()")
_WORDS = frozenset({"and", "or", "unless", "bool"})
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


@dataclass(frozen=True)
class Names:
    """``metrics`` that are read, ``asked``: (metric, label) in a selector, ``grouped``: labels of by, on and the like,
    ``values``: (label, value) that are asked for, alternatives apart.
    """

    metrics: frozenset[str]
    asked: frozenset[tuple[str, str]]
    grouped: frozenset[str]
    values: frozenset[tuple[str, str]]


def named(expr: str) -> Names:
    """Everything that an expression names. A function is what has a bracket behind it."""
    bare = _TIMES.sub("", _STRING.sub('""', expr))
    asked = {(metric, label) for metric, body in _SELECTOR.findall(bare) for label in re.findall(r"(\w+)\s*[=!]", body)}
    grouped = {label.strip() for body in _GROUPING.findall(bare) for label in body.split(",")}
    rest = _GROUPING.sub(" ", re.sub(r"\{[^{}]*\}", " ", bare))
    values = {(label, value) for label, text in _MATCHER.findall(expr) for value in text.split("|")}
    return Names(
        metrics=frozenset(_IDENTIFIER.findall(rest)) - _WORDS,
        asked=frozenset(asked),
        grouped=frozenset(grouped),
        values=frozenset(values),
    )


def exported() -> dict[str, frozenset[str]]:
    """Metric → its labels, Prometheus's own among them, as a scrape of the agent has them. ``up`` is Prometheus's."""
    registry = CollectorRegistry()
    registry.register(Metrics(lambda: READING))
    registry.register(PostureMetrics(lambda: PostureReading({("user", "a", "PASS"): 1}, 1.0)))
    found = {"up": OF_PROMETHEUS}
    for family in registry.collect():
        assert family.samples, f"{family.name} has no sample: its labels are not known"
        found |= {s.name: frozenset(s.labels) | OF_PROMETHEUS for s in family.samples}
    return found


def wrong(expr: str) -> list[str]:
    """What an expression names that the agent does not export: metrics, labels, and values that no label has."""
    names, known = named(expr), exported()
    labels = frozenset().union(*(known.get(metric, frozenset()) for metric in names.metrics))
    return [
        *(f"no metric {metric}" for metric in sorted(names.metrics - known.keys())),
        *(
            f"{metric} has no label {label}"
            for metric, label in sorted(names.asked)
            if label not in known.get(metric, ())
        ),
        *(f"nothing here has a label {label}" for label in sorted(names.grouped - labels)),
        *(f"{k} is never {v}" for k, v in sorted(names.values) if k in VALUES and v not in VALUES[k]),
    ]
