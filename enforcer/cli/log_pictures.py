"""``enforcer log timeline`` and ``enforcer log matrix``: pictures of what is in the journal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from enforcer.cli.drawing import document_text
from enforcer.cli.filters import filters, found, refuse_journal
from enforcer.cli.page import matrix_page, timeline_page
from enforcer.cli.plain_matrix import matrix_lines
from enforcer.cli.plain_timeline import timeline_lines
from enforcer.cli.render import emit, format_option, json_text
from enforcer.cli.svg_matrix import matrix_svg
from enforcer.cli.svg_timeline import timeline_svg
from enforcer.core.query import Query
from enforcer.core.tally_plain import plain_matrix, plain_timeline
from enforcer.core.tally_reach import Reaches
from enforcer.core.tally_time import Timeline
from enforcer.edges.outfile import STANDARD, outfile

_FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


def picture_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--svg`` and ``--html``: where a picture goes that can be attached to a report."""
    html = click.option("--html", type=_FILE, help="Write the picture, and its numbers as a table, as an HTML page.")
    svg = click.option("--svg", type=_FILE, help="Write the picture as an SVG file.")
    return svg(html(command))


@click.command("timeline")
@filters
@picture_options
@format_option
def timeline_command(*, journal: Path, query: Query, svg: Path | None, html: Path | None, format_: str) -> None:
    """Violations per container over time, as a picture: on the terminal, or as SVG or HTML to attach to a report.

    FILE may be - for standard output. Files need nothing else: no script, no font, no network.

    Exit status: 0, whatever was found; 2 no such journal; 4 the journal cannot be read or the file not be written.
    """
    _refuse_both_on_standard_output(svg, html, journal)
    timeline = Timeline()
    for item in found(journal, query):
        timeline.add(item)
    if svg:
        _write(svg, document_text(timeline_svg(timeline, query)))
    if html:
        _write(html, timeline_page(timeline, query))
    if svg or html:
        return
    if format_ == "json":
        emit([json_text(plain_timeline(timeline))])
        return
    emit(timeline_lines(timeline, query, width=_width(), unicode=_speaks_unicode()))


@click.command("matrix")
@filters
@picture_options
@format_option
def matrix_command(*, journal: Path, query: Query, svg: Path | None, html: Path | None, format_: str) -> None:
    """Who tried to reach what: containers by data objects and destinations, with the worst that became of it.

    On the terminal, or as SVG or HTML to attach to a report; FILE may be - for standard output. What the policy would allow
    is `enforcer matrix`.

    Exit status: 0, whatever was found; 2 no such journal; 4 the journal cannot be read or the file not be written.
    """
    _refuse_both_on_standard_output(svg, html, journal)
    reaches = Reaches()
    for item in found(journal, query):
        reaches.add(item)
    if svg:
        _write(svg, document_text(matrix_svg(reaches, query)))
    if html:
        _write(html, matrix_page(reaches, query))
    if svg or html:
        return
    if format_ == "json":
        emit([json_text(plain_matrix(reaches))])
        return
    emit(matrix_lines(reaches, query, width=_width()))


def _refuse_both_on_standard_output(svg: Path | None, html: Path | None, journal: Path) -> None:
    if svg == html == STANDARD:
        raise click.UsageError("--svg and --html cannot both go to standard output")
    for path in filter(None, (svg, html)):
        refuse_journal(path, journal)


def _write(path: Path, text: str) -> None:
    with outfile(path) as file:
        file.write(text.encode())


def _width() -> int:
    return shutil.get_terminal_size().columns


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "ascii").lower().replace("-", "") == "utf8"
