"""Output for people and for programs: tables and JSON. No control character in a name reaches a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence

import click
from tabulate import tabulate

from enforcer.core.words import escape
from enforcer.errors import EdgeError

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, or JSON for programs.",
)
"""The option that every listing has."""


def safe(text: str) -> str:
    """``text`` with its unprintable characters escaped; what is escaped already stays as it is."""
    return text if text.isprintable() else "".join(c if c.isprintable() else escape(c) for c in text)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table with aligned columns. Every cell is made safe, so a name cannot begin a line of its own."""
    cells = [[safe(str(cell)) for cell in row] for row in rows]
    return tabulate(cells, headers=list(headers), tablefmt="simple", disable_numparse=True)


def json_text(value: object) -> str:
    """``value`` as indented JSON in plain ASCII. Sets and tuples become lists, other objects their text."""
    return json.dumps(value, indent=2, default=_plain).replace("\x7f", "\\u007f")


class Columns:
    """A table that is printed while it is made: the widths are fixed beforehand, the last column is free."""

    def __init__(self, *columns: tuple[str, int]) -> None:
        self._widths = [width for _, width in columns[:-1]]
        self.head = self.row([name for name, _ in columns])

    def row(self, cells: Sequence[object]) -> str:
        """One line. A cell that is too wide pushes the rest of its line to the right."""
        texts = [safe(str(cell)) for cell in cells]
        aligned = (text.ljust(width) for text, width in zip(texts, self._widths, strict=False))
        return "  ".join([*aligned, texts[-1]]).rstrip()


def emit(lines: Iterable[str], *, flush: bool = False) -> None:
    """Print each line, ``flush``: at once. A reader that went away (``| head``) ends it quietly.

    Raises ``EdgeError`` if standard output cannot be written for another reason.
    """
    out = sys.stdout
    try:
        for line in lines:
            out.write("\n".join(_encodable(safe(part), out.encoding) for part in line.split("\n")) + "\n")
            if flush:
                out.flush()
        out.flush()
    except BrokenPipeError:
        _discard()
    except OSError as e:
        _discard()
        raise EdgeError(f"standard output cannot be written: {e.strerror}") from e


def _encodable(text: str, encoding: str | None) -> str:
    """On a terminal that does not speak UTF-8, what it cannot show is escaped."""
    name = encoding or "ascii"
    return text if name.lower() == "utf-8" else text.encode(name, "backslashreplace").decode(name)


def _discard() -> None:
    """What is still buffered goes nowhere: else the interpreter would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
