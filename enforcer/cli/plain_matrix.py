"""Who tried to reach what, as text: columns have numbers, said beneath; what does not fit beside comes below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from enforcer.cli.plain_timeline import COLOUR_OF
from enforcer.cli.render import Span, fitting
from enforcer.core.model import Verdict
from enforcer.core.query import Query
from enforcer.core.tally_reach import Cell, Grid, Reaches, Target
from enforcer.core.tally_words import VERDICTS, compact, head
from enforcer.core.words import escape

TITLE = "Who tried to reach what"
NOTHING = "no attempt is recorded"
LETTERS = {verdict: verdict.name[0] for verdict in Verdict}
"""Of the worst that became of a cell's attempts."""

_COLUMNS = 99
_ROWS = 500
_CELL = 6
"""A number of four characters, a space and a letter."""


def matrix_lines(reaches: Reaches, query: Query, *, width: int) -> Iterator[str | Sequence[Span]]:
    """The picture for a terminal of so many columns."""
    if not reaches.overview.total:
        yield NOTHING
        return
    grid = reaches.grid(_ROWS, _COLUMNS)
    name = max(len("CONTAINER"), min(max(len(escape(n)) for n in grid.containers), width // 4))
    beside = max(1, (width - name) // (_CELL + 2))
    yield TITLE
    yield from head(reaches.overview, query)
    for first in range(0, len(grid.targets), beside):
        yield from _panel(grid, range(first, min(first + beside, len(grid.targets))), name)
    yield ""
    yield "attempts, and the worst that became of them: " + ", ".join(
        f"{LETTERS[v]} {v.name.lower()}" for v in VERDICTS
    )


def _panel(grid: Grid, columns: range, name: int) -> Iterator[str | Sequence[Span]]:
    """Some columns, the containers that tried one of them, and what the columns are."""
    targets = [grid.targets[c] for c in columns]
    yield ""
    yield "  ".join(["CONTAINER".ljust(name), *(str(c + 1).rjust(_CELL - 2).ljust(_CELL) for c in columns)]).rstrip()
    for container in grid.containers:
        if any((container, target) in grid.cells for target in targets):
            yield _row(grid, container, targets, name)
    yield ""
    for column, target in zip(columns, targets, strict=True):
        yield f"{column + 1:>4}  {target.text}"


def _row(grid: Grid, container: str, targets: Sequence[Target], name: int) -> Sequence[Span]:
    spans = [Span(fitting(escape(container), name).ljust(name))]
    for target in targets:
        cell = grid.cells.get((container, target))
        spans += [Span("  "), _span(cell) if cell else Span(".".rjust(_CELL - 2).ljust(_CELL))]
    return spans


def _span(cell: Cell) -> Span:
    worst, attempts = cell.weight
    return Span(f"{compact(attempts):>{_CELL - 2}} {LETTERS[worst]}", COLOUR_OF[worst])
