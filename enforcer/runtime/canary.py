"""The canary: a task in a scratch cgroup tries what is forbidden, and we look whether it was stopped, counted and recorded.

What is accepted but not enforced is the commonest complaint about tools of this kind; so the agent does not believe
itself. The canary is a subject like any other, always in enforce mode, to which nothing is granted. Beside it a container's
life is played: its cgroup appears, its first program starts, its cgroup goes.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.abc import InspectLoader
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
from enforcer.runtime import attempts
from enforcer.runtime.proof import STOPPED, Finding, Look, Seen, attempt_of, judge, kept_as, wanted

NAME = "enforcer-canary-"
"""What a scratch cgroup is called, with the agent's pid after it."""

START = "import marshal, sys; exec(marshal.load(sys.stdin.buffer))"
"""What our interpreter is started with: it is handed the program compiled, which takes a third of what the whole start does."""

TIMEOUT_S = 30
RECORD_WAIT_S = 5.0


def remove_left(cgroups: Cgroups, below: str) -> None:
    """Remove the scratch cgroups beneath ``below`` of agents that were killed during a self-test."""
    for path in cgroups.named(NAME, below):
        if not Path("/proc", path.rpartition(NAME)[2]).exists():
            with suppress(EdgeError):  # what the killed one tried has not ended yet: the next start comes by again
                cgroups.remove(f"{path}/life")
                cgroups.remove(path)


class Canary:
    """Runs attempts in a cgroup of its own below ``parent``, on a directory made in ``directory``, which every image protects."""

    def __init__(self, cgroups: Cgroups, parent: str, directory: Path, *, name: str) -> None:
        self._cgroups = cgroups
        self._path = f"{parent.rstrip('/')}/{name}"
        self._life = f"{self._path}/life"
        self.directory = directory / "canary"
        self._running = threading.Lock()
        try:
            self.directory.unlink(missing_ok=True) if not self.directory.is_dir() else None
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._lay()
        except OSError as e:
            raise HostError(f"cannot write {self.directory} ({e.strerror}): choose --run elsewhere") from e

    def inode(self) -> Inode:
        """The forbidden directory, for ``compile``."""
        found = Inodes().inode_of(self.directory)
        if found is None:
            raise EdgeError(f"{self.directory} is gone: something else cleans there")
        return found

    def remove(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(
        self, maps: Maps, holds: Mapping[str, Mechanism | None], recorded: Callable[[], Seen] | None = None
    ) -> Finding:
        """Try what is forbidden. ``holds``: hold group → what should hold it, None if nothing does; others are not tried.

        ``recorded`` tells how many of the canary's records have reached the log's reader, by ``attempt_of``; without it
        that part is left out. Raises ``EdgeError`` if it cannot be tried at all.
        """
        with self._running:
            try:
                self._lay()
            except OSError as e:
                raise EdgeError(f"cannot write {self.directory}: {e.strerror}") from e
            return self._run(maps, holds, recorded)

    def _run(self, maps: Maps, holds: Mapping[str, Mechanism | None], recorded: Callable[[], Seen] | None) -> Finding:
        cgroup = self._cgroups.ensure(self._path)
        maps.apply(Put(Table.CGROUPS, cgroup, Subject(Reserved.CANARY, Armed.ARMED)))
        before, seen = counted(maps), dict(recorded()) if recorded else {}
        try:
            life = self._cgroups.ensure(self._life)
            lived = {"birth": maps.subject(life) is not None}
            maps.apply(Put(Table.CGROUPS, life, Subject(Reserved.CANARY, Armed.PENDING)))
            closed = guarded(maps)
            outcome = self._attempt(wanted(holds, with_records=recorded is not None, guarded=closed), closed)
            lived["arm"] = maps.subject(life) == Subject(Reserved.CANARY, Armed.ARMED)
            self._remove(self._life)
            lived["death"] = maps.subject(life) is None
            maps.apply(Delete(Table.CGROUPS, life))
        finally:
            maps.apply(Delete(Table.CGROUPS, cgroup))
            self._remove(self._life)
            self._remove(self._path)
        rise = {name: n - before.get(name, 0) for name, n in counted(maps).items()}
        if recorded:
            _await_rise(recorded, seen, {kept_as(n) for n, said in outcome.items() if said in STOPPED})
        written = {name: n - seen.get(name, 0) for name, n in recorded().items()} if recorded else None
        return judge(holds, Look(outcome, lived, rise, written))

    def _lay(self) -> None:
        """Everything that can be changed, as if nothing had been: an attempt that nobody stopped has done so."""
        for left in self.directory.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        for name in ("empty", "read-only"):
            (self.directory / name).mkdir()
        for name in ("file", "gone", "old"):
            (self.directory / name).write_text("nothing but the enforcer's own test may try to touch this\n")
        (self.directory / "program").write_bytes(attempts.smallest_program())
        (self.directory / "program").chmod(0o700)

    def _remove(self, path: str) -> None:
        """A task that was killed takes a moment to leave its cgroup."""
        end = time.monotonic() + RECORD_WAIT_S
        while True:
            try:
                return self._cgroups.remove(path)
            except EdgeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def _places(self) -> dict[str, str]:
        return {"cgroup": self._path, "life": self._life, "outside": self._cgroups.of_pid(os.getpid())}

    def _attempt(self, names: Iterable[str], closed: Mapping[str, int]) -> dict[str, str]:
        root = self._cgroups.root
        places = {name: str(root / path.lstrip("/")) for name, path in self._places().items()}
        word = attempts.word_of(directory=str(self.directory), **places, pid=os.getpid(), guarded=dict(closed))
        command = [sys.executable, "-I", "-S", "-c", START, word, *names]
        try:
            done = subprocess.run(command, input=_code(), capture_output=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 -- our own interpreter and program
        except subprocess.TimeoutExpired as e:
            raise EdgeError(f"the canary did not come back within {TIMEOUT_S} s") from e
        if done.returncode:
            why = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
            raise EdgeError(f"the canary ended with {done.returncode} ({why})")
        return dict(line.split(maxsplit=1) for line in done.stdout.decode().splitlines())


@cache
def _code() -> bytes:
    loader = attempts.__spec__ and attempts.__spec__.loader
    if not isinstance(loader, InspectLoader):
        raise AssertionError("attempts.py is no file")
    return marshal.dumps(loader.get_code(attempts.__name__))


def counted(maps: Maps) -> dict[str, int]:
    """The canary's violations by ``attempt_of``, from the kernel's counters."""
    found: dict[str, int] = {}
    for (subject, _, _, _, access, _, hook), n in maps.counts().items():
        if subject == Reserved.CANARY:
            name = attempt_of(hook, access)
            found[name] = found.get(name, 0) + n
    return found


def guarded(maps: Maps) -> dict[str, int]:
    """The kernel's number of one map, one program and one link that are closed to every subject, as far as there are such."""
    kinds = {number: directory.removesuffix("s") for directory, number in abi.GUARDED.items()}
    keys = (abi.decode(abi.GuardKey, key) for key in maps.keys("guarded", ctypes.sizeof(abi.GuardKey)))
    return {kinds[key.kind]: key.id for key in keys}


def _await_rise(read: Callable[[], Seen], before: Seen, names: Iterable[str]) -> None:
    """Return when a record of each attempt has come, or after a while."""
    end = time.monotonic() + RECORD_WAIT_S
    while any(read().get(name, 0) <= before.get(name, 0) for name in names) and time.monotonic() < end:
        time.sleep(0.02)
