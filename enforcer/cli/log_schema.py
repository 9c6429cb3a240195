"""``enforcer log schema``: what a line of the event log looks like."""

from __future__ import annotations

import click

from enforcer.cli.render import emit
from enforcer.edges.ecs_schema import schema_text


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the lines of the event log.

    Exit status: 0; 4 standard output cannot be written.
    """
    emit([schema_text().removesuffix("\n")])
