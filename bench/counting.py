"""Run in a machine whose clock counts instructions (``bench.instructions``): what the probes add to one operation.

``python -m bench.counting STEPS``: STEPS is ``steps.c``, compiled. Prints one JSON object: name → instructions of one operation,
with nobody attached and with the probes in force. An arm is a place to do it from; each has a filesystem of its own to open from.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

from bench.scratch import scratch
from enforcer.core.model import (
    DataObject,
    DataRule,
    DataTarget,
    Kind,
    Mode,
    NetRule,
    ObjectId,
    Policy,
    Selector,
    ToCidr,
)
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.inodes import Inodes
from enforcer.errors import EdgeError

BATCHES, EACH, REPEATS = 11, 20, 2
DEEP = 9
GRANTED = "198.51.100.7"

ENTER = (
    'mount --bind "$0" "$0" && ip link set lo up && ip route add local 198.51.100.0/24 dev lo && echo 0 >"$1" && shift'
    ' && exec setarch -R "$@"'
)
"""In namespaces of its own, with the volume mounted upon itself as a container has one, and last into the cgroup."""

Steps = Mapping[str, tuple[str, str]]
"""Figure → the cgroup to be in, and the operation for ``steps``."""


def main(program: str) -> None:
    """Both passes, in one boot, from the same places."""
    with ExitStack() as ending:
        place = Path(ending.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        volume = _files(place)
        steps = _steps(place)
        groups = sorted({group for group, _ in steps.values()} - {"host"})
        before = _nobody(steps, groups, volume, program)
        with scratch(_policy(), containers=("granted", "watched"), free=("free",), objects=_objects(volume)) as made:
            procs = {group: made.procs(group) for group in groups}
            held = {hold.hook: hold.mechanism.name.lower() for hold in made.probes.holds if hold.mechanism}
            after = _measured(steps, procs, volume, program)
    print(json.dumps({"held": held, "before": before, "after": after}))


def _files(place: Path) -> Path:
    """The volume, with files of its own, and beside it a tree that nobody protects; where the volume is."""
    volume = place / "volume"
    volume.mkdir()
    for name in ("f", *map(str, range(BATCHES * EACH))):
        (volume / name).write_bytes(b"x")
    directory = place
    for depth in range(1, DEEP + 1):
        directory /= "d"
        directory.mkdir()
        if depth in (1, DEEP):
            (directory / "f").write_bytes(b"x")
    return volume


def _steps(place: Path) -> Steps:
    file = place / "volume" / "f"
    near, far = (place / Path(*["d"] * depth) / "f" for depth in (1, DEEP))
    return {
        "open, volume": ("granted", f"open={file}"),
        "open, by the host": ("host", f"open={file}"),
        "open, ungoverned": ("free", f"open={file}"),
        "open, one directory deep": ("granted", f"open={near}"),
        "open, nine directories deep": ("granted", f"open={far}"),
        "open, allowed, each another file": ("granted", f"each={place / 'volume'}"),
        "open, observed, each another file": ("watched", f"each={place / 'volume'}"),
        "getppid": ("granted", "getppid"),
        "stat": ("granted", f"stat={file}"),
        "read": ("granted", f"read={file}"),
        "connect": ("granted", f"connect={GRANTED}"),
        "send": ("granted", f"send={GRANTED}"),
    }


def _policy() -> Policy:
    target = (DataTarget(Kind.VOLUME, "data"),)
    return Policy(
        Mode.ENFORCE,
        containers={name: Selector(name=name) for name in ("granted", "watched")},
        protected=target,
        data_rules=(
            DataRule("data.rules[0]", ("granted",), read_write=target),
            DataRule("data.rules[1]", ("watched",), read_write=(DataTarget(Kind.VOLUME, "other"),), mode=Mode.MONITOR),
        ),
        net_rules=(NetRule("network.rules[0]", ("granted",), (ToCidr(ip_network("198.51.100.0/24")),)),),
    )


def _objects(volume: Path) -> dict[ObjectId, DataObject]:
    named, found = ObjectId(Kind.VOLUME, "data"), Inodes().inode_of(volume)
    if found is None:
        raise EdgeError(f"{volume} is gone")
    return {named: DataObject(named, (found,), str(volume))}


def _nobody(steps: Steps, groups: list[str], volume: Path, program: str) -> dict[str, float]:
    """With nothing attached anywhere."""
    cgroups = Cgroups()
    with ExitStack() as ending:
        procs = {}
        for path in ("/bare", *(f"/bare/{group}" for group in groups)):
            cgroups.ensure(path)
            ending.callback(cgroups.remove, path)
            procs[path.rpartition("/")[2]] = cgroups.root / path.lstrip("/") / "cgroup.procs"
        return _measured(steps, procs, volume, program)


def _measured(steps: Steps, procs: Mapping[str, Path], volume: Path, program: str) -> dict[str, float]:
    """Instructions of each: the least of all batches, which no interrupt has met."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for group in dict.fromkeys(group for group, _ in steps.values()):
        names = [name for name, (where, _) in steps.items() if where == group]
        operations = [steps[name][1] for name in names]
        entering = (
            *("unshare", "--mount", "--net", "sh", "-c", ENTER),
            str(volume),
            str(procs.get(group, "/dev/null")),
        )
        command = (*entering, program, str(BATCHES), str(EACH), *operations)
        for _ in range(REPEATS):
            done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)  # noqa: S603 -- fixed words
            if done.returncode:
                raise EdgeError(f"{group}: {done.stderr.strip()}")
            for name, line in zip(names, done.stdout.splitlines(), strict=True):
                found[name].append(float(line.split()[0]))
    return {name: min(times) for name, times in found.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
