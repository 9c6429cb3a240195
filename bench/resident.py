"""What an agent takes while nothing happens: memory, and the processor, its canary's processes included.

A real agent in an engine of its own with the guide's containers on their internal network. It runs in a cgroup of its own, whose
account (cpu.stat, Documentation/admin-guide/cgroup-v2.rst) has every child. Memory is what smaps_rollup tells of the agent itself;
the kernel's maps are told beside it, since they are nobody's resident memory. Containers of any engine of the machine that come
meanwhile are no idleness: births are seen machine-wide.
"""

from __future__ import annotations

import secrets
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from docker.types import IPAMConfig, IPAMPool

from bench.adopt import ENFORCER, containers, end, started, unload
from bench.figure import Figure, Table
from deploy.demo.engine import Engine, private_engine
from deploy.demo.pins import BPFFS, mount_filesystems
from enforcer.edges.cgroup import Cgroups
from enforcer.settings import CANARY_S

SETTLING_S = 20.0
"""After "in force": the files that have other names are looked for, the posture is looked at."""

MINUTES = 3
NETWORK, SUBNET = "mcp-internal", "172.30.0.0/16"


@dataclass(frozen=True)
class Resident:
    """Bytes: resident, of it the agent's alone, of it written to; of the kernel's maps. ``cpu``: of one core, minute by minute."""

    resident: int
    private: int
    anonymous: int
    maps: int
    cpu: tuple[float, ...]


def measure(minutes: int = MINUTES) -> Resident:
    """So many minutes, each with one canary. Raises ``HostError``, ``EdgeError`` where no engine or no agent starts."""
    mount_filesystems()
    with private_engine() as engine, containers(engine):
        _join(engine)
        pins = BPFFS / f"enforcer-bench-{engine.name}"
        with scratch_cgroup() as group:
            agent, _ = started(engine, pins, _within(group))
            try:
                time.sleep(SETTLING_S)
                cpu = tuple(_minute(group) for _ in range(minutes))
                return Resident(*_memory(agent.pid), _of_maps(agent.pid), cpu)
            finally:
                end(agent, signal.SIGTERM)
                unload(pins)


def _within(group: Path) -> tuple[str, ...]:
    return ("sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", str(ENFORCER))


def _join(engine: Engine) -> None:
    client = engine.client()
    try:
        pools = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)])
        network = client.networks.create(NETWORK, internal=True, ipam=pools, labels=engine.labels)
        for container in client.containers.list():
            network.connect(container)
    finally:
        client.close()


@contextmanager
def scratch_cgroup() -> Iterator[Path]:
    """A cgroup that nothing is attached to; whoever is in it must have ended."""
    cgroups, path = Cgroups(), f"/enforcer-bench-{secrets.token_hex(3)}"
    cgroups.ensure(path)
    try:
        yield cgroups.root / path.lstrip("/")
    finally:
        cgroups.remove(path)


def _minute(group: Path) -> float:
    before, begin = _used(group), time.monotonic()
    time.sleep(CANARY_S)
    return (_used(group) - before) / (time.monotonic() - begin)


def _used(group: Path) -> float:
    fields = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


def _memory(pid: int) -> tuple[int, int, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {key: int(value.split()[0]) << 10 for key, _, value in (line.partition(":") for line in lines)}
    return found["Rss"], found["Private_Clean"] + found["Private_Dirty"], found["Anonymous"]


def _of_maps(pid: int) -> int:
    """Each once, however many descriptors the agent has of it."""
    found: dict[str, int] = {}
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        fields = dict(line.split(":\t", 1) for line in info.read_text().splitlines() if ":\t" in line)
        if "map_id" in fields:
            found[fields["map_id"]] = int(fields["memlock"])
    return sum(found.values())


def table() -> Table:
    """In MB of 10^6 bytes; the processor as a share of one core."""
    found = measure()
    sizes = (found.resident, found.private, found.anonymous, found.maps)
    cpu = [share * 1e2 for share in found.cpu]
    heads = ("resident, MB", "private", "anonymous", "the kernel's maps", "of a core, least, %", "median", "most")
    row = (*(f"{size / 1e6:.1f}" for size in sizes), *(f"{f(cpu):.3f}" for f in (min, statistics.median, max)))
    figures = [
        Figure.of("agent's memory, steady, 20 containers", "MB", [found.resident / 1e6], must=64, aim=45),
        Figure.of("agent's idle processor, its canary's included", "% of a core", cpu, must=0.2, aim=0.05),
    ]
    return Table(heads, [row], figures)
