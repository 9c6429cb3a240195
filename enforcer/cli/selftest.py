"""``selftest``: have the running agent try, now, what it says that nobody can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from enforcer.cli.host import run_option
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.edges.control import ask
from enforcer.settings import Settings

PATIENCE_S = 60
"""The canary needs a fraction of a second; records that do not come, and a second look after something was mended, take longer."""

MARKS = {True: "yes", False: "NO", None: "-"}


@click.command("selftest")
@run_option
@format_option
def selftest_command(run_: Path, format_: str) -> int:
    """Does the running agent stop, count and record what it says that it does? A canary tries all of it, now.

    What was found detached is attached again. Exits 1 if something was not as it must be, mended or not.
    """
    found = ask(Settings(run=run_).socket, {"command": "selftest"}, seconds=PATIENCE_S)
    emit([json_text(found)] if format_ == "json" else _text(found))
    return 0 if found["success"] else 1


def _text(found: dict[str, Any]) -> list[str]:
    rows = [(g["group"], g["mechanism"], *_marks(g), _why(g, found["reattached"])) for g in found["groups"]]
    lines = [table(["GROUP", "HELD BY", "STOPPED", "COUNTED", "RECORDED", "WHY NOT"], rows), ""] if rows else []
    others = {g: why for g, why in found["failures"].items() if g not in {row[0] for row in rows}}
    lines += [f"{what}: {why}" for what, why in others.items()]
    return [*lines, f"self-test {'passed' if found['success'] else 'FAILED'}{_unproved(found['groups'])}"]


def _marks(group: dict[str, Any]) -> tuple[str, ...]:
    return tuple(MARKS[group[what]] for what in ("stopped", "counted", "recorded"))


def _why(group: dict[str, Any], reattached: dict[str, bool]) -> str:
    mended = {None: "", True: "; attached again, and holds now", False: "; attached again, and still does not hold"}
    return f"{group['why']}{mended[reattached.get(group['group'])]}"


def _unproved(groups: list[dict[str, Any]]) -> str:
    names = [g["group"] for g in groups if g["stopped"] is None and not g["failed"]]
    return f"; not proved: {', '.join(names)}" if names else ""
