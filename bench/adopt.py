"""From the start of ``enforcer run`` to its line "in force": adopting what is pinned, beside building it anew.

In an engine of its own with the guide's number of containers. The two kinds of start take turns, so that what else the
machine does meets both alike; medians are compared.
"""

from __future__ import annotations

import os
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figure import Table
from deploy.demo.engine import Engine, private_engine
from deploy.demo.images import build_images
from deploy.demo.pins import BPFFS, mount_filesystems
from enforcer.errors import EdgeError

POLICY = Path(__file__).parents[1] / "policies" / "mcp.yaml"
ENFORCER = Path(sys.executable).parent / "enforcer"
CONTAINERS = 20
REPEATS = 11
PATIENCE_S = 60


@dataclass(frozen=True)
class Starts:
    """Seconds from exec to "in force", of each start."""

    adopting: tuple[float, ...]
    cold: tuple[float, ...]

    @property
    def medians(self) -> tuple[float, float]:
        """Adopting, cold."""
        return statistics.median(self.adopting), statistics.median(self.cold)


def table() -> Table:
    """From exec to "in force"; the last column is adopting over building anew."""
    starts = measure()
    kinds = zip(("adopting", "building anew"), (starts.adopting, starts.cold), starts.medians, strict=True)
    rows = [
        (what, *(f"{t * 1e3:.0f}" for t in (min(times), median, max(times))), f"{median / starts.medians[1]:.2f}")
        for what, times, median in kinds
    ]
    return Table((f"start with {CONTAINERS} containers, {REPEATS} times", "least ms", "median", "most", "ratio"), rows)


def measure(repeats: int = REPEATS) -> Starts:
    """So many starts of each kind. Raises ``HostError``, ``EdgeError`` where no engine or no agent starts."""
    mount_filesystems()
    adopting, cold = [], []
    with private_engine() as engine, containers(engine):
        pins = BPFFS / f"enforcer-bench-{engine.name}"
        try:
            end(started(engine, pins)[0], signal.SIGKILL)  # byte code and page cache are warm from here on
            for _ in range(repeats):
                child, seconds = started(engine, pins)
                adopting.append(seconds)
                end(child, signal.SIGTERM)
                unload(pins)
                child, seconds = started(engine, pins)
                cold.append(seconds)
                end(child, signal.SIGKILL)
        finally:
            unload(pins)
    return Starts(tuple(adopting), tuple(cold))


@contextmanager
def containers(engine: Engine) -> Iterator[None]:
    """Sleepers with two volumes each, as many as the guide has agents; they go with the engine."""
    images, client = build_images(engine), engine.client()
    try:
        for number in range(1, CONTAINERS + 1):
            name = f"mcp-{number:02}-agent"
            volumes = [f"{name}-data:/app/data", f"{name}-config:/app/config:ro"]
            client.containers.run(
                images.base,
                ["sleep", "infinity"],
                name=name,
                detach=True,
                init=True,
                volumes=volumes,
                labels=engine.labels,
            )
        yield
    finally:
        client.close()


def started(
    engine: Engine, pins: Path, program: Sequence[str] = (str(ENFORCER),)
) -> tuple[subprocess.Popen[bytes], float]:
    """An agent that is in force, and the seconds that it took. ``program``: the words that stand for ``enforcer``."""
    places = [word for name in ("state", "run", "journal") for word in (f"--{name}", str(engine.directory / name))]
    command = [
        *("nsenter", f"--net=/run/netns/{engine.namespace.name}", *program, "run", "--policy", str(POLICY)),
        *(*places, "--pins", str(pins), "--cgroup", engine.parent, "--listen", "127.0.0.1:9471"),
    ]
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        child = subprocess.Popen(  # noqa: S603 -- our own command
            command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, "DOCKER_HOST": engine.url}
        )
        line = _first_line(child)
        seconds = time.perf_counter() - begin
        if b"in force" not in line:
            end(child, signal.SIGKILL)
            log.seek(0)
            raise EdgeError(f"the agent does not come in force: {log.read().decode(errors='replace')[-500:]}")
    return child, seconds


def _first_line(child: subprocess.Popen[bytes]) -> bytes:
    if child.stdout is None:
        raise AssertionError("started without a pipe")
    with selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ)
        return child.stdout.readline() if waiting.select(PATIENCE_S) else b""


def end(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Have an agent end, and wait for that."""
    child.send_signal(number)
    child.communicate(timeout=PATIENCE_S)


def unload(pins: Path) -> None:
    """Leave nothing in the kernel."""
    if pins.exists():
        subprocess.run([ENFORCER, "unload", "--pins", pins], check=True, capture_output=True)  # noqa: S603 -- our own command
