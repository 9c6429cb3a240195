"""What commands have in common that judge the attempts of whole journals: which journals, and which attempts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from enforcer.cli.filters import time_of
from enforcer.core.query import Query

journals_argument = click.argument("journals", metavar="[JOURNAL]...", nargs=-1, type=click.Path(path_type=Path))
"""Directories or files; none means the agent's own journal."""

_FILTERS = (
    click.option(
        "--since", metavar="TIME", callback=time_of, help="From this time on: 10m, 2h, 1d ago, or ISO 8601 (UTC)."
    ),
    click.option("--until", metavar="TIME", callback=time_of, help="Before this time."),
    click.option("--container", "containers", multiple=True, help="Name of the container, or a glob. Repeatable."),
    click.option(
        "--object", "objects", multiple=True, help="Data object or destination, as with `log`; globs. Repeatable."
    ),
)


def attempts_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filters; it is called with ``query``."""

    @wraps(command)
    def asked(**options: Any) -> Any:  # noqa: ANN401 -- what click hands over, and what the command answers
        names = ("since", "until", "containers", "objects")
        return command(query=Query(**{name: options.pop(name) for name in names}), **options)

    for option in reversed(_FILTERS):
        asked = option(asked)
    return asked
