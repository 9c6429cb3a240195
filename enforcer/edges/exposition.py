"""Prometheus's text format (prometheus.io/docs/instrumenting/exposition_formats), for counters of ten thousands of series.

prometheus_client makes an object of each series, sorts its labels and writes it: some 10 µs. What is many is kept as rows and
written as text; the rest is prometheus_client's to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_is_odd = re.compile(r'["\\\n]').search
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Counted(Metric):
    """A counter: label values → number. ``name`` without ``_total``."""

    def __init__(
        self, name: str, documentation: str, labels: tuple[str, ...], rows: Mapping[tuple[str, ...], int]
    ) -> None:
        self.type, self.unit = "counter", ""  # not prometheus_client's own, which would make samples
        self.name, self.documentation, self._labels, self._rows = name, documentation, labels, rows

    @property
    def samples(self) -> list[Sample]:  # type: ignore[override]  # a plain attribute there
        """One for each row, for who wants objects."""
        name = f"{self.name}_total"
        return [Sample(name, dict(zip(self._labels, row, strict=True)), n) for row, n in sorted(self._rows.items())]

    def text(self) -> str:
        """The family as it is read by a scraper. Series are sorted."""
        name = f"{self.name}_total"
        labels = ",".join(f'{label}="{{}}"' for label in self._labels)
        form = f"{name}{{{{{labels}}}}} {{}}\n".format
        lines = [form(*(map(_escaped, row) if _is_odd("".join(row)) else row), n) for row, n in self._rows.items()]
        lines.sort()
        help_text = self.documentation.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {name} {help_text}\n# TYPE {name} counter\n{''.join(lines)}"


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


class _Rest(Collector):
    """What prometheus_client writes."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """They have been collected."""
        return self._families


def exposition(collector: Collector) -> bytes:
    """All that ``collector`` (a registry, too) has to say now."""
    families = list(collector.collect())
    counted = [family for family in families if isinstance(family, Counted)]
    rest = [family for family in families if not isinstance(family, Counted)]
    return generate_latest(_Rest(rest)) + "".join(family.text() for family in counted).encode()
