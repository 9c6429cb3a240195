"""The enforcer under test, run as an operator would run it, in the engine's network namespace."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.engine import Engine
from deploy.demo.ledger import Kind, Ledger
from deploy.demo.metrics import Sample, violations
from deploy.demo.pins import BPFFS, mount_filesystems
from deploy.demo.process import Process, Result, await_that, last_words, run
from enforcer.errors import EdgeError

PROJECT = Path(__file__).resolve().parents[2]
POLICY = PROJECT / "policies" / "mcp.yaml"
PORT = 9469


@dataclass(frozen=True)
class Agent:
    """The running agent and where it keeps its things."""

    engine: Engine
    process: Process
    directory: Path

    @property
    def journal(self) -> Path:
        """The directory of its event log."""
        return self.directory / "journal"

    @property
    def log(self) -> Path:
        """What it writes to its standard output and error."""
        return self.directory / "enforcer.log"

    def status(self) -> dict[str, Any]:
        """The answer of ``enforcer status --format json``."""
        answer = ask("status", "--run", str(self.directory / "run"), "--format", "json")
        parsed: dict[str, Any] = json.loads(answer.out)
        return parsed

    def mechanisms(self) -> dict[str, str]:
        """Which mechanism holds each hook."""
        held: dict[str, str] = self.status()["mechanisms"]
        return held

    def violations(self) -> dict[Sample, float]:
        """What it has counted so far."""
        return violations(self.engine.namespace.get("/metrics", PORT))

    @property
    def canary(self) -> str:
        """The scratch cgroup that its self-test makes, by its path beneath the hierarchy's root."""
        return f"{self.engine.parent.strip('/')}/enforcer-canary-{self.process.pid}"

    def stop(self) -> bool:
        """End it as systemd would. False if it did not end by itself."""
        return self.process.stop(patience=30)


def promised(engine: Engine) -> dict[str, str]:
    """Which mechanism will hold each hook, by ``enforcer doctor``: it tries each on a canary, where the agent will run."""
    words = ("doctor", *_cgroup(engine), "--format", "json")
    answer = engine.namespace.run("env", f"DOCKER_HOST={engine.url}", command(), *words)
    return {found["hook"]: found["mechanism"] for found in json.loads(answer.out)["hooks"]}


def _cgroup(engine: Engine) -> tuple[str, ...]:
    return ("--cgroup", engine.parent) if engine.own else ()


def command() -> str:
    """The installed ``enforcer``, beside the interpreter that runs the demo."""
    return str(Path(sys.executable).parent / "enforcer")


def ask(*words: str, check: bool = True, env: dict[str, str] | None = None) -> Result:
    """Run one enforcer command to its end."""
    return run(command(), *words, check=check, timeout=60, env=env)


def start_agent(engine: Engine, ledger: Ledger) -> Agent:
    """Start it with the shipped policy, and wait until it is in force."""
    mount_filesystems()
    directory = engine.directory / "agent"
    directory.mkdir()
    pins = BPFFS / f"enforcer-{engine.name}"
    ledger.add(Kind.PINS, str(pins), command(), engine.namespace.name)
    places = {name: str(directory / name) for name in ("journal", "state", "run")}
    process = engine.namespace.start(
        *(command(), "run", "--policy", str(POLICY), "--listen", f"127.0.0.1:{PORT}", "--pins", str(pins)),
        *(word for name, place in places.items() for word in (f"--{name}", place)),
        *_cgroup(engine),
        name="enforcer",
        log=directory / "enforcer.log",
        env={"DOCKER_HOST": engine.url},
    )
    agent = Agent(engine=engine, process=ledger.add_process(process), directory=directory)
    await_that(
        f"the enforcer to be in force, see {agent.log}", lambda: not process.alive or _in_force(agent), seconds=60
    )
    if not process.alive:
        raise EdgeError(f"the enforcer ended at once: {last_words(agent.log)}")
    return agent


def _in_force(agent: Agent) -> bool:
    return ask("status", "--run", str(agent.directory / "run"), check=False).status == 0
