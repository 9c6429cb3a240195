"""The demo is run as `make demo` runs it: it ends well only if all is well, and whatever its end, nothing stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from deploy.demo.__main__ import Report, _removed_unless_kept
from deploy.demo.agent import Agent
from deploy.demo.engine import Engine
from deploy.demo.ledger import Entry, Kind, Ledger
from deploy.demo.pins import program_exists, programs_of
from deploy.demo.process import Process, await_that
from deploy.demo.story import STORY
from deploy.demo.teardown import cgroup_directories, leftovers, mounts_under
from enforcer.edges.cgroup import Cgroups
from tests.arch.tree import ROOT

WHOLE_S = 180
"""Bounds a whole demo, which takes a minute on two busy cores."""

REMOVAL_S = 90
"""Bounds the removal of everything."""

IN_STORY = f"{STORY[0].title}\n"
"""The first step, which is played only once, with the enforcer in force: ten more are to come."""

REMOVED = "everything that the demo made is removed"


@dataclass
class Demo:
    """A running demo with an engine of its own. ``made`` is what its ledger named at the last look."""

    process: subprocess.Popen[bytes]
    output: Path
    ledger: Path = Path()
    made: list[Entry] = field(default_factory=list)
    programs: set[int] = field(default_factory=set)

    @property
    def said(self) -> str:
        """What it has written so far."""
        return self.output.read_text(errors="replace")

    def look(self) -> None:
        """Read its ledger, which is gone once the demo is."""
        with suppress(FileNotFoundError):
            for ledger in Ledger.all():
                if ledger.owner and ledger.owner.pid == self.process.pid:
                    self.ledger, self.made = ledger.path, ledger.entries()
        for pins in self.words(Kind.PINS):
            self.programs |= set(programs_of(Path(pins[0])))

    def words(self, kind: Kind) -> list[tuple[str, ...]]:
        """What of this kind it has made."""
        return [entry.words for entry in self.made if entry.kind is kind]

    def await_said(self, text: str) -> None:
        """Return once it has written ``text``, with its ledger read; fail if it ends before."""
        await_that(text, lambda: text in self.said or self.process.poll() is not None, seconds=WHOLE_S)
        self.look()
        assert self.process.poll() is None, self.said

    def kill_part(self, name: str) -> None:
        """Kill -9 one of its programs, by the ledger's word."""
        [part] = [e.process() for e in self.made if e.kind is Kind.PROCESS and e.words[0] == name]
        assert part.alive
        os.kill(part.pid, signal.SIGKILL)

    def await_end(self) -> int:
        """Its exit status."""
        return self.process.wait(timeout=WHOLE_S)

    def assert_nothing_left(self) -> None:
        """No namespace, process, cgroup, pin, program, mount, directory or ledger of it can be found."""
        kinds = {entry.kind for entry in self.made}
        assert kinds >= {Kind.NAMESPACE, Kind.CGROUP, Kind.DIRECTORY, Kind.PROCESS}
        assert leftovers(self.made) == []
        assert [mounts_under(words[0]) for words in self.words(Kind.DIRECTORY)] == [[]]
        assert not self.ledger.exists()
        assert [number for number in self.programs if program_exists(number)] == []


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """``python -m deploy.demo --own-engine``, just started."""
    output = tmp_path / "output"
    argv = [sys.executable, "-m", "deploy.demo", "--own-engine"]
    with output.open("wb") as out, subprocess.Popen(argv, cwd=ROOT, stdout=out, stderr=out) as process:
        try:
            yield Demo(process, output)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=REMOVAL_S)


def test_the_demo_ends_well_and_leaves_nothing(demo: Demo) -> None:
    """Every step of the story and every check around it is as expected, with real containers, and all is removed."""
    demo.await_said(IN_STORY)
    assert demo.programs
    assert demo.await_end() == 0, demo.said
    as_expected, checked = re.search(r"(\d+) of (\d+) checks were as expected\n$", demo.said).groups()
    assert as_expected == checked
    assert int(checked) > len(STORY) + sum(step.control for step in STORY)
    assert demo.said.count("      as expected\n") == int(checked)
    assert [step.title for step in STORY if f".  {step.title}\n" not in demo.said] == []
    assert REMOVED in demo.said
    demo.assert_nothing_left()


PARTS = {
    "enforcer": (4, r"^demo: "),
    "internet": (1, r"^FAILED .*roll call: internet does not run$"),
}


@pytest.mark.parametrize(("part", "status", "says"), [(p, *end) for p, end in PARTS.items()], ids=list(PARTS))
def test_the_demo_fails_if_a_part_is_killed(demo: Demo, part: str, status: int, says: str) -> None:
    """Without the enforcer, or without the internet that records what arrives, it does not end well; all is removed."""
    demo.await_said(IN_STORY)
    demo.kill_part(part)
    assert demo.await_end() == status, demo.said
    assert re.search(says, demo.said, re.MULTILINE), demo.said
    assert REMOVED in demo.said
    demo.assert_nothing_left()


def test_an_interrupted_demo_leaves_nothing(demo: Demo) -> None:
    """SIGTERM in the middle of the construction ends it with 130, through the removal of what stands so far."""
    demo.await_said("engine: one of our own")
    demo.process.send_signal(signal.SIGTERM)
    assert demo.await_end() == 130, demo.said
    assert demo.said.endswith("demo: interrupted\n")
    assert REMOVED in demo.said
    demo.assert_nothing_left()


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, RuntimeError], ids=["the end", "Ctrl-C", "a crash"])
def test_what_cannot_be_removed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], end: type | None) -> None:
    """However the demo ends, what it could not remove is named, and nothing says that all is gone."""
    ledger, report = Ledger.open_new(tmp_path), Report()
    (stubborn := tmp_path / "stubborn").touch()
    ledger.add(Kind.DIRECTORY, str(stubborn))  # it is a file: it cannot be removed as a directory is
    with suppress(KeyboardInterrupt, RuntimeError), _removed_unless_kept(ledger, report):
        if end:
            raise end
    out, err = capsys.readouterr()
    assert f"not removed: directory {stubborn}" in err
    assert "something is left: run make demo-down" in out
    assert REMOVED not in out + err
    assert report.left
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert ledger.path.exists()


def test_a_scratch_cgroup_that_the_agent_left_is_found(engine: Engine, tmp_path: Path) -> None:
    """The self-test's cgroup is looked for where the agent makes it: beneath the cgroup above the containers."""
    agent = Agent(engine=engine, process=Process("enforcer", pid=1, started=0), directory=tmp_path)
    cgroups, path = Cgroups(), f"/{engine.name}/enforcer-canary-1"
    assert cgroup_directories(agent.canary) == []
    cgroups.ensure(path)
    try:
        assert cgroup_directories(agent.canary) == [cgroups.root / path.lstrip("/")]
    finally:
        cgroups.remove(path)
    assert replace(engine, own=False).parent == "/docker"  # Docker's default for its driver, cgroupfs
