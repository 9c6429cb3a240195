"""``enforcer log``: what is in the journal, filtered, and what comes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from enforcer import settings
from enforcer.cli.ondemand import OnDemand
from enforcer.cli.render import Columns, emit, format_option
from enforcer.core.event import Event, Notice
from enforcer.core.model import Verdict
from enforcer.core.query import KINDS, Query
from enforcer.core.timestamp import moment, to_rfc3339
from enforcer.core.words import escape, tried_words
from enforcer.edges.ecs import encode
from enforcer.edges.segments import follow, read

LOOK_S = 0.1
"""How often ``--follow`` looks for new records."""

_TIMELINE = (("TIME", 24), ("CONTAINER", 24), ("VERDICT", 8), ("BY", 10), ("RULE", 16), ("WHAT", 0))


def time_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A time on the command line, as ns since 1970. Raises click's usage error for what is no time."""
    try:
        return None if value is None else moment(value, now_ns=time.time_ns())
    except ValueError as e:
        hint = "write 10m, 2h, 1d, 2025-11-18 or 2025-11-18T02:00:00Z"
        raise click.BadParameter(f"{value!r} is no time: {hint}") from e


COMMANDS: dict[str, str] = {}
"""What else can be asked of the event log."""


@click.group("log", cls=OnDemand, table=COMMANDS, invoke_without_command=True)
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    default=settings.JOURNAL,
    show_default=True,
    help="Directory of the event log, or one file of it.",
)
@click.option(
    "--since", metavar="TIME", callback=time_of, help="From this time on: 10m, 2h, 1d ago, or an ISO 8601 time (UTC)."
)
@click.option("--until", metavar="TIME", callback=time_of, help="Before this time.")
@click.option("--container", "containers", multiple=True, help="Name of the container, or a glob. Repeatable.")
@click.option(
    "--object",
    "objects",
    multiple=True,
    help="Data object (NAME or KIND:NAME), or destination (address, network or container); globs. Repeatable.",
)
@click.option(
    "--verdict",
    "verdicts",
    multiple=True,
    type=click.Choice([v.name.lower() for v in Verdict]),
    help="What became of it. Repeatable.",
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="What it is about. Repeatable.")
@click.option("--follow", "-f", "following", is_flag=True, help="Go on with what comes, until interrupted.")
@format_option
@click.pass_context
def log_group(  # noqa: PLR0913 -- one parameter for each option is how click hands them over
    ctx: click.Context,
    *,
    journal: Path,
    since: int | None,
    until: int | None,
    containers: tuple[str, ...],
    objects: tuple[str, ...],
    verdicts: tuple[str, ...],
    kinds: tuple[str, ...],
    following: bool,
    format_: str,
) -> None:
    """Show the recorded events, oldest first: violations, and what the agent did.

    --format json prints each record on a line of its own, as it is in the journal (Elastic Common Schema).

    Exit status: 0, whatever was found; 2 no such journal; 4 the journal cannot be read.
    """
    if ctx.invoked_subcommand:
        return
    query = Query(since, until, containers, objects, tuple(Verdict[v.upper()] for v in verdicts), kinds)
    records = follow(journal, wait=_look_again) if following else read([journal])
    found = (item for item in records if query.matches(item))
    with suppress(KeyboardInterrupt):
        emit(timeline(found) if format_ == "table" else map(document, found), flush=following)


def timeline(items: Iterable[Event | Notice]) -> Iterator[str]:
    """The lines of a table with one row for each record, made one by one. Without records there are none."""
    columns = Columns(*_TIMELINE)
    for number, item in enumerate(items):
        if number == 0:
            yield columns.head
        yield columns.row(_cells(item))


def document(item: Event | Notice) -> str:
    """The record as the journal holds it: one line of JSON."""
    return encode(item, item.sequence).decode().removesuffix("\n")


def short_time(time_ns: int) -> str:
    """To the millisecond, for people."""
    return f"{to_rfc3339(time_ns)[:23]}Z"


def _cells(item: Event | Notice) -> tuple[str, ...]:
    at = short_time(item.time_ns)
    if isinstance(item, Notice):
        return at, escape(str(item.fields.get("container", "-"))), "-", "agent", "-", escape(item.message)
    rule = escape(", ".join(item.rule)) or "-"
    who = escape(item.who.name or item.who.id)
    return at, who, item.verdict.name.lower(), item.mechanism.name.lower(), rule, tried_words(item)


def _look_again() -> bool:
    time.sleep(LOOK_S)
    return True
