"""The canary: a task in a scratch cgroup tries what is forbidden, and we look whether it was stopped, counted and recorded.

What is accepted but not enforced is the commonest complaint about tools of this kind; so the agent does not believe
itself. The canary is a subject like any other, always in enforce mode, to which nothing is granted.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.image import State as Armed
from enforcer.core.image import Subject, Table
from enforcer.core.model import Inode, Mechanism
from enforcer.core.plan import Delete, Put
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.inodes import Inodes
from enforcer.errors import EdgeError, HostError

TIMEOUT_S = 30
RECORD_WAIT_S = 5.0

# Joins the scratch cgroup, then tries. A UDP connect only sets the peer: nothing is sent, whatever the verdict. The
# address is TEST-NET-3 (RFC 5737), which no network carries.
ATTEMPT = """
import os, socket, sys
procs, path = sys.argv[1:]
file = open(procs, "w"); file.write("0"); file.close()
def tried(what):
    try:
        what()
        return "done"
    except PermissionError:
        return "refused"
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("connect", tried(lambda: udp.connect(("203.0.113.1", 9))), flush=True)
print("open", tried(lambda: os.open(path, os.O_RDONLY)), flush=True)
"""


@dataclass(frozen=True)
class Finding:
    """What a run of the canary showed: ``failures`` says for each hook that does not hold what was seen instead."""

    failures: dict[str, str]

    @property
    def success(self) -> bool:
        """True if everything forbidden was stopped, counted and recorded."""
        return not self.failures


class Canary:
    """Runs attempts in a cgroup of its own below ``parent``. ``file`` is made and protected by every image."""

    def __init__(self, cgroups: Cgroups, parent: str, directory: Path, *, name: str) -> None:
        self._cgroups = cgroups
        self._path = f"{parent.rstrip('/')}/{name}"
        self.file = directory / "canary"
        try:
            self.file.write_text("nothing but the enforcer's own test may try to read this\n")
        except OSError as e:
            raise HostError(f"cannot write {self.file} ({e.strerror}): choose --run elsewhere") from e

    def inode(self) -> Inode:
        """The forbidden file, for ``compile``."""
        found = Inodes().inode_of(self.file)
        if found is None:
            raise EdgeError(f"{self.file} is gone: something else cleans that directory")
        return found

    def run(self, maps: Maps, mechanism: Mechanism | None, recorded: Callable[[], int] | None) -> Finding:
        """Try the forbidden open and connect. ``mechanism``: what holds opens; None if nothing does, which is a failure.

        ``recorded`` counts the canary's records in the journal's reader; None leaves that part out.
        """
        cgroup = self._cgroups.ensure(self._path)
        maps.apply(Put(Table.CGROUPS, cgroup, Subject(Reserved.CANARY, Armed.ARMED)))
        before, seen = counted(maps), recorded() if recorded else 0
        try:
            outcome = self._attempt()
        finally:
            maps.apply(Delete(Table.CGROUPS, cgroup))
            self._remove()
        failures = _stopped(outcome, mechanism)
        if mechanism is None:
            failures["open"] = "nothing holds opens"
        rise = {hook: n - before.get(hook, 0) for hook, n in counted(maps).items()}
        for hook in ("connect", "open"):
            if hook not in failures and rise.get(hook, 0) != 1:
                failures[hook] = f"stopped, but counted {rise.get(hook, 0)} times"
        wanted = len(failures) == 0 and recorded is not None
        if wanted and recorded and not _rises(recorded, seen + sum(rise.values())):
            failures["record"] = "stopped and counted, but no record reached the log's reader"
        return Finding(failures)

    def _remove(self) -> None:
        """A task that was killed takes a moment to leave its cgroup."""
        end = time.monotonic() + RECORD_WAIT_S
        while True:
            try:
                return self._cgroups.remove(self._path)
            except EdgeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _attempt(self) -> tuple[dict[str, str], int]:
        procs = self._cgroups.root.joinpath(self._path.lstrip("/"), "cgroup.procs")
        command = [sys.executable, "-I", "-S", "-c", ATTEMPT, str(procs), str(self.file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 -- our own interpreter and text
        except subprocess.TimeoutExpired as e:
            raise EdgeError(f"the canary did not come back within {TIMEOUT_S} s") from e
        return dict(line.split() for line in done.stdout.splitlines()), done.returncode


def counted(maps: Maps) -> dict[str, int]:
    """The canary's violations by hook, from the kernel's counters."""
    found: dict[str, int] = {}
    for (subject, _, _, kind, _, _, _), n in maps.counts().items():
        if subject == Reserved.CANARY:
            hook = "open" if kind == abi.DATA else "connect"
            found[hook] = found.get(hook, 0) + n
    return found


def _stopped(outcome: tuple[dict[str, str], int], mechanism: Mechanism | None) -> dict[str, str]:
    said, code = outcome
    failures = {}
    if said.get("connect") != "refused":
        failures["connect"] = f"a forbidden connect was not refused ({said.get('connect', 'no answer')})"
    killed = code == -signal.SIGKILL and "open" not in said
    if mechanism is Mechanism.TRACEPOINT and not killed:
        failures["open"] = f"a forbidden open did not end the task ({said.get('open', f'exit status {code}')})"
    if mechanism in (Mechanism.LSM, Mechanism.FMOD_RET) and said.get("open") != "refused":
        failures["open"] = f"a forbidden open was not refused ({said.get('open', f'exit status {code}')})"
    return failures


def _rises(read: Callable[[], int], goal: int) -> bool:
    end = time.monotonic() + RECORD_WAIT_S
    while read() < goal:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
