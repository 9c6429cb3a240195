"""The options that every question to the journal has: which journal, and which of its records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from enforcer import settings
from enforcer.core.event import Event, Notice
from enforcer.core.model import Hook, Mechanism, Verdict
from enforcer.core.query import KINDS, Query
from enforcer.core.timestamp import moment
from enforcer.edges.index import index_path, may_hold
from enforcer.edges.segments import is_named, read
from enforcer.errors import UsageError

_Member = TypeVar("_Member", bound=IntEnum)


def time_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A time on the command line, as ns since 1970. Raises click's usage error for what is no time."""
    try:
        return None if value is None else moment(value, now_ns=time.time_ns())
    except ValueError as e:
        hint = "write 10m, 2h, 1d, 2025-11-18 or 2025-11-18T02:00:00Z"
        raise click.BadParameter(f"{value!r} is no time: {hint}") from e


def members(kind: type[_Member]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[_Member, ...]]:
    """The callback that makes members of an enum of words on the command line."""
    return lambda _ctx, _param, words: tuple(kind[word.upper()] for word in words)


def _words(option: str, kind: type[IntEnum], help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    choice = click.Choice([member.name.lower() for member in kind])
    return click.option(f"--{option}", f"{option}s", multiple=True, type=choice, callback=members(kind), help=help_)


journal_option = click.option(
    "--journal",
    type=click.Path(path_type=Path),
    default=settings.JOURNAL,
    show_default=True,
    help="Directory of the event log, or one file of it.",
)
"""Where to read: every command that asks the journal has it."""

_FILTERS = (
    click.option(
        "--since", metavar="TIME", callback=time_of, help="From this time on: 10m, 2h, 1d ago, or ISO 8601 (UTC)."
    ),
    click.option("--until", metavar="TIME", callback=time_of, help="Before this time."),
    click.option(
        "--container", "containers", multiple=True, help="Name or id of the container, or a glob. Repeatable."
    ),
    click.option(
        "--object",
        "objects",
        multiple=True,
        help="Data object (NAME or KIND:NAME) or destination (address, network, container, name); globs. Repeatable.",
    ),
    _words("verdict", Verdict, "What became of it. Repeatable."),
    click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="What it is about. Repeatable."),
    _words("mechanism", Mechanism, "What produced the verdict. Repeatable."),
    _words("hook", Hook, "What the task was doing. Repeatable."),
    click.option(
        "--rule", "rules", multiple=True, help="Rule that answered, such as data.rules[0], or a glob. Repeatable."
    ),
    click.option("--process", "processes", multiple=True, help="Name of the process, or a glob. Repeatable."),
)
_CRITERIA = (
    "since",
    "until",
    "containers",
    "objects",
    "verdicts",
    "kinds",
    "mechanisms",
    "hooks",
    "rules",
    "processes",
)


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--journal`` and the filters. It is called with ``journal`` and with ``query``, a ``Query``."""

    @wraps(command)
    def asked(**options: Any) -> Any:  # noqa: ANN401 -- what click hands over, and what the command answers
        query = Query(**{name: options.pop(name) for name in _CRITERIA})
        return command(query=query, **options)

    for option in (*reversed(_FILTERS), journal_option):
        asked = option(asked)
    return asked


def found(journal: Path, query: Query) -> Iterator[Event | Notice]:
    """The records of a journal that are asked for, oldest first."""
    return (item for item in read([journal], skip=partial(_is_foreign, query)) if query.matches(item))


def _is_foreign(query: Query, segment: Path) -> bool:
    """Does the segment's index say that nothing in it is asked for? It knows containers by their names only."""
    return not may_hold(segment, since=query.since, until=query.until, containers=query.names)


def refuse_journal(path: Path, journal: Path) -> None:
    """Raises ``UsageError`` where a file that is to be written would lie in the journal, or take the place of a part of it."""
    place, whole = path.resolve(), journal.resolve()
    if is_named(place) and place != whole and whole not in place.parents:
        raise UsageError(f"{path} is named like a segment of a journal: choose another name")
    if place in (whole, index_path(whole)) or whole in place.parents:
        raise UsageError(f"{path} lies in the journal that is read: write elsewhere")
