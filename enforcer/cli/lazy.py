"""A group of commands whose modules are loaded when they are asked for: `status` does not carry what `run` needs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class Lazy(click.Group):
    """``targets``: a command's name → ``module:attribute``. Commands that were added as usual come after those."""

    def __init__(self, *args: Any, targets: Mapping[str, str], **options: Any) -> None:  # noqa: ANN401 -- click's own
        super().__init__(*args, **options)
        self._targets = targets

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return [*self._targets, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self._targets:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._targets[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command
