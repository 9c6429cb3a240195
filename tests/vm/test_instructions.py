"""The regression gate for cost: what the probes add to an operation, in instructions, against budgets that are committed.

Figures repeat over boots but for a few instructions, so a change that makes an open dearer is seen, whatever the machine does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from bench.instructions import BUDGETS, MECHANISMS, Counts, beyond, counts_of, run

from .machine import Result

pytestmark = pytest.mark.timeout(1500)

BOOTS = {f"instructions {mechanism}": partial(run, mechanism=mechanism) for mechanism in MECHANISMS}


def budgets() -> dict[str, Any]:
    """``margin`` in instructions, and for each mechanism figure → budget."""
    found: dict[str, Any] = json.loads(BUDGETS.read_text())
    return found


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_nothing_costs_more_than_its_budget(boots: Mapping[str, Future[Result]], mechanism: str) -> None:
    """Whoever makes it dearer says so in the budgets; whoever makes it cheaper lowers them."""
    found = counts_of(boots[f"instructions {mechanism}"].result(), mechanism).figures()
    held = budgets()
    assert beyond(found, held[mechanism], held["margin"]) == []


def test_the_gate_can_shut() -> None:
    """A figure over its budget by more than the margin is named, with how much; so is one that has no budget."""
    figures = {"open": 351.0, "close": 350.0, "stat": 1.0}
    assert beyond(figures, {"open": 300, "close": 300}, margin=50) == [
        "open: 351 instructions, 51 over its budget of 300",
        "stat: 1 instructions and no budget: add one to budgets.json",
    ]


def test_a_figure_is_what_the_probes_add() -> None:
    """Each operation with the probes less the same one without; a level is an eighth of what nine cost beyond one."""
    opens = ("volume", "by the host", "ungoverned", "one directory deep", "nine directories deep")
    names = [*(f"open, {where}" for where in opens), "getppid", "stat", "read", "connect", "send"]
    names += ["open, allowed, each another file", "open, observed, each another file"]
    before = dict.fromkeys(names, 1000.0)
    after = before | {"open, one directory deep": 1300.0, "open, nine directories deep": 1940.0, "stat": 1007.0}
    after |= {"open, allowed, each another file": 1400.0, "open, observed, each another file": 2900.0}
    found = Counts("lsm", before, after).figures()
    assert (found["each directory walked"], found["stat"], found["denied open, extra over allowed"]) == (80, 7, 1500)
