"""Cells of a CSV file (RFC 4180) that no spreadsheet takes for a formula, and back.

A container chooses file names, and may choose one that a spreadsheet would calculate: ``=HYPERLINK(...)``. So a character
that begins a formula is written as the journal writes a control character, ``\\x3d`` for ``=``, wherever a cell may begin:
at the start of a text, and after what another program could take for the end of a cell (a comma, semicolon, bar, quote or
space). Every text of a cell is so given back by ``core.words.unescape``, as in the journal. A list is a JSON array of such texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache

from enforcer.core.flat import COLUMNS, Type, Value
from enforcer.core.timestamp import to_rfc3339

_BEGINS = re.compile(r"""(?:^|(?<=[\s,;|"']))[=+\-@\uff1d\uff0b\uff0d\uff20]""")
"""The characters are those of OWASP's "CSV Injection", with their full-width forms."""


def cells(row: Sequence[Value]) -> list[str]:
    """A row of ``core.flat`` as text. ``None`` is an empty cell, a list never is."""
    return [_cell(column.type, value) for column, value in zip(COLUMNS, row, strict=True)]


@lru_cache(maxsize=4096)  # the same names stand in many rows
def guarded(text: str) -> str:
    """An escaped text that begins no formula. ``unescape`` makes the same of it as of ``text``."""
    return _BEGINS.sub(lambda found: _escaped(found[0]), text)


def _cell(type_: Type, value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return _list(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return to_rfc3339(value) if type_ is Type.TIME else str(value)
    return guarded(value)


@lru_cache(maxsize=4096)
def _list(texts: tuple[str, ...]) -> str:
    return json.dumps([guarded(text) for text in texts], ensure_ascii=False)


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 0x80 else f"\\u{ord(character):04x}"
