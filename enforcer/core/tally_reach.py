"""Who tried to reach what: attempts by container and target, counted while the journal is read. Constant memory.

One container could name a million destinations and so push another's out of the picture. Hence each container has
places of its own: what it tries after the first ``TARGETS`` targets is counted under what they have in common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice
from enforcer.core.model import Verdict
from enforcer.core.tally import OTHERS, Names, Overview, Weight, weight
from enforcer.core.words import escape, protocol_word

TARGETS = 64
"""Targets of one container that are told apart."""

OTHER_TARGETS = "other targets"
"""What the columns are called for which a picture has no room."""

_Key = TypeVar("_Key")


class Target(NamedTuple):
    """A column: data objects come first, then destinations. ``text`` is escaped, as is all that a container chose."""

    group: str
    text: str


_REST = Target("", OTHER_TARGETS)
_WIDE = {
    "container": "other containers, other ports",
    "network": "other addresses on its networks",
    "host": "other ports of the host",
    "outside": "other addresses outside",
    "name": "other names",
    "socket": "other sockets",
}
_GROUPS = ("data", *_WIDE, "")


@dataclass
class Cell:
    """What one container tried with one target."""

    attempts: Counter[Verdict] = field(default_factory=Counter)

    @property
    def weight(self) -> Weight:
        """The worst that became of it, and how often it was tried."""
        return weight(self.attempts)

    def join(self, other: Cell) -> None:
        """Take another cell's attempts in."""
        self.attempts.update(other.attempts)


@dataclass(frozen=True)
class Grid:
    """``cells`` by container and target; those that were never tried are missing."""

    containers: tuple[str, ...]
    targets: tuple[Target, ...]
    cells: Mapping[tuple[str, Target], Cell]

    def row_sums(self) -> dict[str, Weight]:
        """By container."""
        return _weights((name, cell) for (name, _), cell in self.cells.items())

    def column_sums(self) -> dict[Target, Weight]:
        """By target."""
        return _weights((target, cell) for (_, target), cell in self.cells.items())


class Reaches:
    """Fed record by record; ``grid`` tells what it comes to. Notices are passed over."""

    def __init__(self) -> None:
        self.overview = Overview()
        self._names = Names()
        self._cells: defaultdict[str, dict[Target, Cell]] = defaultdict(dict)

    def add(self, item: Event | Notice) -> None:
        """Count one record."""
        if isinstance(item, Notice):
            return
        self.overview.add(item)
        cells = self._cells[self._names.of(item.who)]
        target = target_of(item.attempt)
        if target not in cells and len(cells) >= TARGETS:
            target = wide_target_of(item.attempt)
        cells.setdefault(target, Cell()).attempts[item.verdict] += item.count

    def grid(self, rows: int, columns: int) -> Grid:
        """At most so many rows and columns, two of each at least: the worst and then the most frequent; the rest is one."""
        cells = {(name, target): cell for name, row in self._cells.items() for target, cell in row.items()}
        whole = Grid((), (), cells)
        names, targets = whole.row_sums(), whole.column_sums()
        kept_names = _heaviest({n: w for n, w in names.items() if n != OTHERS}, rows - (OTHERS in names))
        kept = _heaviest(targets, columns)
        joined: defaultdict[tuple[str, Target], Cell] = defaultdict(Cell)
        for (name, target), cell in cells.items():
            joined[name if name in kept_names else OTHERS, target if target in kept else _REST].join(cell)
        return Grid(
            containers=tuple(sorted({name for name, _ in joined}, key=lambda name: (name == OTHERS, name))),
            targets=tuple(sorted({target for _, target in joined}, key=_rank)),
            cells=dict(joined),
        )


def target_of(attempt: FileAttempt | NetAttempt) -> Target:
    """What was tried to reach: ``volume mcp-01-data``, ``203.0.113.10:443/tcp``, ``container database:5432/tcp``."""
    if isinstance(attempt, FileAttempt):
        return Target("data", f"{attempt.object.kind} {escape(attempt.object.name)}")
    if attempt.resolver:
        return Target("name", f"name {escape(attempt.name) or '(unreadable)'}")
    if attempt.socket:
        return Target("socket", f"{escape(attempt.socket)} socket")
    protocol = protocol_word(attempt.protocol)
    place = f":{attempt.port}/{protocol}" if attempt.port else f" {protocol}"
    if attempt.peer:
        return Target("container", f"container {escape(attempt.peer)}{place}")
    address = escape(f"[{attempt.address}]" if ":" in attempt.address else attempt.address)
    if attempt.host:
        return Target("host", f"host {address}{place}")
    return Target("outside" if attempt.external else "network", f"{address}{place}")


def wide_target_of(attempt: FileAttempt | NetAttempt) -> Target:
    """What all targets of this sort have in common, in few words that no container chooses."""
    if isinstance(attempt, FileAttempt):
        return Target("data", f"other {attempt.object.kind} objects")
    group = target_of(attempt).group
    return Target(group, _WIDE[group])


def _weights(found: Iterable[tuple[_Key, Cell]]) -> dict[_Key, Weight]:
    sums: defaultdict[_Key, Cell] = defaultdict(Cell)
    for key, cell in found:
        sums[key].join(cell)
    return {key: cell.weight for key, cell in sums.items()}


def _heaviest(weights: Mapping[_Key, Weight], most: int) -> set[_Key]:
    """All, or, so that the rest has a place, one fewer than ``most`` of them."""
    if len(weights) <= most:
        return set(weights)
    return set(sorted(weights, key=lambda key: weights[key], reverse=True)[: most - 1])


def _rank(target: Target) -> tuple[bool, int, str]:
    return target == _REST, _GROUPS.index(target.group), target.text
