"""The timeline as SVG: one row of stacked bars for each container, all over one axis of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import Element

from enforcer.cli.drawing import CHAR, MARGIN, canvas, element, header, header_height, label, legend
from enforcer.cli.plain_timeline import NOTHING, TITLE
from enforcer.core.model import Verdict
from enforcer.core.query import Query
from enforcer.core.tally_time import Bars, Chart, Timeline
from enforcer.core.tally_words import VERDICTS, head, ticks, width_words
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import escape

WIDTH = 1180
_ROOM = 34
_PLOT = 740
_BUCKETS = 190
_ROWS = 200
_ROW, _BAR = 34, 26
_LEAST = 2.0
"""Pixels that a single attempt is high, whatever the others are."""

_WIDEST = 16.0


@dataclass(frozen=True)
class _Frame:
    """Where the bars stand, in pixels. ``step``: from one bucket to the next."""

    left: float
    top: float
    step: float
    chart: Chart

    @property
    def bottom(self) -> float:
        """Under the last row."""
        return self.top + _ROW * len(self.chart.rows)

    @property
    def right(self) -> float:
        """Behind the last bucket."""
        return self.left + self.step * self.chart.buckets


class _Place(NamedTuple):
    """A bar's corner, and the room up to the next bar."""

    x: float
    base: float
    step: float


def timeline_svg(timeline: Timeline, query: Query) -> Element:
    """The picture."""
    chart = timeline.chart(_BUCKETS, _ROWS)
    lines = (*head(timeline.overview, query), *_how(chart))
    names = [escape(bars.container) for bars in chart.rows]
    left = MARGIN + CHAR * min(_ROOM, max(map(len, names), default=0)) + 16
    top = header_height(lines, WIDTH) + 56
    frame = _Frame(left, top, min(_WIDEST, _PLOT / max(1, chart.buckets)), chart)
    root = canvas(TITLE, " ".join(lines), WIDTH, frame.bottom + 24 + MARGIN)
    header(root, TITLE, lines, WIDTH)
    legend(root, top - 36, timeline.overview.attempts)
    if chart.rows:
        _axis(root, frame)
        for number, bars in enumerate(chart.rows):
            _row(root, frame, bars, frame.top + _ROW * number)
    return root


def _how(chart: Chart) -> Iterator[str]:
    yield f"a bar is {width_words(chart.width)}; each row has its own scale, up to its peak" if chart.rows else NOTHING


def _axis(root: Element, frame: _Frame) -> None:
    chart = frame.chart
    for number in range(0, len(chart.rows), 2):
        y = frame.top + _ROW * number
        element(root, "rect", class_="stripe", x=MARGIN - 8, y=y, width=WIDTH - 2 * MARGIN + 16, height=_ROW)
    for time_ns, text in ticks(chart.start, chart.start + chart.buckets * chart.width, 8):
        x = frame.left + (time_ns - chart.start) / chart.width * frame.step
        element(root, "line", class_="rule", x1=x, x2=x, y1=frame.top - 4, y2=frame.bottom + 4)
        for y in (frame.top - 10, frame.bottom + 18):
            element(root, "text", text, class_="dim number", x=x + 1, y=y)
    element(root, "text", "peak", class_="dim end", x=WIDTH - MARGIN - 84, y=frame.top - 10)
    element(root, "text", "attempts", class_="dim end", x=WIDTH - MARGIN, y=frame.top - 10)


def _row(root: Element, frame: _Frame, bars: Bars, y: float) -> None:
    base = y + _ROW - (_ROW - _BAR) / 2
    sums = [sum(counts) for counts in zip(*bars.counts.values(), strict=True)]
    label(root, escape(bars.container), _ROOM, class_="ink name end", x=frame.left - 12, y=base - 8)
    element(root, "line", class_="edge", x1=frame.left, x2=frame.right, y1=base, y2=base)
    for bucket, total in enumerate(sums):
        if total:
            at = frame.chart.start + bucket * frame.chart.width
            parts = [(v, bars.counts[v][bucket]) for v in VERDICTS if v in bars.counts and bars.counts[v][bucket]]
            group = element(root, "g")
            said = ", ".join(f"{count:,} {verdict.name.lower()}" for verdict, count in parts)
            span = f"{_moment(at)} and {width_words(frame.chart.width)} on"
            element(group, "title", f"{escape(bars.container)}, {span}: {said}")
            _bar(group, parts, _Place(frame.left + bucket * frame.step, base, frame.step), _BAR / max(sums))
    element(root, "text", f"{max(sums):,}", class_="dim number end", x=WIDTH - MARGIN - 84, y=base - 8)
    element(root, "text", f"{bars.total:,}", class_="ink number end", x=WIDTH - MARGIN, y=base - 8)


def _bar(group: Element, parts: Sequence[tuple[Verdict, int]], place: _Place, scale: float) -> None:
    """The worst verdict at the bottom, where all bars begin; what has a count has a height."""
    width, y = place.step - (1 if place.step >= 3 else 0), place.base
    for verdict, count in parts:
        height = max(_LEAST, count * scale)
        y -= height
        element(group, "rect", class_=verdict.name.lower(), x=place.x, y=y, width=width, height=height)


def _moment(time_ns: int) -> str:
    try:
        return to_rfc3339(time_ns)[:19].replace("T", " ")
    except ValueError:  # the widest bucket may begin before the calendar does
        return "before the year 1"
