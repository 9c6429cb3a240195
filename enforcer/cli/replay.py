"""``enforcer replay``: what happened, and what another policy would have made of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import click

from enforcer import settings
from enforcer.cli.journals import attempts_option, journals_argument
from enforcer.cli.log import document, plain_total, short_time, timeline, totals_table
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.event import Event, Notice
from enforcer.core.model import Policy
from enforcer.core.query import Query, Tally
from enforcer.core.replay import Change, Comparison, Replay
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import access_words, escape
from enforcer.edges.condensed import Condensed
from enforcer.edges.policyfile import load
from enforcer.edges.segments import read

PATH = click.Path(path_type=Path)
RECORDED = "recorded"
"""Stands for the recorded verdicts where a policy is named."""


def _finite(_ctx: click.Context, _parameter: click.Parameter, speed: float) -> float:
    """``nan`` is within every range, and nobody sleeps for it."""
    if not math.isfinite(speed):
        raise click.BadParameter("is no speed; give a number")
    return speed


@click.command("replay")
@journals_argument
@click.option("--policy", type=PATH, help="Judge every recorded attempt again by this policy (file or directory).")
@click.option(
    "--against",
    default=RECORDED,
    show_default=True,
    help="What --policy is compared with: the recorded verdicts, or another policy (file or directory).",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=0,
    callback=_finite,
    help="Play the timeline so many times as fast as it happened; 0, which is the default, for at once.",
)
@attempts_option
@format_option
@click.pass_context
def replay_command(  # noqa: PLR0913 -- one parameter for each option is how click hands them over
    ctx: click.Context,
    *,
    journals: tuple[Path, ...],
    policy: Path | None,
    against: str,
    speed: float,
    query: Query,
    format_: str,
) -> None:
    """Print the timeline of what was recorded, and its totals; with --policy, what that policy would change.

    JOURNAL is a journal directory or a file of one; without any it is /var/log/enforcer. With --against OTHER, two policies are
    compared on what was recorded.

    Exit status: 0 fine (with --policy: nothing would change); 1 that policy would have decided at least one recorded
    attempt otherwise; 2 bad policy or no such journal; 4 a journal cannot be read.
    """
    paths = journals or (settings.JOURNAL,)
    if policy is None:
        if against != RECORDED:
            raise click.UsageError("--against says what --policy is compared with: give --policy, too")
        with suppress(KeyboardInterrupt):
            records = paced((item for item in read(paths) if query.matches(item)), speed, time.sleep)
            emit(_story_table(records) if format_ == "table" else _story_json(records), flush=speed > 0)
        return
    if speed:
        raise click.UsageError("--speed plays the timeline; with --policy there is none")
    judge, other = load(policy), None if against == RECORDED else load(Path(against))
    comparison = compared(Replay(judge, other), paths, query)
    emit([_comparison_table(comparison) if format_ == "table" else _comparison_json(judge, other, comparison)])
    ctx.exit(1 if comparison.changed else 0)


def compared(replay: Replay, journals: Iterable[Path], query: Query) -> Comparison:
    """All that the journals hold and ``query`` asks for, judged."""
    comparison = Comparison()
    for event in Condensed(query, replay.alike).events(journals):
        comparison.add(replay.judge(event))
    return comparison


def paced(items: Iterable[Event | Notice], speed: float, sleep: Callable[[float], None]) -> Iterator[Event | Notice]:
    """The items, each as long after the one before as it was then, divided by ``speed``; 0: at once."""
    before: int | None = None
    for item in items:
        if speed and before is not None and item.time_ns > before:
            sleep((item.time_ns - before) / speed / 1e9)
        before = max(item.time_ns, before or 0)
        yield item


def _tallied(records: Iterable[Event | Notice], tally: Tally) -> Iterator[Event | Notice]:
    for item in records:
        tally.add(item)
        yield item


def _story_table(records: Iterable[Event | Notice]) -> Iterator[str]:
    tally = Tally()
    yield from timeline(_tallied(records, tally))
    yield ""
    yield totals_table(tally.totals)


def _story_json(records: Iterable[Event | Notice]) -> Iterator[str]:
    """One JSON object, printed while the journal is read: it may be larger than the memory."""
    tally, joint = Tally(), ""
    yield '{"events": ['
    for item in _tallied(records, tally):
        yield f"{joint}{document(item)}"
        joint = ","
    yield f'], "totals": {json_text([plain_total(t) for t in tally.totals])}}}'


def _comparison_table(comparison: Comparison) -> str:
    summary = f"{comparison.attempts} attempts judged again, {comparison.changed} would go another way"
    rows = [_row(change) for change in comparison.changes]
    headers = ("CONTAINER", "WHAT", "WAS", "NOW", "BY RULE", "RULE THEN", "ATTEMPTS", "FIRST", "LAST")
    return f"{table(headers, rows)}\n\n{summary}" if rows else summary


def _row(change: Change) -> tuple[object, ...]:
    return (
        escape(change.container),
        f"{'/'.join(access_words(change.asked))} {change.target}",
        change.was.name.lower(),
        change.now.name.lower(),
        escape(", ".join(change.rule)) or "-",
        escape(", ".join(change.was_rule)) or "-",
        change.count,
        short_time(change.first),
        short_time(change.last),
    )


def _comparison_json(policy: Policy, other: Policy | None, comparison: Comparison) -> str:
    return json_text(
        {
            "policy": {"hash": policy.hash, "mode": policy.mode.name.lower()},
            "against": {"hash": other.hash, "mode": other.mode.name.lower()} if other else RECORDED,
            "attempts": comparison.attempts,
            "changed": comparison.changed,
            "changes": [_change(change) for change in comparison.changes],
        }
    )


def _change(change: Change) -> dict[str, object]:
    return {
        "container": change.container,
        "target": change.target,
        "access": list(access_words(change.asked)),
        "was": change.was.name.lower(),
        "now": change.now.name.lower(),
        "rule": list(change.rule),
        "rule_then": list(change.was_rule),
        "attempts": change.count,
        "first": to_rfc3339(change.first),
        "last": to_rfc3339(change.last),
    }
