"""The canary of a host where nothing is stopped: what it tries succeeds, and must be seen, counted and recorded."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from enforcer.core.ids import Reserved
from enforcer.core.image import State as Armed
from enforcer.core.image import Subject, Table
from enforcer.core.model import Mechanism
from enforcer.core.plan import Delete, Put
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import EdgeError
from enforcer.runtime.canary import counted
from enforcer.runtime.proof import Finding, Proof, Seen

WAIT_S = 5.0
TRIED = {"open": "open", "change": "setattr"}
"""Hold group → the attempt, by ``proof.attempt_of``, that stands for it."""

# Joins the scratch cgroup, tries what it is told to, and stays until it is told to go: who it was is asked while it is there.
ATTEMPT = """
import os, sys
procs, path, *names = sys.argv[1:]
with open(procs, "w") as file:
    file.write("0")
if "open" in names:
    os.close(os.open(path, os.O_RDONLY))
if "setattr" in names:
    os.chmod(path, 0o640)
print("done", flush=True)
sys.stdin.read()
"""


class Witness:
    """Tries in a cgroup of its own, ``path``, what nobody may do with ``file``."""

    def __init__(self, cgroups: Cgroups, path: str, file: Path) -> None:
        self._cgroups, self._path, self._file = cgroups, path, file

    def run(
        self, maps: Maps, holds: Mapping[str, Mechanism | None], recorded: Callable[[], Seen] | None = None
    ) -> Finding:
        """Try it. Groups in ``holds`` that audit does not watch are not looked at. Raises ``EdgeError`` if it cannot be tried."""
        groups = [group for group, by in holds.items() if by is Mechanism.AUDIT and group in TRIED]
        cgroup = self._cgroups.ensure(self._path)
        maps.apply(Put(Table.CGROUPS, cgroup, Subject(Reserved.CANARY, Armed.ARMED)))
        try:
            proofs = tuple(self._tried(maps, groups, recorded))
        finally:
            maps.apply(Delete(Table.CGROUPS, cgroup))
            self._cgroups.remove(self._path)
        return Finding({p.group: p.why for p in proofs if p.failed}, proofs)

    def _tried(self, maps: Maps, groups: list[str], recorded: Callable[[], Seen] | None) -> list[Proof]:
        before, seen = counted(maps), dict(recorded()) if recorded else {}
        with self._attempt(TRIED[g] for g in groups) as child:
            try:
                self._await_done(child)
                counts = {g: _rises(lambda: counted(maps), before, TRIED[g]) for g in groups}
            finally:
                child.communicate()
        records = {g: recorded is None or _rises(recorded, seen, TRIED[g]) for g in groups}
        return [_proof(g, counted=counts[g], recorded=records[g] if recorded else None) for g in groups]

    def _attempt(self, names: Iterable[str]) -> subprocess.Popen[str]:
        procs = self._cgroups.root.joinpath(self._path.lstrip("/"), "cgroup.procs")
        command = [sys.executable, "-I", "-S", "-c", ATTEMPT, str(procs), str(self._file), *names]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 -- our own interpreter and text

    def _await_done(self, child: subprocess.Popen[str]) -> None:
        said = child.stdout.readline().strip() if child.stdout else ""
        if said != "done":
            why = child.communicate()[1].strip().splitlines() or ["nothing was said"]
            raise EdgeError(f"the canary could not try anything: {why[-1]}")


def _proof(group: str, *, counted: bool, recorded: bool | None) -> Proof:
    why = "" if counted else "done, as audit stops nothing, but it was not seen"
    if counted and recorded is False:
        why = "seen and counted, but no record reached the log's reader"
    return Proof(group, Mechanism.AUDIT, counted=counted, recorded=recorded if counted else None, why=why)


def _rises(read: Callable[[], Seen], before: Seen, name: str) -> bool:
    end = time.monotonic() + WAIT_S
    while read().get(name, 0) <= before.get(name, 0):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
