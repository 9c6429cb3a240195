"""Records as CSV (RFC 4180): UTF-8, a line of names first, lines that end in CR LF. ``core.spreadsheet`` says what is in a cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from enforcer.core.event import Event, Notice
from enforcer.core.flat import COLUMNS, row
from enforcer.core.spreadsheet import cells


def write_csv(items: Iterable[Event | Notice], file: BinaryIO) -> int:
    """Write all of ``items``, one by one; how many there were. Errors of ``file`` are those of ``OSError``."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    try:
        writer, number = csv.writer(text), 0
        writer.writerow(column.name for column in COLUMNS)
        for number, item in enumerate(items, start=1):  # noqa: B007 -- how many there were
            writer.writerow(cells(row(item)))
    finally:
        text.detach()  # flushed, and the file is left open
    return number
