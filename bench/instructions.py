"""What the probes add to an operation, in instructions, in a machine whose clock counts them (QEMU -icount).

The figures repeat over boots but for a few instructions, whatever else the host does: they are the regression gate
(``tests/vm/test_instructions.py``), held against ``budgets.json``. An instruction of an emulated processor is about a quarter of
a nanosecond of a real one, and a cache miss is none.
"""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.counting import DEEP
from bench.figure import Figure, Table
from enforcer.errors import EdgeError
from tests.vm.machine import Machine, MachineError, Result, build

HERE = Path(__file__).parent
BUDGETS = HERE / "budgets.json"
WITHOUT_BPF = "lsm=lockdown,capability,landlock,yama"
MECHANISMS = {"lsm": "", "fmod_ret": WITHOUT_BPF}
"""And what the kernel's command line has for it."""

TARGETS = {
    "allowed open in a governed container, volume hit": (450, 300),
    "open by a host process": (280, 180),
    "open in an ungoverned cgroup": (280, 180),
    "each directory walked": (120, 80),
    "getppid": (0, 0),
    "stat": (0, 0),
    "read": (0, 0),
}


@dataclass(frozen=True)
class Counts:
    """Instructions of one operation by its name in ``bench.counting``, with nobody attached and with the probes in force."""

    mechanism: str
    before: Mapping[str, float]
    after: Mapping[str, float]

    def added(self, name: str) -> float:
        """What the probes add to one operation."""
        return self.after[name] - self.before[name]

    def figures(self) -> dict[str, float]:
        """The figures of ``TARGETS``, and others that are only held to be no dearer than they were."""
        opened = {kind: self.added(f"open, {kind}, each another file") for kind in ("allowed", "observed")}
        walks = {depth: self.added(f"open, {depth} deep") for depth in ("one directory", "nine directories")}
        return {
            "allowed open in a governed container, volume hit": self.added("open, volume"),
            "open by a host process": self.added("open, by the host"),
            "open in an ungoverned cgroup": self.added("open, ungoverned"),
            "open beside the volume, one directory deep": walks["one directory"],
            "each directory walked": (walks["nine directories"] - walks["one directory"]) / (DEEP - 1),
            "denied open, extra over allowed": opened["observed"] - opened["allowed"],
            **{name: self.added(name) for name in ("getppid", "stat", "read", "connect", "send")},
        }


def run(machine: Machine, mechanism: str) -> Result:
    """Boot and count."""
    script = f"{_unpacked()}.venv/bin/python -m bench.counting /tmp/steps >$RESULTS/counts.json"
    clock = ("-icount", "shift=0,sleep=off")
    return machine.run(script, cmdline=MECHANISMS[mechanism], memory_mib=2048, cpus=1, qemu_args=clock, timeout_s=1200)


def counts_of(result: Result, mechanism: str) -> Counts:
    """What a boot has counted. Raises ``EdgeError`` if it has not, or if another mechanism held what was opened there."""
    if result.exit_code:
        raise EdgeError(f"the machine counted nothing: {result.output[-2000:]}")
    found = json.loads(result.files["counts.json"])
    if found["held"].get("open") != mechanism:
        raise EdgeError(f"opens are held by {found['held'].get('open')} in the machine, not by {mechanism}")
    return Counts(mechanism, found["before"], found["after"])


def _unpacked() -> str:
    """The lines that write ``steps`` to the machine's /tmp: compiling it there would take longer than all the counting."""
    with tempfile.TemporaryDirectory() as place:
        program = Path(place, "steps")
        subprocess.run(["gcc", "-O2", "-static", "-o", program, HERE / "steps.c"], check=True)  # noqa: S603, S607 -- fixed words
        packed = base64.b64encode(gzip.compress(program.read_bytes())).decode()
    return f"base64 -d <<'END' | gunzip >/tmp/steps && chmod 755 /tmp/steps\n{packed}\nEND\n"


def beyond(found: Mapping[str, float], budgets: Mapping[str, float], margin: float) -> list[str]:
    """A line for each figure that is dearer than its budget by more than the margin, or that has none."""
    lines = []
    for name, instructions in found.items():
        budget = budgets.get(name)
        if budget is None:
            lines.append(f"{name}: {instructions:.0f} instructions and no budget: add one to {BUDGETS.name}")
        elif instructions > budget + margin:
            over = instructions - budget
            lines.append(f"{name}: {instructions:.0f} instructions, {over:.0f} over its budget of {budget:.0f}")
    return lines


def table() -> Table:
    """Both mechanisms, on a stock Debian kernel."""
    try:
        with Machine(build(HERE.parent / ".cache/vm"), HERE.parent) as machine:
            machine.compile()
            counts = [counts_of(run(machine, mechanism), mechanism) for mechanism in MECHANISMS]
    except MachineError as e:
        raise EdgeError(str(e)) from e
    found = {count.mechanism: count.figures() for count in counts}
    figures = [
        Figure(f"{name}, {mechanism}", "instructions", value, value, must, aim, note="on Debian's kernel, emulated")
        for mechanism, added in found.items()
        for name, value in added.items()
        for must, aim in [TARGETS.get(name, (None, None))]
    ]
    rows = [(name, *(f"{found[m][name]:.0f}" for m in MECHANISMS)) for name in found["lsm"]]
    return Table(("instructions added to one operation", *MECHANISMS), rows, figures)
