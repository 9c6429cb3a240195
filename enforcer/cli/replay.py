"""``enforcer replay``: what happened, and what another policy would have made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from enforcer import settings
from enforcer.cli.log import document, plain_total, short_time, timeline, totals_table
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.event import Event, Notice
from enforcer.core.model import Policy
from enforcer.core.query import Tally
from enforcer.core.replay import Change, Comparison, replay
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import access_words, escape
from enforcer.edges.policyfile import load
from enforcer.edges.segments import read

PATH = click.Path(path_type=Path)


@click.command("replay")
@click.argument("journals", metavar="[JOURNAL]...", nargs=-1, type=PATH)
@click.option("--policy", type=PATH, help="Judge every recorded attempt again by this policy (file or directory).")
@format_option
@click.pass_context
def replay_command(ctx: click.Context, *, journals: tuple[Path, ...], policy: Path | None, format_: str) -> None:
    """Print the timeline of what was recorded, and its totals; with --policy, what that policy would change.

    JOURNAL is a journal directory or a file of one; without any it is /var/log/enforcer.

    Exit status: 0 fine (with --policy: nothing would change); 1 that policy would have decided at least one recorded
    attempt otherwise; 2 bad policy or no such journal; 4 a journal cannot be read.
    """
    records = read(journals or (settings.JOURNAL,))
    if policy is None:
        emit(_story_table(records) if format_ == "table" else _story_json(records))
        return
    judge = load(policy)
    comparison = compared(judge, records)
    emit([_comparison_table(comparison) if format_ == "table" else _comparison_json(judge, comparison)])
    ctx.exit(1 if comparison.changed else 0)


def compared(policy: Policy, records: Iterable[Event | Notice]) -> Comparison:
    """All ``records`` judged by ``policy``."""
    comparison = Comparison()
    for judged in replay(policy, records):
        comparison.add(judged)
    return comparison


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


def _comparison_json(policy: Policy, comparison: Comparison) -> str:
    return json_text(
        {
            "policy": {"hash": policy.hash, "mode": policy.mode.name.lower()},
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
