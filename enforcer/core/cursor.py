"""Walks a ``Document`` and collects every mistake on the way, each with its place and its path.

A cursor's methods return ``None`` for what they have refused: the caller skips it and goes on to the next mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from enforcer.core.document import Broken, Items, Mark, Node, Scalar, Table
from enforcer.errors import Problem

KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "policy": ("version", "mode", "containers", "data", "network", "posture"),
        "selector": ("name", "image", "label", "except"),
        "data section": ("protected", "rules"),
        "data rule": ("who", "read-write", "read-only", "mode"),
        "data object": ("volume", "path", "layer"),
        "network section": ("internal", "rules"),
        "network rule": ("who", "connect", "sockets", "mode"),
        "destination": ("network", "container", "cidr", "host", "except", "ports"),
        "posture section": ("rules",),
        "posture rule": (
            *("who", "names", "count", "user", "networks", "volumes"),
            *("limits", "health", "capabilities", "publish", "accept"),
        ),
        "limits": ("memory", "cpus", "pids"),
    }
)
"""Every key of the language, by the mapping that it stands in. ``policies/README.md`` documents each."""

_SHOWN = 60
_LISTED = 8


def shown(text: str) -> str:
    """``text`` fit for one line of a message: control characters escaped, cut after 60 characters."""
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name in ``known`` that ``word`` is most likely a slip for."""
    return next(iter(get_close_matches(word, sorted(known), n=1)), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """The second half of "unknown …": the nearest known name, or what there is to choose from."""
    names = sorted(known)
    if near := nearest(word, names):
        return f'did you mean "{near}"?'
    more = ", …" if len(names) > _LISTED else ""
    return f"known here: {', '.join(names[:_LISTED])}{more}" if names else "none is declared"


def _named(node: Node) -> str:
    if isinstance(node, Items):
        return "a list"
    return "a mapping" if isinstance(node, Table) else "text"


@dataclass(frozen=True)
class Cursor:
    """One node of a document, with its ``path`` (``data.rules[0].who``) and the list that mistakes go into."""

    node: Node
    path: str
    found: list[Problem]

    def refuse(self, reason: str, *, at: Mark | None = None) -> None:
        """Note a mistake at this node, or at another place that belongs to it."""
        mark = at or self.node.mark
        self.found.append(Problem(mark.file, mark.line, mark.column, self.path or "policy", reason))

    def text(self) -> str | None:
        """The node as text. Refused: a list, a mapping, nothing, unprintable characters."""
        node = self.node
        if not isinstance(node, Scalar):
            self._wrong("text", hint=' (quote text that begins with "{" or "[")')
            return None
        if node.empty:
            self._wrong("text")
            return None
        if not node.text.isprintable():
            self.refuse(f'"{shown(node.text)}" holds an unprintable character; write it without')
            return None
        return node.text

    def items(self, *, start: int = 0) -> list[Cursor] | None:
        """The elements of a list, numbered from ``start`` (a list may go on in another file)."""
        if not isinstance(self.node, Items):
            self._wrong("a list")
            return None
        return [Cursor(n, f"{self.path}[{i}]", self.found) for i, n in enumerate(self.node.nodes, start)]

    def many(self) -> list[Cursor] | None:
        """The elements of a list, or the one text that stands in its place."""
        if isinstance(self.node, Scalar) and not self.node.empty:
            return [self]
        return self.items()

    def entries(self) -> dict[str, Cursor] | None:
        """The values of a mapping with free keys. A key given twice is refused; the first one counts."""
        if not isinstance(self.node, Table):
            self._wrong("a mapping")
            return None
        first: dict[str, Cursor] = {}
        lines: dict[str, int] = {}
        for key, value in self.node.entries:
            child = Cursor(value, self._below(key.text), self.found)
            if key.text in first:
                child.refuse(f"is given twice, first in line {lines[key.text]}; keep one", at=key.mark)
                continue
            first[key.text] = child
            lines[key.text] = key.mark.line
        return first

    def fields(self, what: str, language: Mapping[str, tuple[str, ...]] = KEYS) -> Fields | None:
        """The values of a mapping whose keys are ``language[what]``. Unknown keys are refused, the nearest known named."""
        entries = self.entries()
        if entries is None or not isinstance(self.node, Table):
            return None
        meant, known = set(), language[what]
        for key, value in self.node.entries:
            if key.text not in known:
                hint = suggestion(key.text, known)
                Cursor(value, self.path, self.found).refuse(f'unknown key "{shown(key.text)}"; {hint}', at=key.mark)
                meant.add(nearest(key.text, known))
        return Fields(self, {k: c for k, c in entries.items() if k in known}, frozenset(m for m in meant if m))

    def _below(self, key: str) -> str:
        return f"{self.path}.{shown(key)}" if self.path else shown(key)

    def _wrong(self, wanted: str, *, hint: str = "") -> None:
        if isinstance(self.node, Broken):
            return
        if isinstance(self.node, Scalar) and self.node.empty:
            self.refuse(f"is empty; give {wanted} or remove it")
        else:
            self.refuse(f"must be {wanted}, is {_named(self.node)}{hint}")


@dataclass(frozen=True)
class Fields:
    """The known fields of one mapping. ``meant`` are those that a misspelt key stood for: they are not missed again."""

    cursor: Cursor
    known: Mapping[str, Cursor]
    meant: frozenset[str] = field(default_factory=frozenset)

    def get(self, key: str) -> Cursor | None:
        """The field, or ``None`` where it is not given."""
        return self.known.get(key)

    def need(self, key: str, *, hint: str) -> Cursor | None:
        """The field; its absence is refused, with ``hint`` saying what to write."""
        if key not in self.known and key not in self.meant:
            self.cursor.refuse(f'lacks "{key}"; {hint}')
        return self.known.get(key)

    def choose(self, keys: tuple[str, ...]) -> tuple[str, Cursor] | None:
        """The one field of ``keys`` that is given. None of them, or more than one, is refused."""
        given = [k for k in keys if k in self.known]
        if len(given) == 1:
            return given[0], self.known[given[0]]
        if given:
            self.cursor.refuse(f"has {' and '.join(given)} together; give exactly one of {', '.join(keys)}")
        elif not self.meant.intersection(keys):
            self.cursor.refuse(f"names nothing; give exactly one of {', '.join(keys)}")
        return None
