"""What a picture of many records says in words: its head, the marks on its axis, its numbers."""

from __future__ import annotations

from collections.abc import Iterable

from enforcer.core.model import Verdict
from enforcer.core.query import Query
from enforcer.core.tally import Overview
from enforcer.core.tally_time import ORIGIN, WIDTHS
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import escape

VERDICTS = tuple(sorted(Verdict, reverse=True))
"""The worst first."""

SHORT_HASH = 12
"""How much of a policy's hash is shown, as everywhere."""

EARLIEST, LATEST = -62_135_596_800_000_000_000, 253_402_300_799_999_999_999
"""The years 1 to 9999 in ns since 1970: the widest buckets begin before them."""

_SECOND = 1_000_000_000
_UNITS = ((86400 * _SECOND, "d"), (3600 * _SECOND, "h"), (60 * _SECOND, "min"), (_SECOND, "s"), (1_000_000, "ms"))
_STEPS = ((1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1000, "k"))


def head(overview: Overview, query: Query) -> tuple[str, ...]:
    """Lines for under the title: when, how many, under which policies, and what was left out. Escaped."""
    lines = (range_words(overview), totals_words(overview), policy_words(overview), query_words(query))
    return tuple(line for line in lines if line)


def range_words(overview: Overview) -> str:
    """``2025-11-18 02:00:00 to 2025-11-18 02:12:41 UTC``"""
    if overview.first is None or overview.last is None:
        return ""
    if overview.first == overview.last:
        return f"{_second(overview.first)} UTC"
    return f"{_second(overview.first)} to {_second(overview.last)} UTC"


def totals_words(overview: Overview) -> str:
    """``1,219 attempts: 1,204 killed, 15 denied``"""
    parts = [f"{overview.attempts[v]:,} {v.name.lower()}" for v in VERDICTS if overview.attempts[v]]
    attempts = "attempt" if overview.total == 1 else "attempts"
    return f"{overview.total:,} {attempts}: {', '.join(parts)}" if parts else ""


def policy_words(overview: Overview) -> str:
    """``policies e6d418522e8b, 0a1b2c3d4e5f``"""
    hashes = [escape(h[:SHORT_HASH]) for h in overview.policies]
    more = " and more" if overview.more_policies else ""
    return f"{'policy' if len(hashes) == 1 else 'policies'} {', '.join(hashes)}{more}" if hashes else ""


def query_words(query: Query) -> str:
    """``only container mcp-*; verdict denied or killed``: a picture of a part must not be taken for the whole."""
    parts = [
        f"since {_second(query.since)}" if query.since is not None else "",
        f"until {_second(query.until)}" if query.until is not None else "",
        _alternatives("container", query.containers),
        _alternatives("object", query.objects),
        _alternatives("verdict", (v.name.lower() for v in query.verdicts)),
        _alternatives("kind", query.kinds),
        _alternatives("mechanism", (m.name.lower() for m in query.mechanisms)),
        _alternatives("hook", (h.name.lower() for h in query.hooks)),
        _alternatives("rule", query.rules),
        _alternatives("process", query.processes),
    ]
    said = "; ".join(filter(None, parts))
    return f"only {said}" if said else ""


def width_words(width_ns: int) -> str:
    """``10 s``, ``1 min``, ``7 d``"""
    size, unit = next((u for u in _UNITS if width_ns % u[0] == 0), (1, "ns"))
    return f"{width_ns // size} {unit}"


def compact(number: int) -> str:
    """At most four characters below a thousand trillions, rounded down: ``999``, ``1.2k``, ``34k``, ``5.6M``."""
    for size, unit in _STEPS:
        if number >= size:
            whole, tenth = number // size, number % size * 10 // size
            return f"{whole}.{tenth}{unit}" if whole < 10 and tenth else f"{whole}{unit}"
    return str(number)


def ticks(start: int, end: int, most: int) -> tuple[tuple[int, str], ...]:
    """At most so many marks from ``start`` to before ``end``, in ns since 1970, each with its label in UTC."""
    start, end = max(start, EARLIEST), min(end, LATEST)
    marks = next(m for m in (_multiples(start, end, step) for step in WIDTHS) if len(m) <= most)
    days = to_rfc3339(start)[:10] != to_rfc3339(max(start, end - 1))[:10]
    return tuple((time_ns, _label(time_ns, marks.step, days=days)) for time_ns in marks)


def _multiples(start: int, end: int, step: int) -> range:
    first = -(-(start - ORIGIN) // step)
    return range(ORIGIN + first * step, end, step)


def _label(time_ns: int, step: int, *, days: bool) -> str:
    text = to_rfc3339(time_ns)
    if step >= _UNITS[0][0]:
        return text[:10]
    clock = text[11:23] if step < _SECOND else text[11:19] if step < 60 * _SECOND else text[11:16]
    return f"{text[5:10]} {clock}" if days else clock


def _second(time_ns: int) -> str:
    return to_rfc3339(time_ns)[:19].replace("T", " ")


def _alternatives(what: str, values: Iterable[str]) -> str:
    said = " or ".join(map(escape, values))
    return f"{what} {said}" if said else ""
