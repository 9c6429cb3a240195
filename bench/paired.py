"""How a difference is told on a machine that does other things as well: in pairs.

What is compared takes turns, A B A B, in many short batches, so that what else the machine does meets both alike. Of each the
minimum and the median are told. That one takes longer than the other is claimed only where the minima, the medians and three
quarters of the pairs say so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

BATCHES = 31
"""At least so many pairs: the quartiles of fewer are those of chance."""


def interleaved(
    actions: Mapping[str, Callable[[], float]], batches: int = BATCHES, *, warm: int = 1
) -> dict[str, list[float]]:
    """What each action has measured, batch by batch, all in turns. The first ``warm`` rounds are thrown away."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(-warm, batches):
        for name, action in actions.items():
            value = action()
            if number >= 0:
                found[name].append(value)
    return found


@dataclass(frozen=True)
class Difference:
    """``changed`` less ``base``, in their unit: of the minima, of the pairs (median, first and third quartile)."""

    base: tuple[float, ...]
    changed: tuple[float, ...]

    @property
    def pairs(self) -> tuple[float, ...]:
        """Each batch less the one beside it."""
        return tuple(b - a for a, b in zip(self.base, self.changed, strict=True))

    @property
    def minimum(self) -> float:
        """Between the best of both."""
        return min(self.changed) - min(self.base)

    @property
    def median(self) -> float:
        """Of the pairs."""
        return statistics.median(self.pairs)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the pairs: the first and the third."""
        first, _, third = statistics.quantiles(self.pairs, n=4)
        return first, third

    @property
    def told(self) -> bool:
        """Whether there is a difference at all: best, median and both quartiles have one sign."""
        signs = {value > 0 for value in (self.minimum, self.median, *self.quartiles)}
        return len(signs) == 1 and 0 not in (self.minimum, self.median)

    def said(self, unit: str, scale: float = 1) -> str:
        """In words, for a note: what is claimed, or that nothing is."""
        first, third = (f"{value * scale:+.3g}" for value in self.quartiles)
        return f"{'' if self.told else 'no difference can be told: '}half of the pairs from {first} to {third} {unit}"


def difference(base: Sequence[float], changed: Sequence[float]) -> Difference:
    """Of two that were ``interleaved``."""
    return Difference(tuple(base), tuple(changed))
