"""The timeline as text: a row of blocks for each container and verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from enforcer.cli.render import Span, fitting
from enforcer.core.model import Verdict
from enforcer.core.query import Query
from enforcer.core.tally_time import FINE, Bars, Chart, Timeline
from enforcer.core.tally_words import VERDICTS, head, ticks, width_words
from enforcer.core.words import escape

TITLE = "Violations per container over time"
NOTHING = "no violation is recorded"

COLOUR_OF = {Verdict.KILLED: "red", Verdict.DENIED: "yellow", Verdict.OBSERVED: "blue", Verdict.ALLOWED: "grey"}

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = ".:-=+*#@"
_ROWS = 500
_MARK = 6
"""Columns of the shortest mark on the axis of time, and a space."""

_WIDEST = 3
"""Columns that one bucket may take where there is room for more: few events must not become a wall."""


@dataclass(frozen=True)
class _Layout:
    """Widths of the columns; ``times`` columns of the terminal are one bucket."""

    name: int
    total: int
    times: int
    blocks: str


def timeline_lines(timeline: Timeline, query: Query, *, width: int, unicode: bool) -> Iterator[str | Sequence[Span]]:
    """The picture for a terminal of so many columns."""
    overview = timeline.overview
    if not overview.total:
        yield NOTHING
        return
    names = [escape(bars.container) for bars in timeline.chart(2, _ROWS).rows]
    name = max(len("CONTAINER"), min(max(map(len, names)), width // 4))
    total = max(len("TOTAL"), len(f"{overview.total:,}"))
    room = max(10, min(FINE, width - name - total * 2 - 18))
    chart = timeline.chart(room, _ROWS)
    times = min(_WIDEST, room // chart.buckets)
    layout = _Layout(name, total, times, _BLOCKS if unicode else _ASCII)
    yield TITLE
    yield from head(overview, query)
    yield ""
    yield f"{'CONTAINER'.ljust(name)}  VERDICT   {_axis(chart, times)}  {'PEAK'.rjust(total)}  {'TOTAL'.rjust(total)}"
    for bars in chart.rows:
        yield from _rows(bars, layout)
    yield ""
    column = "a column is" if times == 1 else f"{times} columns are"
    yield f"{column} {width_words(chart.width)}; each row has its own scale, up to its peak"


def _rows(bars: Bars, layout: _Layout) -> Iterator[Sequence[Span]]:
    for number, verdict in enumerate(v for v in VERDICTS if v in bars.counts):
        counts = bars.counts[verdict]
        name = fitting(escape(bars.container), layout.name) if number == 0 else ""
        numbers = f"{max(counts):,}".rjust(layout.total) + "  " + f"{sum(counts):,}".rjust(layout.total)
        yield (
            Span(f"{name.ljust(layout.name)}  "),
            Span(f"{verdict.name.lower().ljust(8)}  {_blocks(counts, layout)}", COLOUR_OF[verdict]),
            Span(f"  {numbers}"),
        )


def _blocks(counts: Sequence[int], layout: _Layout) -> str:
    """Something for everything that is not nothing."""
    peak, steps = max(counts), len(layout.blocks)
    return "".join((layout.blocks[-(-count * steps // peak) - 1] if count else " ") * layout.times for count in counts)


def _axis(chart: Chart, times: int) -> str:
    """As many marks as do not run into each other, each beginning at the bucket of its time; none goes over the end."""
    width, end = chart.buckets * times, chart.start + chart.buckets * chart.width
    for most in range(max(1, width // _MARK), 0, -1):
        marks = [((t - chart.start) // chart.width * times, text) for t, text in ticks(chart.start, end, most)]
        if all(at + len(text) < following for (at, text), (following, _) in pairwise(marks)):
            break
    line = ""
    for at, text in marks:
        line = line.ljust(at) + text if at + len(text) <= width else line
    return line.ljust(width)
