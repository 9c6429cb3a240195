"""How soon the kernel's rows follow Docker: from the return of a call to the engine to the rows that it changes.

In an engine of its own with the guide's number of containers beside the one that changes. What is waited for is the address in the
rows by which the network is judged, and the epoch that ends what was judged before. 0: they were there when the call returned.
"""

from __future__ import annotations

import ctypes
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from bench.adopt import containers, end, started, unload
from bench.figure import Table
from deploy.demo.engine import Engine, private_engine
from deploy.demo.images import build_images
from deploy.demo.pins import BPFFS, mount_filesystems
from enforcer import abi
from enforcer.core.address import packed
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.maps import Maps
from enforcer.errors import EdgeError

REPEATS = 20
PATIENCE_S = 30
PAUSE_S = 0.3
"""Between changes, so that what follows upon one is not taken for the next."""

NETWORK, SUBNET, ADDRESS = "mcp-internal", "172.30.0.0/16", "172.30.200.200"


@dataclass(frozen=True)
class Times:
    """Seconds of each change, by what changed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, float, float, float]]:
        """What changed; least, median and most."""
        for what, found in self.seconds.items():
            yield what, min(found), statistics.median(found), max(found)


class Watched:
    """The address of the container that changes, in the rows of the running agent."""

    def __init__(self, pins: Path) -> None:
        [build] = (path for path in pins.iterdir() if (path / "maps").is_dir())
        self._maps = Maps(build / "maps", Libbpf())

    @property
    def epoch(self) -> int:
        """Raised whenever what the network is judged by has changed."""
        return int(self._maps.config().epoch)

    def there(self) -> bool:
        """Whether anybody has the address."""
        address = packed(str(ip_address(ADDRESS)))
        return any(key.startswith(address) for key in self._maps.keys("endpoints", ctypes.sizeof(abi.EndpointKey)))

    def seconds(self, change: Callable[[], object], *, there: bool) -> float:
        """From the end of ``change`` until the address is or is not there, in force."""
        before = self.epoch
        change()
        begin = time.perf_counter()
        while self.there() is not there or self.epoch == before:
            if time.perf_counter() - begin > PATIENCE_S:
                raise EdgeError(f"the rows have not followed Docker after {PATIENCE_S} s")
            time.sleep(0.0005)
        return time.perf_counter() - begin


def table() -> Table:
    """From the return of a call to the engine to the kernel's rows."""
    rows = [(what, *(f"{t * 1e3:.0f}" for t in times)) for what, *times in measure().rows()]
    return Table((f"rows follow Docker, {REPEATS} times", "least ms", "median", "most"), rows)


def measure(repeats: int = REPEATS) -> Times:
    """So many times each. Raises ``HostError``, ``EdgeError`` where no engine or no agent starts."""
    mount_filesystems()
    with private_engine() as engine, containers(engine), _subject(engine) as subject:
        pins = BPFFS / f"enforcer-bench-{engine.name}"
        child, _ = started(engine, pins)
        try:
            return _measured(engine, subject, Watched(pins), repeats)
        finally:
            end(child, signal.SIGTERM)
            unload(pins)


def _measured(engine: Engine, subject: Container, watched: Watched, repeats: int) -> Times:
    client, found = engine.client(), Times()
    try:
        network = client.networks.get(NETWORK)

        def connect() -> None:
            network.connect(subject, ipv4_address=ADDRESS)

        def disconnect() -> None:
            network.disconnect(subject)

        changes: tuple[tuple[str, Callable[[], object], bool], ...] = (
            ("docker network connect", connect, True),
            ("docker kill", subject.kill, False),
            ("docker start", subject.start, True),
            ("docker network disconnect", disconnect, False),
        )
        for _ in range(repeats):
            for what, change, there in changes:
                found.seconds.setdefault(what, []).append(watched.seconds(change, there=there))
                time.sleep(PAUSE_S)
        return found
    finally:
        client.close()


@contextmanager
def _subject(engine: Engine) -> Iterator[Container]:
    """The container that changes, on the engine's own bridge, and the network that it joins and leaves."""
    images, client = build_images(engine), engine.client()
    try:
        pools = IPAMConfig(pool_configs=[IPAMPool(subnet=SUBNET)])
        client.networks.create(NETWORK, internal=True, ipam=pools, labels=engine.labels)
        made: Container = client.containers.run(
            images.base, ["sleep", "infinity"], name="mcp-99-agent", detach=True, init=True, labels=engine.labels
        )
        yield made
    finally:
        client.close()
