"""Lawful work on a stock Debian kernel, where every operation on data passes a hook that could refuse it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lawful.image import build
from tests.lawful.steps import FAILING, Steps, differences, failed, read_steps
from tests.lines import checked

from .conftest import REPO
from .machine import Machine, Result

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]

SCRIPT = Path(__file__).parent / "guest" / "lawful.sh"
WORKLOADS = {"mixed": 115, "confined": 15}
"""A share of tests/lawful/round.sh, as the machine is slow: the workload, and how many steps it has at the least."""

REFUSING = ("open", "exec", "change", "receive", "unix", "trace", "mount", "escape", "guard")
"""The hooks that could refuse lawful work."""


@dataclass(frozen=True)
class Played:
    """What the script left."""

    alone: Steps
    governed: Steps
    before: dict[str, Any]
    after: dict[str, Any]
    thief: dict[str, Any]
    events: list[dict[str, Any]]
    files: dict[str, str]


def boot(machine: Machine) -> Result:
    """Both rounds, in one boot."""
    disk = build(REPO / ".cache/lawful").disk
    script = f"export ENFORCER_MECHANISM=lsm WORKLOADS='{' '.join(WORKLOADS)}'\n{SCRIPT.read_text()}"
    drive = ("-drive", f"file={disk},snapshot=on,if=virtio,format=raw,cache=unsafe")
    return machine.run(script, memory_mib=2048, cpus=2, timeout_s=900, qemu_args=drive)


BOOTS = {"lawful": boot}


@pytest.fixture(scope="module")
def played(boots: Mapping[str, Future[Result]]) -> Played:
    """What the rounds left."""
    result = boots["lawful"].result()
    assert result.exit_code == 0, result.output
    files = {name: data.decode() for name, data in result.files.items()}
    statuses = [json.loads(files[f"{name}.json"]) for name in ("before", "after", "thief")]
    events = [checked(line) for line in files["journal.jsonl"].splitlines()]
    return Played(read_steps(files["alone"]), read_steps(files["governed"]), *statuses, events, files)


def test_work_succeeds_without_an_agent(played: Played) -> None:
    """The first round is worth comparing with: everything was done, and only what must fail did."""
    assert played.files["alone.errors"] == ""
    done = {name: sum(key[0] == name for key in played.alone) for name in WORKLOADS}
    assert {name: n for name, n in done.items() if n < WORKLOADS[name]} == {}
    wanted = {key for key in FAILING if key in played.alone}
    assert {key: played.alone[key] for key in failed(played.alone) ^ wanted} == {}


def test_work_is_the_same_under_the_agent(played: Played) -> None:
    """Every step has the exit status and the output that it had without the agent."""
    found = differences(played.alone, played.governed)
    told = [f"{'/'.join(key)}: {alone} alone, {governed} governed" for key, (alone, governed) in found.items()]
    assert told == [], "\n".join(told)
    assert played.files["governed.errors"] == ""


def test_nothing_is_counted_or_recorded(played: Played) -> None:
    """Not one violation, not one record lost, not one alert, and what is degraded was so before."""
    counts = played.after["counts"]
    assert [event for event in played.events if event["event"]["kind"] == "alert"] == []
    assert (counts["counted"], counts["recorded"], counts["suppressed"]) == (0, 0, 0)
    assert sum(counts["lost"].values()) == 0
    hooks = [
        [entry for entry in status["degraded"] if "hook" in entry["what"]] for status in (played.before, played.after)
    ]
    assert hooks == [[], []]


def test_every_hook_could_have_refused(played: Played) -> None:
    """All of them were held before the fact, and afterwards a container still may not list another's volume."""
    assert {played.after["mechanisms"][hook] for hook in REFUSING} == {"lsm"}
    assert played.thief["counts"]["counted"] == 1
    assert "Operation not permitted" in played.files["thief"]
