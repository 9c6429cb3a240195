"""``compose``: a Compose file with all that the guide asks, rendered from a short declaration, and what another file lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.compose_file import compose_file_of
from enforcer.core.compose_text import text_of_composition
from enforcer.edges.composefile import load_declaration, read_compose
from enforcer.edges.outfile import STANDARD, outfile
from enforcer.posture.compose_lint import Placed, lint
from enforcer.posture.finding import totals

PATH = click.Path(path_type=Path)


@click.group("compose")
def compose_group() -> None:
    """Docker Compose files as the guide wants them: rendered from a declaration, checked."""


@compose_group.command("render")
@click.argument("declaration", metavar="DECL", type=PATH)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=STANDARD,
    show_default=True,
    help="Where the Compose file goes, whole or not at all, mode 0600; - is standard output.",
)
def render_command(declaration: Path, output: Path) -> None:
    """Render a Compose file from DECL, such as deploy/compose/agents.yaml.

    The same declaration gives the same file. Exit status: 0 it is rendered; 2 DECL is wrong, each mistake with its place; 4 the
    output cannot be written.
    """
    text = text_of_composition(load_declaration(declaration))
    with outfile(output) as file:
        file.write(text.encode())


@compose_group.command("lint")
@click.argument("file", metavar="FILE", type=PATH)
@format_option
def lint_command(file: Path, format_: str) -> int:
    """What does a Compose file lack of what the guide asks? Each finding with its place, the guide's section and what to write.

    Anchors and merge keys are followed; what is not (extends, include, variables) is a finding. Exit status: 0 nothing is found;
    1 something is; 2 FILE is not understood.
    """
    found = lint(compose_file_of(read_compose(file)))
    emit([_json(found)] if format_ == "json" else _text(file, found))
    return 1 if found else 0


def _json(found: Sequence[Placed]) -> str:
    rows = [
        {
            "file": placed.mark.file,
            "line": placed.mark.line,
            "column": placed.mark.column,
            "check": placed.finding.check,
            "result": placed.finding.result,
            "name": placed.finding.container,
            "evidence": placed.finding.evidence,
            "section": placed.finding.section,
            "fix": placed.finding.fix,
        }
        for placed in found
    ]
    counted = {result.value.lower(): n for result, n in totals(p.finding for p in found).items()}
    return json_text({"totals": counted, "findings": rows})


def _text(file: Path, found: Sequence[Placed]) -> list[str]:
    """A table of what is found, and what to write: once for all services that lack the same."""
    if not found:
        return [f"{file}: nothing is missing"]
    rows = [
        (_place(p), p.finding.result, p.finding.check, p.finding.container or "-", p.finding.evidence) for p in found
    ]
    fixes = dict.fromkeys((p.finding.check, p.finding.fix, p.finding.section) for p in found)
    counted = ", ".join(f"{result} {n}" for result, n in totals(p.finding for p in found).items() if n)
    lines = [table(["PLACE", "", "CHECK", "NAME", "FOUND"], rows), "", table(["CHECK", "FIX", "SECTION"], list(fixes))]
    return [*lines, "", f"{file}: {counted}"]


def _place(placed: Placed) -> str:
    return f"{placed.mark.file}:{placed.mark.line}:{placed.mark.column}"
