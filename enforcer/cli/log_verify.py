"""``enforcer log verify``: is the event log as it was written?"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import click

from enforcer import settings
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.verification import Verification
from enforcer.edges.chained import verify


def digest(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """A digest on the command line. Raises click's usage error for what is none."""
    if value and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise click.BadParameter("a digest is 64 characters of 0-9a-f, as this command prints it")
    return value


@click.command("verify")
@click.argument("journal", type=click.Path(path_type=Path), default=settings.JOURNAL)
@click.option(
    "--head", default="", callback=digest, help="A digest that this command printed before: is it still in the chain?"
)
@format_option
@click.pass_context
def verify_command(ctx: click.Context, *, journal: Path, head: str, format_: str) -> None:
    """Find lines of the event log that were removed, changed or reordered, by the hash chain over its batches.

    JOURNAL is a journal directory or a file of one; without it, /var/log/enforcer. The digest that is printed stands for
    everything up to the last record: note it where those who can write the journal cannot, and give it as --head later. Without
    that, whole batches missing at the very end are not found, nor is a journal that root has written anew.

    Exit status: 0 nothing is wrong; 1 something is; 2 no such journal; 4 the journal cannot be read.
    """
    found = verify(journal, wanted=head)
    emit([_table(found) if format_ == "table" else _json(found)])
    ctx.exit(1 if found.faults else 0)


def _table(found: Verification) -> str:
    faults = [(f.segment, f.line, f.sequence, f.kind, f.text) for f in found.faults]
    said = [table(("SEGMENT", "LINE", "RECORD", "FAULT", "WHAT"), faults), ""] if faults else []
    if found.more_faults:
        said.append(f"and {found.more_faults} more faults")
    if found.unchained:
        said.append(f"{found.unchained} records are of a version that wrote no chain: nothing is known of them")
    if found.wanted_at is not None:
        said.append(f"the noted digest is that of record {found.wanted_at}")
    count = len(found.faults) + found.more_faults
    said.append(
        f"{found.records} records up to number {found.last or 0}: {f'{count} faults' if count else 'nothing is wrong'}"
    )
    return "\n".join([*said, f"head {found.head or 'unknown'}"])


def _json(found: Verification) -> str:
    return json_text(
        {
            "records": found.records,
            "last": found.last or 0,
            "unchained": found.unchained,
            "head": found.head,
            "noted": found.wanted_at,
            "faults": [asdict(fault) for fault in found.faults],
            "more_faults": found.more_faults,
        }
    )
