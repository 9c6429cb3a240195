"""Programs that the demo runs: to their end, or in the background until they are stopped by pid."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from enforcer.errors import EdgeError, HostError

POLL = 0.1
"""Seconds between two looks at something that is awaited."""


@dataclass(frozen=True)
class Result:
    """How a program ended: ``status`` as a shell sees it (128 + signal), and what it wrote."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Process:
    """A program in the background. ``started`` (clock ticks since boot) tells it from a later one of the same pid."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _started(self.pid) == self.started

    def stop(self, patience: float = 10) -> bool:
        """End it with SIGTERM, and with SIGKILL after ``patience`` seconds. False if it had to be killed."""
        gentle = self._end(signal.SIGTERM, patience) or not self._end(signal.SIGKILL, patience)
        if self.alive:
            raise EdgeError(f"{self.name} (pid {self.pid}) does not end: look at it with ps, then run make demo-down")
        return gentle

    def _end(self, with_signal: signal.Signals, patience: float) -> bool:
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if self.alive:  # asked after the descriptor pins the process: no other can take its pid between the two
                signal.pidfd_send_signal(fd, with_signal)
                select.select([fd], [], [], patience)
        finally:
            os.close(fd)
        with suppress(ChildProcessError):  # a child of this demo is reaped; that of an earlier one was
            os.waitpid(self.pid, os.WNOHANG)
        return not self.alive


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None for what has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def run(*argv: str, timeout: float = 60, check: bool = True, env: Mapping[str, str] | None = None) -> Result:
    """Run a program to its end. ``EdgeError`` if it outlasts ``timeout`` seconds or, with ``check``, if it fails."""
    try:
        done = subprocess.run(  # noqa: S603  the words come from this package, no shell reads them
            argv, capture_output=True, text=True, errors="replace", timeout=timeout, check=False, env=_environment(env)
        )
    except FileNotFoundError as e:
        raise HostError(f"{argv[0]} is not installed: run make install") from e
    except subprocess.TimeoutExpired as e:
        raise EdgeError(f"no end after {timeout:g} s: {' '.join(argv)}") from e
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    if check and status:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise EdgeError(f"{' '.join(argv)} ended with {status}: {said[-1] if said else 'it said nothing'}")
    return Result(status=status, out=done.stdout, err=done.stderr)


def start(*argv: str, name: str, log: Path, env: Mapping[str, str] | None = None) -> Process:
    """Start a program in the background, in a session of its own (a Ctrl-C at the demo is not meant for it)."""
    with log.open("ab") as out:
        try:
            child = subprocess.Popen(  # noqa: S603  as above
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=_environment(env),
            )
        except FileNotFoundError as e:
            raise HostError(f"{argv[0]} is not installed: run make install") from e
    child.returncode = 0  # it outlives this object on purpose (KEEP=1), so Popen has nothing to warn about
    return Process(name=name, pid=child.pid, started=_started(child.pid) or 0)


def _environment(extra: Mapping[str, str] | None) -> dict[str, str] | None:
    return {**os.environ, **extra} if extra else None


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a log, on one line, for an error message."""
    try:
        return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:]) or "nothing was logged"
    except FileNotFoundError:
        return "nothing was logged"


def await_that(what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Return once ``holds()``; ``EdgeError`` that says ``what`` was awaited after ``seconds``."""
    end = monotonic() + seconds
    while not holds():
        if monotonic() > end:
            raise EdgeError(f"waited {seconds:g} s in vain: {what}")
        sleep(POLL)
