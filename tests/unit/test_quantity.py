"""Sizes and ages as an operator writes them, and the options of ``run`` that take them."""

from __future__ import annotations

import click
import pytest

from enforcer.cli.quantity import AGE, SIZE
from enforcer.cli.run import run_command
from enforcer.settings import LIMITS, Limits


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(SIZE, "64M", 64 << 20), (SIZE, "4G", 4 << 30), (SIZE, "512", 512), (AGE, "90d", 7_776_000), (AGE, "2h", 7200)],
)
def test_a_quantity_is_read(kind, text, value):
    """A number with its unit, or plain."""
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "1.5G", "64MB", "1d", "99999999999999", "٣M"])
def test_what_is_no_size_is_refused(text):
    """No guess, and no size of nothing, which would seal without end."""
    with pytest.raises(click.BadParameter, match="is no size"):
        SIZE.convert(text, None, None)


def test_the_defaults_of_run_are_those_of_the_journal():
    """What the help shows is what a journal is kept by."""
    said = run_command.make_context("run", []).params
    assert Limits(**{name: said[name] for name in vars(LIMITS)}) == LIMITS
