"""``enforcer export``: what is in the journal, for other programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import click

from enforcer.cli.filters import filters, found, refuse_journal
from enforcer.core.event import Event, Notice
from enforcer.core.query import Query
from enforcer.edges.csvfile import write_csv
from enforcer.edges.outfile import STANDARD, outfile
from enforcer.edges.parquet import write_parquet
from enforcer.edges.timesketch import SUFFIX, write_timesketch
from enforcer.errors import UsageError

FORMATS: dict[str, Callable[[Iterable[Event | Notice], BinaryIO], int]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "timesketch": write_timesketch,
}


@click.command("export")
@filters
@click.option("--format", "format_", type=click.Choice(list(FORMATS)), required=True, help="What OUT is to be.")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, allow_dash=True))
def export_command(*, journal: Path, query: Query, format_: str, out: Path) -> None:
    """Write the recorded events to OUT, for other programs; - is standard output.

    OUT is there whole or not at all, and for its owner alone (mode 0600). parquet and csv have a row for each record and a
    column for each fact; parquet needs the extra `export` (pip install 'enforcer[export]'), and has for a time before 1677 or after
    2262, which its nanoseconds do not reach, the nearest that they do. In csv what a spreadsheet would
    take for the beginning of a formula is written as \\xNN, as the journal writes control characters. timesketch is JSON
    Lines as Timesketch imports them; OUT must end in .jsonl.

    Exit status: 0, whatever was found; 2 no such journal, or OUT cannot be meant; 3 pyarrow is missing; 4 the journal cannot
    be read or OUT not be written.
    """
    if format_ == "timesketch" and out != STANDARD and out.suffix != SUFFIX:
        raise UsageError(f"{out}: Timesketch takes only files whose names end in {SUFFIX}")
    if format_ == "parquet" and out == STANDARD and sys.stdout.isatty():
        raise UsageError("Parquet is no text for a terminal: name a file, or send it through a pipe")
    refuse_journal(out, journal)
    with outfile(out) as file:
        number = FORMATS[format_](found(journal, query), file)
    if out != STANDARD:
        click.echo(f"{number} records to {out}", err=True)
