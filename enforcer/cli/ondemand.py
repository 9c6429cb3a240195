"""Command groups that load a command's module only when it is asked for: `status` does not carry what `run` needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class OnDemand(click.Group):
    """A group of the commands in ``table``: each name with where its command is, ``module:name``."""

    def __init__(self, *args: Any, table: Mapping[str, str], **kwargs: Any) -> None:  # noqa: ANN401 -- click's own
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        target = self._table.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(__import__(module, fromlist=[name]), name)
        return command
