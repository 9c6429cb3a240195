"""A policy's text as a tree that still knows where each word stood. No meaning yet: ``core.parse`` gives it that.

Scalars keep the text that was written. To YAML 1.1 ``no`` is a boolean and ``22:22`` is 1342; here they stay words.
"""

from __future__ import annotations

from dataclasses import dataclass

from enforcer.errors import Problem

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, order=True)
class Mark:
    """Where a node begins: ``file`` as the operator named it, ``line`` and ``column`` counted from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True)
class Scalar:
    """One word or text, as written. ``plain``: it stood without quotes."""

    text: str
    mark: Mark
    plain: bool = True

    @property
    def empty(self) -> bool:
        """Whether YAML means "nothing" by it: an empty or null word without quotes."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True)
class Items:
    """A list."""

    nodes: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True)
class Table:
    """A mapping, in the order of the file; a key that is given twice is here twice."""

    entries: tuple[tuple[Scalar, Node], ...]
    mark: Mark


@dataclass(frozen=True)
class Broken:
    """A node that the reader has refused already: nothing more is said about it."""

    mark: Mark


Node = Scalar | Items | Table | Broken


@dataclass(frozen=True)
class Document:
    """What one ``--policy`` argument holds: a root per file, in the order in which they are merged.

    ``hash`` is the SHA-256 (hex) over the files' bytes one after another, names left out: ``cat FILES | sha256sum``.
    ``problems`` are mistakes that the reader saw and that did not hinder it from reading on.
    """

    roots: tuple[Node, ...]
    hash: str = ""
    problems: tuple[Problem, ...] = ()
