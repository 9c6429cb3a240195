"""The Docker engine dies and comes back under a running agent, on an engine of this module's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from deploy.demo.engine import Engine, start_own
from deploy.demo.images import Images, build_images
from deploy.demo.ledger import Kind, Ledger
from deploy.demo.process import Process, await_that
from deploy.demo.teardown import answers, unmake
from tests.e2e.agent import DATA, Agent, put_policy, sample
from tests.e2e.world import CONTENT, mounted

LOOP = ("sh", "-c", "while true; do cat /beta-data/f; usleep 50000; done")


@dataclass
class Own:
    """An engine whose dockerd can be ended and started again."""

    engine: Engine
    ledger: Ledger
    images: Images

    @property
    def dockerd(self) -> Process:
        """The last one that was started."""
        return [e.process() for e in self.ledger.entries() if e.kind is Kind.PROCESS and e.words[0] == "dockerd"][-1]

    def end(self, number: signal.Signals) -> list[str]:
        """End dockerd; containerd and what runs under it stay. The command that starts it again."""
        daemon = self.dockerd
        command = Path(f"/proc/{daemon.pid}/cmdline").read_text().rstrip("\0").split("\0")
        os.kill(daemon.pid, number)
        await_that("dockerd to end", lambda: not daemon.alive, seconds=60)
        os.waitpid(daemon.pid, 0)  # it is ours; as a zombie its pid file would still hold
        return command

    def begin(self, command: list[str]) -> None:
        """Start dockerd again."""
        log = self.engine.directory / "dockerd.log"
        daemon = self.ledger.add_process(self.engine.namespace.start(*command, name="dockerd", log=log))
        await_that("dockerd to answer", lambda: not daemon.alive or answers(self.engine.url), seconds=60)
        assert daemon.alive, log.read_text()[-1000:]


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    """The engine, with the base image and the volumes of the table."""
    ledger = Ledger.open_new()
    try:
        engine = start_own(ledger)
        images = build_images(engine)
        client = engine.client()
        for name in ("alpha-data", "beta-data"):
            Path(client.volumes.create(name, labels=engine.labels).attrs["Mountpoint"], "f").write_text(CONTENT)
        client.close()
        yield Own(engine, ledger, images)
    finally:
        assert unmake(ledger) == []


@pytest.fixture
def alone(own: Own) -> Iterator[Agent]:
    """An agent for that engine."""
    made = Agent(own.engine, own.engine.directory / "restart")
    put_policy(made)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def client(own: Own) -> Iterator[Callable[[], docker.DockerClient]]:
    """Clients: a new one after each restart."""
    made: list[docker.DockerClient] = []

    def new() -> docker.DockerClient:
        made.append(own.engine.client())
        return made[-1]

    yield new
    for each in made:
        each.close()


def test_agent_outlives_engine(own: Own, alone: Agent, client: Callable[[], docker.DockerClient]) -> None:
    """While the engine is away, enforcement and counting go on; when it is back, the agent follows it again by itself."""
    verdict, _ = alone.stopped
    status = 137 if verdict == "killed" else 1
    stolen = sample(DATA, container="stranger", object="beta-data", access="read", action=verdict)
    first = client()
    options = {"init": False, "network_mode": "none", "labels": own.engine.labels, "stop_signal": "SIGKILL"}
    first.containers.create(own.images.base, LOOP, name="stranger", volumes=mounted("beta-data"), **options).start()
    alone.await_that("violations", lambda: alone.violations().get(stolen, 0) > 0)
    for number in (signal.SIGKILL, signal.SIGTERM):
        command = own.end(number)
        alone.await_that("the loss to be told", lambda: not alone.status()["docker"]["connected"])
        if number is signal.SIGKILL:  # at SIGTERM the engine ends its containers
            counted = alone.violations()[stolen]
            alone.await_that("violations without an engine", lambda n=counted: alone.violations()[stolen] > n)
        own.begin(command)
        alone.await_that("the agent to be back", lambda: alone.status()["docker"]["connected"])
        alone.await_that("what has ended to be known", lambda: not alone.runs("stranger"))
        again = client()
        name = f"after-{number.name.lower()}"
        late = again.containers.create(
            own.images.base, ["cat", "/beta-data/f"], name=name, volumes=mounted("beta-data"), **options
        )
        late.start()
        assert late.wait(timeout=60)["StatusCode"] == status
        labels = {"container": name, "object": "beta-data", "access": "read", "action": verdict}
        assert alone.violations()[sample(DATA, **labels)] == 1
        alpha = again.containers.create(
            own.images.base, ["cat", "/alpha-data/f"], name="alpha", volumes=mounted("alpha-data"), **options
        )
        alpha.start()
        assert alpha.wait(timeout=60)["StatusCode"] == 0
        alpha.remove()
        again.containers.get("stranger").start()
        alone.await_that("it to be known again", lambda: alone.runs("stranger"))
        counted = alone.violations()[stolen]
        alone.await_that("violations under its name again", lambda n=counted: alone.violations()[stolen] > n)
    assert alone.running
    assert "Traceback" not in alone.log.read_text()


def test_agent_does_not_start_without_an_engine(own: Own, alone: Agent) -> None:
    """An agent that is started while the engine is away says so and ends; what was in force stays so."""
    alone.stop()
    command = own.end(signal.SIGKILL)
    done = alone.ask("run", *alone.options)
    own.begin(command)
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert "no engine answers" in done.stderr
    assert list(alone.pins.glob("*/links/*"))
