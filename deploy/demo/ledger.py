"""What a demo made, written down before it is made: the same list unmakes it at the end and after a kill -9."""

from __future__ import annotations

import enum
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.process import Process

ROOT = Path("/run/enforcer-demo")


class Kind(enum.StrEnum):
    """The kinds of things that a demo makes."""

    DIRECTORY = "directory"
    NAMESPACE = "namespace"
    LINK = "link"
    CGROUP = "cgroup"
    SHIMS = "shims"
    PROCESS = "process"
    OBJECTS = "objects"
    PINS = "pins"


@dataclass(frozen=True)
class Entry:
    """One thing: its kind, and the words by which it is found again (what they are depends on the kind)."""

    kind: Kind
    words: tuple[str, ...]

    @classmethod
    def of_process(cls, process: Process) -> Entry:
        """How a background program is written down."""
        return cls(Kind.PROCESS, (process.name, str(process.pid), str(process.started)))

    def process(self) -> Process:
        """The program that this entry stands for."""
        name, pid, started = self.words
        return Process(name=name, pid=int(pid), started=int(started))

    def __str__(self) -> str:
        return f"{self.kind} {' '.join(self.words)}"


class Ledger:
    """An append-only file, one JSON list a line; the first line says which process owns it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open_new(cls, root: Path = ROOT) -> Ledger:
        """A ledger under a name that nobody uses yet; the name is that of everything that the demo makes."""
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        ledger = cls(root / f"enf{secrets.token_hex(2)}")
        ledger.path.touch(exist_ok=False)
        ledger._append([str(os.getpid()), str(_own_start())])
        return ledger

    @classmethod
    def all(cls, root: Path = ROOT) -> list[Ledger]:
        """Every ledger that was left, oldest name first."""
        return [cls(path) for path in sorted(root.glob("enf????"))] if root.is_dir() else []

    @property
    def name(self) -> str:
        """Seven characters: short enough to be part of an interface's name."""
        return self.path.name

    @property
    def owner_alive(self) -> bool:
        """Whether the demo that writes it still runs."""
        owner = self.owner
        return owner is not None and owner.alive

    @property
    def owner(self) -> Process | None:
        """The demo that writes it; None in the instant before it has written that."""
        lines = list(self._lines())
        return Process("demo", int(lines[0][0]), int(lines[0][1])) if lines else None

    def add(self, kind: Kind, *words: str) -> None:
        """Write down one thing; to be called before the thing is made, or at once after if its name comes later."""
        self._append([kind.value, *words])

    def add_process(self, process: Process) -> Process:
        """Write down a background program, and hand it on."""
        self.add(Kind.PROCESS, *Entry.of_process(process).words)
        return process

    def entries(self) -> list[Entry]:
        """What was made, in order."""
        return [Entry(Kind(line[0]), tuple(line[1:])) for line in list(self._lines())[1:]]

    def close(self) -> None:
        """Forget it: everything is unmade."""
        self.path.unlink(missing_ok=True)

    def _append(self, words: list[str]) -> None:
        with self.path.open("a") as out:
            out.write(json.dumps(words) + "\n")

    def _lines(self) -> Iterator[list[str]]:
        for line in self.path.read_text().splitlines():
            yield json.loads(line)


def _own_start() -> int:
    return int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
