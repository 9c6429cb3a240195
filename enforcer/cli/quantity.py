"""Sizes and ages on the command line: ``64M``, ``90d``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

_FORM = re.compile(r"([1-9][0-9]{0,11})([a-zA-Z]?)", re.ASCII)


class Quantity(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A whole number above zero with one of the ``units``, each worth so much; without a unit it is as it stands."""

    def __init__(self, name: str, units: Mapping[str, int]) -> None:
        self.name = name
        self._units = units

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number. Raises click's usage error for anything else."""
        if isinstance(value, int):
            return value
        found = _FORM.fullmatch(str(value))
        factor = self._units.get(found[2], 0) if found else 0
        if not found or not factor:
            units = ", ".join(unit for unit in self._units if unit)
            self.fail(f"{value!r} is no {self.name}: a number, and then one of {units}", param, ctx)
        return int(found[1]) * factor


SIZE = Quantity("size", {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40})
"""Bytes."""

AGE = Quantity("age", {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400})
"""Seconds."""
