"""``enforcer learn``: a policy proposed from what was recorded."""

from __future__ import annotations

from pathlib import Path

import click

from enforcer import settings
from enforcer.cli.journals import attempts_option, journals_argument
from enforcer.cli.render import emit
from enforcer.core.learn import propose
from enforcer.core.model import Mode
from enforcer.core.proposal_text import text_of
from enforcer.core.query import Query
from enforcer.core.record import Record
from enforcer.edges.condensed import Condensed
from enforcer.edges.policyfile import load
from enforcer.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command("learn")
@journals_argument
@click.option("--policy", type=PATH, help="What this policy protects and calls internal, the proposal does, too.")
@click.option(
    "--mode",
    type=click.Choice(["monitor", "enforce"]),
    default="monitor",
    show_default=True,
    help="The mode of the proposal.",
)
@click.option(
    "--grant-observed",
    "observed",
    is_flag=True,
    help="Grant what a policy in monitor mode only watched, too; else it is listed.",
)
@attempts_option
def learn_command(*, journals: tuple[Path, ...], policy: Path | None, mode: str, observed: bool, query: Query) -> None:
    """Propose a policy from what `run --record accesses` has recorded: no more than was done, each rule with its evidence.

    It is printed as YAML that loads. JOURNAL is a journal directory or a file of one; without any it is /var/log/enforcer. What
    was denied is not granted; where the record also allowed it, or no rule can tell the two apart, the rule says so: GRANTED THOUGH
    DENIED. Look for these words.

    Exit status: 0 a policy is printed; 2 bad policy, no such journal, or nothing in it to learn from; 4 a journal cannot be read.
    """
    base = load(policy) if policy else None
    record = Record(observed=observed)
    for event in Condensed(query, lambda _: False).events(journals or (settings.JOURNAL,)):
        record.add(event)
    if not record.deeds and not record.left:
        raise UsageError("no access is recorded there: `enforcer run --record accesses` records them")
    emit([text_of(propose(record, mode=Mode[mode.upper()], base=base)).removesuffix("\n")])
