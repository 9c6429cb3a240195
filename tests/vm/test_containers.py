"""Real containers under the agent on a stock Debian kernel, where opens are refused before the fact."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lines import checked

from .machine import Machine, Result

pytestmark = pytest.mark.timeout(1500)

SCRIPT = Path(__file__).parent / "guest" / "containers.sh"
REFUSED = "Operation not permitted"

# step → exit status, and what its output must hold
STEPS = {
    "own data": (0, "mine d f"),
    "own layer": (0, "x y"),
    "config written": (1, REFUSED),
    "config written on a read-only mount": (1, "Read-only file system"),
    "stranger reads at its first instruction": (1, REFUSED),
    "stranger lists": (1, REFUSED),
    "stranger in its own": (0, "free"),
    "stranger reads by a hard path": (1, REFUSED),
    "connect": (1, REFUSED),
    "connect where granted": (1, "Network is unreachable"),
    "confined": (1, REFUSED),
    "stranger reads while no agent lives": (1, REFUSED),
    "own data after the restart": (0, "mine"),
    "the agent stops": (0, ""),
    "unload": (0, "programs detached"),
    "stranger reads when nothing is enforced": (0, "mine"),
    "nothing left": (2, "No such file"),
}


@dataclass(frozen=True)
class Played:
    """What the script left: its steps, the two statuses, the journal."""

    steps: dict[str, tuple[int, str]]
    status: dict[str, Any]
    restarted: dict[str, Any]
    events: list[dict[str, Any]]


MECHANISM = "lsm"


def boot(machine: Machine) -> Result:
    """The script, run once."""
    script = f"export ENFORCER_MECHANISM={MECHANISM}\n{SCRIPT.read_text()}"
    return machine.run(script, memory_mib=2048, cpus=1, timeout_s=900)


BOOTS = {"containers": boot}


@pytest.fixture(scope="module")
def played(boots: Mapping[str, Future[Result]]) -> Played:
    """What the script left."""
    result = boots["containers"].result()
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.files["steps"].decode().splitlines()]
    return Played(
        {name: (int(status), output) for name, status, output in lines},
        json.loads(result.files["status.json"]),
        json.loads(result.files["restarted.json"]),
        [checked(line) for line in result.files["journal.jsonl"].splitlines()],
    )


def test_each_step_ends_as_it_must(played: Played) -> None:
    """Lawful work is not disturbed, forbidden work is refused with EPERM, with an agent or without one."""
    wrong = {
        name: played.steps.get(name)
        for name, (status, text) in STEPS.items()
        if name not in played.steps or played.steps[name][0] != status or text not in played.steps[name][1]
    }
    assert wrong == {}


def test_the_mechanism_is_the_best_there_is(played: Played) -> None:
    """Every hook is held by what refuses before the fact, nothing about it is degraded, and the canary agrees."""
    held = played.status["mechanisms"]
    assert (held["open"], held["unix"], held["refused"]) == (MECHANISM, MECHANISM, "fexit")
    assert set(held.values()) == {MECHANISM, "fexit", "cgroup", "tracepoint", "sweep"}
    assert [d["what"] for d in played.status["degraded"] if "hook" in d["what"] or "detection" in d["what"]] == []
    assert played.status["selftest"]["success"]


def test_every_violation_is_on_record(played: Played) -> None:
    """What was refused is counted and recorded once each, by its mechanism; the restart adopted what was in force."""
    alerts = [e for e in played.events if e["event"]["kind"] == "alert"]
    seen = Counter((e["enforcer"]["hook"], e["enforcer"]["mechanism"], e["enforcer"]["verdict"]) for e in alerts)
    # opens: config, first instruction, listing, hard path while no agent lived; the hard path before that makes a file
    assert seen == {
        ("open", MECHANISM, "denied"): 4,
        ("create", MECHANISM, "denied"): 1,
        ("refused", "mount", "denied"): 1,
        ("connect4", "cgroup", "denied"): 2,
    }
    counts = played.restarted["counts"]
    assert played.restarted["adopted"]
    assert (counts["counted"], counts["recorded"]) == (8, 8)
    assert sum(counts["lost"].values()) == 0
