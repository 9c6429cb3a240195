"""The numbers behind a picture as JSON types, for programs. Names are as they were recorded, not escaped."""

from __future__ import annotations

from enforcer.core.model import Verdict
from enforcer.core.tally import Overview
from enforcer.core.tally_reach import Cell, Reaches
from enforcer.core.tally_time import Timeline
from enforcer.core.tally_words import EARLIEST, VERDICTS
from enforcer.core.timestamp import to_rfc3339

_EVERYTHING = 1 << 30


def plain_timeline(timeline: Timeline) -> dict[str, object]:
    """``counts`` by verdict: attempts in each bucket of ``bucket_ns`` from ``start``."""
    chart = timeline.chart(_EVERYTHING, _EVERYTHING)
    return {
        **_overview(timeline.overview),
        "start": to_rfc3339(max(EARLIEST, chart.start)) if chart.buckets else None,
        "bucket_ns": chart.width,
        "rows": [
            {
                "container": bars.container,
                "counts": {_word(v): list(bars.counts[v]) for v in VERDICTS if v in bars.counts},
            }
            for bars in chart.rows
        ],
    }


def plain_matrix(reaches: Reaches) -> dict[str, object]:
    """``cells``: attempts by verdict for each container and target that were tried; targets are escaped text."""
    grid = reaches.grid(_EVERYTHING, _EVERYTHING)
    pairs = [(c, t) for c in grid.containers for t in grid.targets if (c, t) in grid.cells]
    return {
        **_overview(reaches.overview),
        "cells": [
            {"container": c, "target": t.text, "group": t.group or "other", **_cell(grid.cells[c, t])} for c, t in pairs
        ],
    }


def _overview(overview: Overview) -> dict[str, object]:
    return {
        "first": None if overview.first is None else to_rfc3339(overview.first),
        "last": None if overview.last is None else to_rfc3339(overview.last),
        "attempts": {_word(v): overview.attempts[v] for v in VERDICTS if overview.attempts[v]},
        "policies": list(overview.policies),
    }


def _cell(cell: Cell) -> dict[str, object]:
    return {
        "attempts": {_word(v): cell.attempts[v] for v in VERDICTS if cell.attempts[v]},
        "worst": _word(cell.weight.worst),
    }


def _word(verdict: Verdict) -> str:
    return verdict.name.lower()
