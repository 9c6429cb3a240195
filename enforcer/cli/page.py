"""A picture as an HTML page, with all its numbers in a table beneath. The page asks for nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

from enforcer.cli.drawing import element
from enforcer.cli.plain_matrix import TITLE as MATRIX
from enforcer.cli.plain_timeline import TITLE as TIMELINE
from enforcer.cli.svg_matrix import matrix_svg
from enforcer.cli.svg_timeline import timeline_svg
from enforcer.core.model import Verdict
from enforcer.core.query import Query
from enforcer.core.tally_reach import Reaches
from enforcer.core.tally_time import Timeline
from enforcer.core.tally_words import VERDICTS
from enforcer.core.words import escape

_EVERYTHING = 1 << 30
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark}
body{margin:0;padding:16px;background:#fff;color:#1b1f24;font:14px system-ui,"Segoe UI","Noto Sans","DejaVu Sans",sans-serif}
figure{margin:0;overflow-x:auto}
table{border-collapse:collapse;margin:8px 24px 24px}
th,td{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid #d5dae1;overflow-wrap:anywhere}
td.count{text-align:right;font-variant-numeric:tabular-nums}th.count{text-align:right}
td.text{font-family:"DejaVu Sans Mono","Noto Sans Mono",Consolas,Menlo,monospace;font-size:13px}
@media (prefers-color-scheme:dark){body{background:#14181d;color:#e6e9ed}th,td{border-color:#2f3742}}
"""


def timeline_page(timeline: Timeline, query: Query) -> str:
    """The timeline, and a row for each container: attempts by verdict."""
    bars = timeline.chart(2, _EVERYTHING).rows
    rows = ([escape(b.container), *_counts({v: sum(counts) for v, counts in b.counts.items()})] for b in bars)
    return _page(TIMELINE, timeline_svg(timeline, query), ("container", *_words()), rows)


def matrix_page(reaches: Reaches, query: Query) -> str:
    """The matrix, and a row for each pair of a container and a target: attempts by verdict."""
    grid = reaches.grid(_EVERYTHING, _EVERYTHING)
    pairs = [(c, t) for c in grid.containers for t in grid.targets if (c, t) in grid.cells]
    rows = ([escape(c), t.text, *_counts(grid.cells[c, t].attempts)] for c, t in pairs)
    return _page(MATRIX, matrix_svg(reaches, query), ("container", "target", *_words()), rows)


def _page(title: str, picture: Element, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    root = Element("html", {"lang": "en"})
    top = element(root, "head")
    element(top, "meta", charset="utf-8")
    element(top, "meta", http_equiv="Content-Security-Policy", content=_POLICY)
    element(top, "meta", name="viewport", content="width=device-width")
    element(top, "title", title)
    element(top, "style", _STYLE)
    body = element(root, "body")
    element(body, "figure").append(picture)
    table = element(body, "table")
    line = element(element(table, "thead"), "tr")
    texts = len(heads) - len(VERDICTS)
    for number, word in enumerate(heads):
        element(line, "th", word, class_="text" if number < texts else "count")
    whole = element(table, "tbody")
    for row in rows:
        line = element(whole, "tr")
        for number, text in enumerate(row):
            element(line, "td", text, class_="text" if number < texts else "count")
    return f"<!DOCTYPE html>\n{tostring(root, encoding='unicode', method='html')}\n"


def _words() -> tuple[str, ...]:
    return tuple(verdict.name.lower() for verdict in VERDICTS)


def _counts(found: dict[Verdict, int]) -> list[str]:
    return [f"{found[v]:,}" if found.get(v) else "" for v in VERDICTS]
