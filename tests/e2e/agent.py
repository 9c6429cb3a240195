"""The agent as an operator runs it: a process of its own in the engine's network namespace, known by what it answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.engine import Engine
from deploy.demo.pins import BPFFS, mount_filesystems
from deploy.demo.process import await_that
from enforcer.core.event import Event, Notice
from enforcer.edges.control import ask
from enforcer.edges.segments import read
from enforcer.errors import EdgeError
from tests.e2e.world import MORE
from tests.lines import check_journal
from tests.scenarios import POLICY

ENFORCER = str(Path(sys.executable).parent / "enforcer")
PORT = 9470
"""In the engine's namespace, where nobody else listens."""

DATA = "mcp_data_access_violations_total"
EXTERNAL = "mcp_external_connections_total"
INSIDE = "mcp_network_violations_total"

Sample = tuple[str, tuple[tuple[str, str], ...]]


def sample(metric: str, **labels: str) -> Sample:
    """One time series: its name and all its labels."""
    return metric, tuple(sorted(labels.items()))


@dataclass(frozen=True)
class Mark:
    """A moment: what was counted until then, and the last number in the journal."""

    counts: Mapping[Sample, float]
    sequence: int


class Agent:
    """``enforcer run`` with everything that it keeps below ``directory``; started, killed and stopped as a test wants.

    The policy is the directory ``policy``, which the test fills before the first start.
    """

    def __init__(self, engine: Engine, directory: Path, *, port: int = PORT) -> None:
        mount_filesystems()
        self.engine, self.directory, self.port = engine, directory, port
        self.policy = directory / "policy"
        self.policy.mkdir(parents=True, exist_ok=True)
        self.pins = BPFFS / f"enforcer-e2e-{engine.name}-{directory.name}"
        self.journal, self.log, self.said = (directory / name for name in ("journal", "log", "said"))
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The options of ``run`` that name this agent's own places."""
        places = {name: str(self.directory / name) for name in ("policy", "journal", "state", "run")}
        named = tuple(word for name, place in places.items() for word in (f"--{name}", place))
        return (
            *(*named, "--listen", f"127.0.0.1:{self.port}", "--pins", str(self.pins)),
            *("--cgroup", f"/{self.engine.name}"),
        )

    @property
    def inside(self) -> tuple[str, ...]:
        """The words before a command that is to run in the engine's network namespace."""
        return ("nsenter", f"--net=/run/netns/{self.engine.namespace.name}")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the agent and of its commands."""
        return {**os.environ, "DOCKER_HOST": self.engine.url}

    @property
    def pid(self) -> int:
        """Of the running agent."""
        assert self._child, "the agent has not been started"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._child is not None and self._child.poll() is None

    def start(self, *options: str) -> None:
        """Start it, and return when it says that it is in force. ``EdgeError`` if it ends instead."""
        assert not self.running, "it runs already"
        with self.log.open("ab") as log, self.said.open("wb") as said:
            words = [*self.inside, ENFORCER, "run", *self.options, *options]
            self._child = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=log, env=self.environment
            )
        self.await_that("the agent to be in force", lambda: not self.running or b"in force" in self.said.read_bytes())
        if not self.running:
            raise EdgeError(f"the agent ended with {self._child.returncode}: {self.log.read_text()[-2000:]}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self._child
        self._child.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        self.await_that("the agent to stand still", lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = 60) -> int:
        """Its exit status, once it has ended."""
        assert self._child
        return self._child.wait(seconds)

    def unload(self) -> None:
        """Remove everything from the kernel, and see that nothing is left."""
        done = self.ask("unload", "--pins", str(self.pins))
        assert (done.returncode, self.pins.exists()) == (0, False), done.stderr

    def close(self) -> None:
        """Whatever a test has done to it: end it and leave nothing."""
        if self.running:
            self.signal(signal.SIGCONT)
            self.stop()
        self.unload()
        check_journal(self.journal)
        cgroups = [d.name for d in Path("/sys/fs/cgroup").glob(f"**/{self.engine.name}/enforcer-*")]
        assert cgroups == []

    def ask(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run another command of the enforcer to its end."""
        options = {"env": self.environment, "timeout": 60} | options
        return subprocess.run([*self.inside, ENFORCER, *words], check=False, capture_output=True, text=True, **options)

    def status(self) -> dict[str, Any]:
        """What ``status --format json`` prints, asked without starting a program."""
        return ask(self.directory / "run" / "control.sock", {"command": "status"})

    def matrix(self) -> dict[str, Any]:
        """The matrix in force."""
        return ask(self.directory / "run" / "control.sock", {"command": "matrix"})

    def networks_of(self, name: str) -> list[str]:
        """The networks that the agent knows a container to be on."""
        return [network for c in self.status()["containers"] if c["name"] == name for network in c["networks"]]

    def runs(self, name: str) -> bool:
        """Whether the agent knows a container of that name to run."""
        return any(c["running"] for c in self.status()["containers"] if c["name"] == name)

    def metrics(self) -> dict[Sample, float]:
        """Every sample of a scrape."""
        families = text_string_to_metric_families(self.engine.namespace.get("/metrics", self.port))
        return {sample(s.name, **s.labels): s.value for family in families for s in family.samples}

    def violations(self) -> dict[Sample, float]:
        """The counters of violations."""
        return {found: value for found, value in self.metrics().items() if found[0].startswith("mcp_")}

    def records(self, after: int = 0) -> list[Event | Notice]:
        """What the journal holds with a number above ``after``."""
        return [item for item in read([self.journal]) if item.sequence > after]

    def events(self, after: int = 0) -> list[Event]:
        """The attempts among ``records``."""
        return [item for item in self.records(after) if isinstance(item, Event)]

    def notices(self, action: str, after: int = 0) -> list[Notice]:
        """The agent's own notices of one kind among ``records``."""
        return [item for item in self.records(after) if isinstance(item, Notice) and item.action == action]

    def mark(self) -> Mark:
        """This moment, to compare with."""
        return Mark(self.violations(), max((item.sequence for item in self.records()), default=0))

    def rise(self, since: Mark) -> dict[Sample, float]:
        """What was counted since then."""
        now = self.violations()
        assert since.counts.keys() <= now.keys(), "a counter has gone"
        return {found: n - since.counts.get(found, 0) for found, n in now.items() if n != since.counts.get(found, 0)}

    def await_events(self, since: Mark, number: int) -> list[Event]:
        """The attempts since then, once so many are in the journal."""
        self.await_that(f"{number} events", lambda: len(self.events(since.sequence)) >= number)
        return self.events(since.sequence)

    def await_container(self, name: str, *, known: bool = True) -> None:
        """Return once the agent knows a container of that name, or knows none any more."""
        self.await_that(
            f"{name} to be {'known' if known else 'forgotten'}",
            lambda: (name in {c["name"] for c in self.status()["containers"]}) is known,
        )

    def await_that(self, what: str, holds: Callable[[], bool], seconds: float = 60) -> None:
        """Bounded waiting, whose failure shows the end of the agent's log."""
        try:
            await_that(what, holds, seconds)
        except EdgeError as e:
            raise AssertionError(f"{e}; the agent's log ends: {self.log.read_text()[-1500:]}") from e

    @property
    def stopped(self) -> tuple[str, int]:
        """What a forbidden open looks like under this host's mechanism: the verdict, and the exit status of the offender."""
        return ("killed", 137) if self.status()["mechanisms"]["open"] == "tracepoint" else ("denied", 77)


def put_policy(agent: Agent) -> None:
    """The policy of the table and of tests/e2e/world.py, and nothing else, in the agent's directory."""
    wanted = {"10-table.yaml": POLICY, "20-more.yaml": MORE}
    for file in agent.policy.iterdir():
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        if not (agent.policy / name).exists() or (agent.policy / name).read_bytes() != text:
            (agent.policy / name).write_bytes(text)
