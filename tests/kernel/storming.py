"""The log's reader over the real maps of the kernel tests, and the program that storms."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enforcer import abi
from enforcer.core.event import Event
from enforcer.edges.journal import Journal
from enforcer.edges.segments import read
from enforcer.runtime.books import Book, books
from enforcer.runtime.pipeline import Pipeline
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import Records
from enforcer.runtime.state import State
from enforcer.sinks.journal import JournalSink
from tests.kernel.conftest import World
from tests.scenarios import policy

SOURCE = Path(__file__).parents[1] / "storm.c"
EVER = 1 << 32
ROOM = abi.EVENTS_PAGES * 4096 // 648
"""Records that the ring of violations holds."""


def build(directory: Path) -> Path:
    """The program that storms, static."""
    program = directory / "storm"
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O2", "-static"]
    subprocess.run(["gcc", *flags, "-o", program, SOURCE], check=True)
    return program


def window() -> int:
    """The one that it is now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) >> abi.WINDOW_BITS


@dataclass
class Stand:
    """One reader after another over one journal, as agents come and go."""

    world: World
    program: Path
    directory: Path

    def __post_init__(self) -> None:
        self.before = books(self.world.maps, {})
        self.reader = self.begin()

    def begin(self, journal: Callable[[Journal], Journal] = lambda journal: journal) -> Pipeline:
        """A new agent's reader, over what the last one left. ``journal`` may put something before the real one."""
        world = self.world
        state = State(ids=world.ids).knowing(world.facts, world.ids)
        snapshot = Snapshot(policy(), world.facts, world.image, state)
        self.journal = Journal(self.directory)
        self.rings = world.probes.rings()
        sink = JournalSink(journal(self.journal))
        records = Records(lambda _: snapshot, world.cgroups)
        self.reader = Pipeline(self.rings, world.maps, records, sink, born=lambda _: None)
        return self.reader

    def end(self) -> None:
        """The agent is gone; what it had not done is not done."""
        self.journal.close()
        for ring in self.rings:
            ring.close()

    def command(self, who: str, count: int, deed: str, *path: str) -> list[str]:
        """A storm in a container's cgroup."""
        procs = self.world.cgroups.root / self.world.parent.lstrip("/") / who / "cgroup.procs"
        return [str(self.program), str(procs), str(count), deed, *path]

    def storm(self, who: str, count: int, deed: str, *path: str) -> int:
        """One storm to its end; how many deeds succeeded. It does not begin in a window that is taken for over."""
        while self.world.maps.accounts.place().repeats >> 32 >= window():
            time.sleep(0.01)
        command = self.command(who, count, deed, *path)
        return int(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)

    def read_all(self) -> None:
        """Read everything, also what was repeated in the window that it is now: the storm is over."""
        while self.reader.drain():
            pass
        self.reader._flush(self.reader._ledger, EVER)

    def book(self, who: str) -> Book:
        """What has become of a container's violations since the stand was made."""
        subject = self.world.subject(who)
        now = books(self.world.maps, self.reader.waiting()).get(subject, Book())
        old = self.before.get(subject, Book())
        return Book(
            now.counted - old.counted,
            now.recorded - old.recorded,
            now.suppressed - old.suppressed,
            now.waiting,
            now.lost - old.lost,
        )

    def events(self, who: str) -> list[Event]:
        """What the journal holds of a container."""
        return [e for e in read([self.directory]) if isinstance(e, Event) and e.who.name == who]


def balanced(book: Book) -> bool:
    """The invariant."""
    return book.counted == book.recorded + book.suppressed + book.waiting + sum(book.lost.values())
