"""What a bench hands back: a table for people, and figures that are held against the targets and kept as JSON.

A bench is a module of this package with ``table() -> Table``, which measures and returns; its name stands in ``bench.__main__``.
What cannot be measured here is a ``HostError`` or ``EdgeError`` that says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One number, in ``unit``, from several runs; ``median`` is what is held against ``must`` and ``aim``, None where none is set.

    ``peers``: what would be used instead, by name → its figure over ours, measured in the same run on the same work. ``note``
    says what a reader must know to believe the number: the kernel if it is another than ours, or what was measured in its place.
    ``told`` is False for a difference that the machine was too busy to tell: then nothing is met or missed.
    """

    name: str
    unit: str
    minimum: float
    median: float
    must: float | None = None
    aim: float | None = None
    more_is_better: bool = False
    peers: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    told: bool = True

    @classmethod
    def of(cls, name: str, unit: str, values: Sequence[float], **other: object) -> Figure:
        """The figure of so many runs. ``minimum`` is the best of them, so where more is better the most."""
        best = max if other.get("more_is_better") else min
        return cls(name, unit, best(values), statistics.median(values), **other)  # type: ignore[arg-type]

    def met(self, target: float | None) -> bool | None:
        """Whether the median keeps to a target; None without one, or if nothing can be told."""
        if target is None or not self.told:
            return None
        return self.median >= target if self.more_is_better else self.median <= target

    def as_json(self) -> dict[str, object]:
        """As it stands in ``bench/results``."""
        return {
            "name": self.name,
            "unit": self.unit,
            "best" if self.more_is_better else "minimum": self.minimum,
            "median": self.median,
            "must": self.must,
            "aim": self.aim,
            "met": {"must": self.met(self.must), "aim": self.met(self.aim)},
            "peers": dict(self.peers),
            "note": self.note,
            "told": self.told,
        }


@dataclass(frozen=True)
class Table:
    """What one bench found. The first column of ``rows`` stands left, the others right. ``notes``: a line each, below."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
