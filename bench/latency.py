"""From a violation to its line in the journal, and to the line that ``enforcer log --follow`` prints.

Both are told by the event itself: its time is the kernel's, taken while the task was still in its system call. A real agent in
an engine of its own, a real container, one file for each violation so that none repeats another. What both loops cost while
nothing happens is measured beside, for several lengths of their waits.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.adopt import containers, end, started, unload
from bench.figure import Table
from deploy.demo.engine import Engine, private_engine
from deploy.demo.images import build_images
from deploy.demo.pins import BPFFS, mount_filesystems
from deploy.demo.process import await_that
from enforcer.cli.log import LOOK_S
from enforcer.core.event import Event, Notice
from enforcer.edges.ecs import decode
from enforcer.edges.segments import follow
from enforcer.settings import DRAIN_S

REPEATS = 31
IDLE_S = 10.0
WAITS = ((DRAIN_S, LOOK_S), (0.01, 0.02), (0.02, 0.05), (0.1, 0.2), (0.2, 0.5))
"""How long the reader of the ring and the follower of the journal wait: the shipped pair first."""

HEADS = ("in the journal: least ms", "median", "most", "in log -f: least ms", "median", "most")

_OFTEN_S = 0.001
_VICTIM = "mcp-01-agent-data"
_WITH = """
import sys
from enforcer import settings
settings.DRAIN_S = {drain}
from enforcer.cli import log, main
log.LOOK_S = {look}
main()
"""


@dataclass(frozen=True)
class Delays:
    """Seconds from each violation to where it is read; ``agent`` and ``follower``: of one processor while nothing happens."""

    drain: float
    look: float
    journal: tuple[float, ...]
    follow: tuple[float, ...]
    agent: float
    follower: float


@dataclass
class _Reader:
    """Takes what comes, in a thread of its own, and when it came, in nanoseconds since 1970."""

    source: Iterator[Event | Notice]
    came: list[tuple[int, int]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until there is no more."""
        for item in self.source:
            now = time.time_ns()
            self.begun.set()
            if isinstance(item, Event):
                self.came.append((item.time_ns, now))

    def delays(self, since: int) -> tuple[float, ...]:
        """Seconds from each violation that was made since then to when it was read."""
        return tuple((now - made) / 1e9 for made, now in self.came if made >= since)


def table() -> Table:
    """From a violation to where it is read, beside what waiting less would cost; the last columns are of one processor."""
    rows = [
        (
            f"{d.drain * 1e3:.0f}",
            f"{d.look * 1e3:.0f}",
            *(f"{f(times) * 1e3:.0f}" for times in (d.journal, d.follow) for f in (min, statistics.median, max)),
            *(f"{share * 1e2:.1f} %" for share in (d.agent, d.follower)),
        )
        for d in measure()
    ]
    first = f"{REPEATS} violations: ring every, ms"
    return Table((first, "journal every", *HEADS, "agent idle", "log -f idle"), rows)


def measure(repeats: int = REPEATS) -> Iterator[Delays]:
    """So many violations under each pair of waits. Raises ``HostError``, ``EdgeError`` where no engine or no agent starts."""
    mount_filesystems()
    with private_engine() as engine, containers(engine):
        pins = BPFFS / f"enforcer-bench-{engine.name}"
        offend = _offender(engine, repeats)
        for drain, look in WAITS:
            program = (sys.executable, "-c", _WITH.format(drain=drain, look=look))
            agent, _ = started(engine, pins, program)
            try:
                yield _delays(agent.pid, program, engine.directory / "journal", offend, (drain, look))
            finally:
                end(agent, signal.SIGTERM)
                unload(pins)


def _offender(engine: Engine, repeats: int) -> Callable[[], int]:
    """A container with another's volume; each call reads every file in it, one after the other, and tells how many."""
    client = engine.client()
    mallory = client.containers.run(
        build_images(engine).base,
        ["sleep", "infinity"],
        name="mallory",
        detach=True,
        init=True,
        network_mode="none",
        volumes=[f"{_VICTIM}:/host"],
        labels=engine.labels,
    )
    place = Path(client.volumes.get(_VICTIM).attrs["Mountpoint"])
    for number in range(repeats):
        (place / str(number)).write_text("secret")

    def offend() -> int:
        for number in range(repeats):
            mallory.exec_run(["cat", f"/host/{number}"])
        return repeats

    return offend


def _delays(
    pid: int, program: tuple[str, ...], journal: Path, offend: Callable[[], int], waits: tuple[float, float]
) -> Delays:
    with _reading(program, journal) as (*readers, child):
        begin = time.time_ns()
        wanted = offend()
        await_that("the last violation to be read", lambda: all(len(r.delays(begin)) >= wanted for r in readers))
        agent, follower = _idle(pid), _idle(child)  # after them: the agent has looked at its host by now
        written, printed = (r.delays(begin) for r in readers)
    return Delays(*waits, written, printed, agent, follower)


@contextmanager
def _reading(program: tuple[str, ...], journal: Path) -> Iterator[tuple[_Reader, _Reader, int]]:
    """A reader of the journal itself, one of what ``log --follow`` prints, and that one's process."""
    ended = threading.Event()
    words = [*program, "log", "--follow", "--format", "json", "--journal", str(journal)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:  # noqa: S603 -- our own command
        if child.stdout is None:
            raise AssertionError("started without a pipe")
        readers = (
            _Reader(follow(journal, wait=lambda: not ended.wait(_OFTEN_S))),
            _Reader(decode(line) for line in child.stdout),
        )
        threads = [threading.Thread(target=reader.run) for reader in readers]
        for thread in threads:
            thread.start()
        try:
            await_that("what was recorded before to be read", lambda: all(r.begun.is_set() for r in readers))
            yield (*readers, child.pid)
        finally:
            ended.set()
            child.terminate()
            for thread in threads:
                thread.join()


def _idle(pid: int) -> float:
    """What a process takes of one processor while nothing happens."""
    process = psutil.Process(pid)
    before, begin = _used(process), time.monotonic()
    time.sleep(IDLE_S)
    return (_used(process) - before) / (time.monotonic() - begin)


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
