"""Violations per container over time, counted while the journal is read, in buckets that grow with the range.

Nobody knows the range before the last record is read. So counting begins with the finest buckets, and whenever they
become too many the next width of ``KEPT`` is taken. Each width is a multiple of the one before and all begin at the
same moment, so buckets join without remainder: the result is what the last width would have given from the start.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from enforcer.core.event import Event, Notice
from enforcer.core.model import Verdict
from enforcer.core.tally import OTHERS, Names, Overview, Weight, weight

_MS, _S = 1_000_000, 1_000_000_000
_MINUTE, _HOUR, _DAY = 60 * _S, 3600 * _S, 86400 * _S
_YEAR = 336 * _DAY  # twelve times four weeks: so that it is a multiple of all that is finer

WIDTHS: tuple[int, ...] = (
    *(n * _MS for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(n * _S for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(n * _MINUTE for n in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(n * _HOUR for n in (1, 2, 3, 4, 6, 8, 12)),
    *(n * _DAY for n in (1, 2, 7, 14, 28, 84, 168)),
    *(n * _YEAR for n in (1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10000)),
)
"""Widths of a bucket in ns: units of the clock, weeks and their multiples. The widest leaves two in all the calendar's years."""

KEPT: tuple[int, ...] = (
    *(n * _MS for n in (1, 5, 10, 50, 100, 500)),
    *(n * _S for n in (1, 5, 10, 30)),
    *(n * _MINUTE for n in (1, 5, 10, 30)),
    *(n * _HOUR for n in (1, 2, 6, 12)),
    *(n * _DAY for n in (1, 7, 28, 84)),
    *(n * _YEAR for n in (1, 10, 100, 1000, 10000)),
)
"""Those by which is counted: each is a multiple of the one before."""

ORIGIN = 4 * _DAY
"""Where buckets begin, in ns since 1970: the first Monday, so that weeks begin on Mondays and days at midnight (UTC)."""

FINE = 1024
"""Buckets that are kept while counting; each picture joins them further, to what it has room for."""


@dataclass(frozen=True)
class Bars:
    """One container's violations: ``counts[verdict][bucket]`` attempts."""

    container: str
    counts: dict[Verdict, tuple[int, ...]]

    @property
    def total(self) -> int:
        """Attempts of every verdict."""
        return sum(map(sum, self.counts.values()))

    @property
    def weight(self) -> Weight:
        """By what the rows are chosen that are shown."""
        return weight({verdict: sum(counts) for verdict, counts in self.counts.items()})


@dataclass(frozen=True)
class Chart:
    """``buckets`` of ``width`` ns from ``start`` (ns since 1970); one row for each container, by name, the rest of them last."""

    start: int
    width: int
    buckets: int
    rows: tuple[Bars, ...]


class Timeline:
    """Fed record by record; ``chart`` tells what it comes to. Notices and allowed accesses are passed over.

    A record of several attempts counts where the last of them was: when the others were it does not say.
    """

    def __init__(self) -> None:
        self.overview = Overview()
        self._names = Names()
        self._width = WIDTHS[0]
        self._counts: defaultdict[tuple[str, Verdict], Counter[int]] = defaultdict(Counter)
        self._first = self._last = 0

    def add(self, item: Event | Notice) -> None:
        """Count one record."""
        if isinstance(item, Notice) or item.verdict is Verdict.ALLOWED:
            return
        at = item.time_ns
        self._first, self._last = (min(self._first, at), max(self._last, at)) if self.overview.total else (at, at)
        self.overview.add(item)
        if _bucket(self._last, self._width) - _bucket(self._first, self._width) >= FINE:
            self._widen()
        self._counts[self._names.of(item.who), item.verdict][_bucket(at, self._width)] += item.count

    def chart(self, buckets: int, rows: int) -> Chart:
        """At most so many buckets and rows, two of each at least. The rows that find no place are one."""
        width = width_for(self._first, self._last, buckets, least=self._width)
        start = _bucket(self._first, width)
        length = _bucket(self._last, width) - start + 1 if self._counts else 0
        bars = _fewest([Bars(name, counts) for name, counts in self._joined(width, start, length)], rows)
        return Chart(ORIGIN + start * width, width, length, bars)

    def _widen(self) -> None:
        width = next(w for w in KEPT if _bucket(self._last, w) - _bucket(self._first, w) < FINE)
        for key, fine in self._counts.items():
            self._counts[key] = _coarser(fine, width // self._width)
        self._width = width

    def _joined(self, width: int, start: int, length: int) -> Iterator[tuple[str, dict[Verdict, tuple[int, ...]]]]:
        step = width // self._width
        found: defaultdict[str, dict[Verdict, tuple[int, ...]]] = defaultdict(dict)
        for (name, verdict), fine in sorted(self._counts.items()):
            coarse = _coarser(fine, step)
            found[name][verdict] = tuple(coarse[start + i] for i in range(length))
        yield from found.items()


def width_for(first: int, last: int, buckets: int, *, least: int = WIDTHS[0]) -> int:
    """The finest width of ``WIDTHS``, a multiple of ``least``, by which ``first`` to ``last`` (ns) are at most so many buckets."""
    wide = [w for w in WIDTHS if w % least == 0]
    return next((w for w in wide if _bucket(last, w) - _bucket(first, w) < buckets), wide[-1])


def _bucket(time_ns: int, width: int) -> int:
    return (time_ns - ORIGIN) // width


def _coarser(fine: Counter[int], step: int) -> Counter[int]:
    coarse: Counter[int] = Counter()
    for bucket, count in fine.items():
        coarse[bucket // step] += count
    return coarse


def _fewest(bars: list[Bars], most: int) -> tuple[Bars, ...]:
    """The ``most`` important rows by name; what is left over is the last of them."""
    named = [b for b in bars if b.container != OTHERS]
    if len(bars) <= most and len(named) == len(bars):
        return tuple(bars)
    chosen = {b.container for b in sorted(named, key=lambda b: b.weight, reverse=True)[: most - 1]}
    rest = [b for b in bars if b.container not in chosen]
    return (*(b for b in bars if b.container in chosen), _sum(rest))


def _sum(rest: list[Bars]) -> Bars:
    found: dict[Verdict, tuple[int, ...]] = {}
    for verdict, counts in chain.from_iterable(b.counts.items() for b in rest):
        found[verdict] = tuple(map(sum, zip(found[verdict], counts, strict=True))) if verdict in found else counts
    return Bars(OTHERS, found)
