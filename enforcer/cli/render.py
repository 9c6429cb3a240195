"""Output for people and for programs: tables and JSON. No control character in a name reaches a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import click
from tabulate import tabulate

from enforcer.core.words import escape
from enforcer.edges.outfile import discard_output
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


def fitting(name: str, width: int) -> str:
    """A name that is too long for ``width`` characters loses its middle: both ends tell more."""
    return name if len(name) <= width else f"{name[: width - 1 - width // 2]}…{name[len(name) - width // 2 :]}"


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


class Span(NamedTuple):
    """A piece of a line; ``colour`` is one of ``COLOURS`` or none."""

    text: str
    colour: str = ""


COLOURS = {"red": "\x1b[1;31m", "yellow": "\x1b[33m", "blue": "\x1b[36m", "grey": "\x1b[2m"}
"""Of a terminal (ECMA-48, SGR). They only say again what the text says."""

_PLAIN = "\x1b[0m"


def coloured() -> bool:
    """Whether standard output is a terminal whose user has not asked for NO_COLOR (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def emit(lines: Iterable[str | Sequence[Span]], *, flush: bool = False) -> None:
    """Print each line, ``flush``: at once. A reader that went away (``| head``) ends it quietly.

    Raises ``EdgeError`` if standard output cannot be written for another reason.
    """
    out, colours = sys.stdout, coloured()
    try:
        for line in lines:
            spans = [Span(line)] if isinstance(line, str) else line
            out.write("".join(_painted(span, out.encoding, colours=colours) for span in spans) + "\n")
            if flush:
                out.flush()
        out.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as e:
        discard_output()
        raise EdgeError(f"standard output cannot be written: {e.strerror}") from e


def _painted(span: Span, encoding: str | None, *, colours: bool) -> str:
    text = "\n".join(_encodable(safe(part), encoding) for part in span.text.split("\n"))
    return f"{COLOURS[span.colour]}{text}{_PLAIN}" if colours and span.colour else text


def _encodable(text: str, encoding: str | None) -> str:
    """On a terminal that does not speak UTF-8, what it cannot show is escaped."""
    name = encoding or "ascii"
    return text if name.lower() == "utf-8" else text.encode(name, "backslashreplace").decode(name)


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
