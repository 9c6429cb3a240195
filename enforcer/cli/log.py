"""``enforcer log``: what is in the journal, filtered, and what comes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click
from click.core import ParameterSource

from enforcer.cli.filters import filters, found
from enforcer.cli.ondemand import OnDemand
from enforcer.cli.render import Columns, emit, format_option, json_text, table
from enforcer.core.event import Event, Notice
from enforcer.core.query import Query, Tally, Total
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import escape, tried_words
from enforcer.edges.ecs import encode
from enforcer.edges.segments import follow

LOOK_S = 0.1
"""How often ``--follow`` looks for new records."""

COMMANDS = {
    "show": "enforcer.cli.log_show:show_command",
    "timeline": "enforcer.cli.log_pictures:timeline_command",
    "matrix": "enforcer.cli.log_pictures:matrix_command",
    "verify": "enforcer.cli.log_verify:verify_command",
    "schema": "enforcer.cli.log_schema:schema_command",
}
"""What else can be asked of the event log."""

_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
_TIMELINE = (("TIME", 24), ("CONTAINER", 24), ("VERDICT", 8), ("BY", 10), ("RULE", 16), ("WHAT", 0))


@click.group("log", cls=OnDemand, table=COMMANDS, invoke_without_command=True, subcommand_metavar="[COMMAND]")
@filters
@click.option("--follow", "-f", "following", is_flag=True, help="Go on with what comes, until interrupted.")
@click.option("--count", "counting", is_flag=True, help="What the records come to: attempts by container and verdict.")
@format_option
@click.pass_context
def log_group(  # noqa: PLR0913 -- one parameter for each option is how click hands them over
    ctx: click.Context, *, journal: Path, query: Query, following: bool, counting: bool, format_: str
) -> None:
    """Show the recorded events, oldest first: violations, and what the agent did. Or, by a command: one of them, or pictures.

    --format json prints each record on a line of its own, as it is in the journal (Elastic Common Schema).

    Exit status: 0, whatever was found; 2 no such journal; 4 the journal cannot be read.
    """
    if ctx.invoked_subcommand:
        _refuse_options(ctx)
        return
    if following and counting:
        raise click.UsageError("--count has no end with --follow; give one of them")
    if counting:
        emit([counted(found(journal, query), format_)])
        return
    items = (i for i in follow(journal, wait=_look_again) if query.matches(i)) if following else found(journal, query)
    with suppress(KeyboardInterrupt):
        emit(timeline(items) if format_ == "table" else map(document, items), flush=following)


def _refuse_options(ctx: click.Context) -> None:
    """An option before the command's name would be lost: better to say so than to show what was not asked for."""
    given = [p.opts[0] for p in ctx.command.params if p.name and ctx.get_parameter_source(p.name) in _GIVEN]
    if given:
        raise click.UsageError(f"{', '.join(given)}: options of `log {ctx.invoked_subcommand}` stand behind its name")


def counted(items: Iterable[Event | Notice], format_: str) -> str:
    """Totals by container and verdict, as a table or as JSON."""
    tally = Tally()
    for item in items:
        tally.add(item)
    return totals_table(tally.totals) if format_ == "table" else json_text([plain_total(t) for t in tally.totals])


def totals_table(totals: Iterable[Total]) -> str:
    """One row for each container and verdict."""
    rows = [
        (escape(t.container), t.verdict.name.lower(), t.attempts, short_time(t.first), short_time(t.last))
        for t in totals
    ]
    return table(("CONTAINER", "VERDICT", "ATTEMPTS", "FIRST", "LAST"), rows) if rows else "no attempt is recorded"


def plain_total(total: Total) -> dict[str, object]:
    """A total as JSON types."""
    return {
        "container": total.container,
        "verdict": total.verdict.name.lower(),
        "attempts": total.attempts,
        "first": to_rfc3339(total.first),
        "last": to_rfc3339(total.last),
    }


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
