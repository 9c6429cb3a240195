"""An attack loop at full speed on a stock Debian kernel, where opens are refused before the fact: no try succeeds."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import hammering

from .machine import Machine, Result

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]

SCRIPT = Path(__file__).parent / "guest" / "no_gap.sh"
DEEDS = {
    "open": "open:/stolen/f",
    "chmod": "chmod:/stolen/g",
    "unlink": "unlink:/stolen/h",
    "rename": "rename:/stolen/i",
    "connect": "connect:203.0.113.10:9",
}


@dataclass(frozen=True)
class Played:
    """What the script left. ``phases``: name → builds pinned when it began."""

    log: hammering.Log
    phases: dict[str, list[str]]
    agent: str
    left: str


def boot(machine: Machine) -> Result:
    """The script, run once: swapping is the same for both mechanisms that prevent."""
    words = f"export ENFORCER_MECHANISM=lsm DEEDS='{' '.join(DEEDS.values())}'\n"
    return machine.run(words + SCRIPT.read_text(), memory_mib=2048, cpus=2, timeout_s=900)


BOOTS = {"no gap": boot}


@pytest.fixture(scope="module")
def played(boots: Mapping[str, Future[Result]]) -> Played:
    """What the script left."""
    result = boots["no gap"].result()
    assert result.exit_code == 0, result.output
    rows = [line.split("\t") for line in result.files["phases"].decode().splitlines()]
    return Played(
        hammering.Log.read(result.files["log.json"].decode()),
        {name: builds.split() for name, _, builds in rows},
        result.files["agent.log"].decode(),
        result.files["left"].decode(),
    )


@pytest.mark.parametrize("deed", DEEDS)
def test_not_one_try_succeeds(played: Played, deed: str) -> None:
    """Killed, adopted, reloaded, upgraded, stopped, started, stopped: refused in every phase, and tried in every phase."""
    assert played.log.gaps(deed, list(played.phases), "EPERM") == {}


@pytest.mark.parametrize("deed", DEEDS)
def test_the_loop_attacks_something_real(played: Played, deed: str) -> None:
    """Once nothing is enforced any more, the same loop succeeds."""
    last = played.log.phases(deed, list(played.phases))["unloaded"]
    assert last.outcomes.get(hammering.DONE)
    assert "EPERM" not in last.outcomes


def test_builds_are_swapped_and_adopted(played: Played) -> None:
    """Each phase began with one build: the first until the upgrade, then the other; none at the end. Others were adopted."""
    first, second = played.phases["enforced"], played.phases["stopped"]
    assert (len(first), len(second)) == (1, 1)
    assert first != second
    for name in ("killed and started", "reloaded", "upgraded"):
        assert played.phases[name] == first
    for name in ("stopped and started", "unloading"):
        assert played.phases[name] == second
    assert played.phases["unloaded"] == []
    assert played.agent.count("is replaced without a gap") == 1


def test_nothing_is_left(played: Played) -> None:
    """After ``unload``: no pin, no cgroup, no table, no socket; the script has seen every program, map and link go."""
    assert played.left == ""
