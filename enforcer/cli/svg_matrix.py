"""Who tried to reach what, as SVG: containers by targets, coloured by the worst that became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from xml.etree.ElementTree import Element

from enforcer.cli.drawing import CHAR, MARGIN, canvas, element, header, header_height, label, legend
from enforcer.cli.plain_matrix import NOTHING, TITLE
from enforcer.core.query import Query
from enforcer.core.tally_reach import Cell, Grid, Reaches
from enforcer.core.tally_words import VERDICTS, compact, head
from enforcer.core.words import escape

NARROWEST = 720
_ROOM = 34
_COLUMNS, _ROWS = 120, 200
_CELL, _ROW = 34, 24
_GROUPS = {
    "data": "data objects",
    "container": "containers",
    "network": "own networks",
    "host": "the host",
    "outside": "outside",
    "name": "names asked for",
    "socket": "sockets",
    "": "",
}


@dataclass(frozen=True)
class _Frame:
    """Where the cells stand, in pixels."""

    left: float
    top: float
    grid: Grid

    @property
    def right(self) -> float:
        """Behind the last column."""
        return self.left + _CELL * len(self.grid.targets)

    @property
    def bottom(self) -> float:
        """Under the last row."""
        return self.top + _ROW * len(self.grid.containers)


def matrix_svg(reaches: Reaches, query: Query) -> Element:
    """The picture."""
    grid = reaches.grid(_ROWS, _COLUMNS)
    lines = (*head(reaches.overview, query), *_how(grid))
    left = MARGIN + _width([escape(name) for name in grid.containers]) + 14
    width = max(NARROWEST, left + _CELL * len(grid.targets) + 70 + MARGIN)
    slope = _width([target.text for target in grid.targets])
    top = header_height(lines, width) + 64 + slope
    frame = _Frame(left, top, grid)
    root = canvas(TITLE, " ".join(lines), width, frame.bottom + 28 + MARGIN)
    header(root, TITLE, lines, width)
    legend(root, header_height(lines, width) + 18, reaches.overview.attempts)
    if grid.cells:
        _rows(root, frame)
        _columns(root, frame, top - slope - 22)
        _cells(root, frame)
    return root


def _how(grid: Grid) -> Iterator[str]:
    yield "numbers are attempts, colours the worst that became of them" if grid.cells else NOTHING


def _width(names: list[str]) -> float:
    return CHAR * min(_ROOM, max(map(len, names), default=0))


def _rows(root: Element, frame: _Frame) -> None:
    sums = frame.grid.row_sums()
    for number, name in enumerate(frame.grid.containers):
        y, middle = frame.top + _ROW * number, frame.top + _ROW * number + _ROW / 2 + 4
        if number % 2 == 0:
            element(root, "rect", class_="stripe", x=MARGIN - 8, y=y, width=frame.right + 78 - MARGIN, height=_ROW)
        label(root, escape(name), _ROOM, class_="ink name end", x=frame.left - 10, y=middle)
        element(root, "text", f"{sums[name].attempts:,}", class_="ink number end", x=frame.right + 64, y=middle)
    element(root, "text", "attempts", class_="dim end", x=frame.right + 64, y=frame.top - 10)


def _columns(root: Element, frame: _Frame, y: float) -> None:
    """Names upright over their columns, sums beneath, and what sort of target they are over all."""
    sums = frame.grid.column_sums()
    for number, target in enumerate(frame.grid.targets):
        x = frame.left + _CELL * (number + 0.5)
        turned = f"rotate(-90 {x + 4:.1f} {frame.top - 10:.1f})"
        label(root, target.text, _ROOM, class_="ink name", x=x + 4, y=frame.top - 10, transform=turned)
        element(root, "text", compact(sums[target].attempts), class_="dim number middle", x=x, y=frame.bottom + 18)
    first = 0
    for group, targets in groupby(frame.grid.targets, key=lambda target: target.group):
        x, room = frame.left + _CELL * first, _CELL * (count := len(list(targets)))
        first += count
        element(root, "line", class_="rule", x1=x, x2=x, y1=y - 10, y2=frame.bottom + 4)
        if CHAR * len(_GROUPS[group]) < room:  # the targets say it themselves where there is no room
            element(root, "text", _GROUPS[group], class_="dim", x=x + 5, y=y)
    element(root, "line", class_="rule", x1=frame.right, x2=frame.right, y1=y - 10, y2=frame.bottom + 4)
    element(root, "line", class_="edge", x1=frame.left, x2=frame.right, y1=frame.top, y2=frame.top)


def _cells(root: Element, frame: _Frame) -> None:
    for row, name in enumerate(frame.grid.containers):
        for column, target in enumerate(frame.grid.targets):
            if cell := frame.grid.cells.get((name, target)):
                said = f"{escape(name)}, {target.text}: {_said(cell)}"
                _cell(root, cell, said, frame.left + _CELL * column, frame.top + _ROW * row)


def _cell(root: Element, cell: Cell, said: str, x: float, y: float) -> None:
    worst, attempts = cell.weight
    word, group = worst.name.lower(), element(root, "g")
    element(group, "title", said)
    element(group, "rect", class_=word, x=x + 1, y=y + 1, width=_CELL - 2, height=_ROW - 2, rx=2)
    element(group, "text", compact(attempts), class_=f"on-{word} number middle", x=x + _CELL / 2, y=y + _ROW / 2 + 4)


def _said(cell: Cell) -> str:
    return ", ".join(f"{cell.attempts[v]:,} {v.name.lower()}" for v in VERDICTS if cell.attempts[v])
