"""What one scrape costs a host of many subjects: from the kernel's counters to the text that Prometheus reads.

Real maps of the running kernel, filled with three series for each subject and the agent's accounts, attached to nothing;
beside it the same reading written by prometheus_client, in turns.
"""

from __future__ import annotations

import gc
import secrets
import statistics
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest

from bench import world
from bench.figure import Figure, Table
from enforcer import abi
from enforcer.core.model import Access, Hook, Verdict
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.loader import Loader
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.exposition import exposition
from enforcer.edges.http import QUICK
from enforcer.edges.memory import uncollected
from enforcer.edges.policyfile import load
from enforcer.runtime import report
from enforcer.runtime.proof import Finding
from enforcer.runtime.reconcile import Reconcile, Snapshot
from enforcer.runtime.state import StateFile
from enforcer.sinks.metrics import Metrics, Reading

T = TypeVar("T")
M = TypeVar("M", bound=Maps)

POLICY = Path(__file__).parents[1] / "policies" / "mcp.yaml"
SUBJECTS = (20, 10_000)
REPEATS = 9


@dataclass(frozen=True)
class Scrapes:
    """Seconds of each scrape: what the thread that answers used of a processor. ``plain``: written by prometheus_client."""

    subjects: int
    series: int
    read: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    packed: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)

    @property
    def whole(self) -> list[float]:
        """Reading, writing and packing."""
        return [sum(parts) for parts in zip(self.read, self.written, self.packed, strict=True)]


def measure(repeats: int = REPEATS) -> tuple[Scrapes, ...]:
    """At both sizes. Raises ``HostError`` where the kernel takes no probes."""
    return tuple(_at(subjects, repeats) for subjects in SUBJECTS)


def _at(subjects: int, repeats: int) -> Scrapes:
    policy, facts = load(POLICY), world.facts(subjects)
    with tempfile.TemporaryDirectory() as place, scratch_maps(Maps) as maps:
        file = StateFile(Path(place))
        snapshot = Reconcile(maps, file, file.read(), canary=None).load(policy, facts)
        found = Scrapes(subjects, _fill(maps, snapshot))
        gc.freeze()  # as the agent does once it is in force
        for _ in range(repeats):
            _scrape(maps, snapshot, found)
        gc.unfreeze()
        return found


def _scrape(maps: Maps, snapshot: Snapshot, found: Scrapes) -> None:
    registry = CollectorRegistry()
    with uncollected():
        reading = timed(found.read, lambda: _reading(maps, snapshot))
        registry.register(Metrics(lambda: reading))
        text = timed(found.written, lambda: exposition(registry))
    timed(found.packed, lambda: zlib.compress(text, QUICK))
    timed(found.plain, lambda: generate_latest(registry))


def _reading(maps: Maps, snapshot: Snapshot) -> Reading:
    health = report.Health(Finding({}), 0.0, 0, "", True, True, False, {}, 0, 0)
    return report.reading(maps, snapshot, (), health)


def timed(times: list[float], action: Callable[[], T]) -> T:
    """What ``action`` returns; what it used of a processor goes to ``times``."""
    begin = time.thread_time()
    result = action()
    times.append(time.thread_time() - begin)
    return result


def _fill(maps: Maps, snapshot: Snapshot) -> int:
    """Three violations of each subject, all recorded but one, which was suppressed; how many series that makes."""
    ids, rows = snapshot.state.ids, {}
    objects = [ids.object(o) for o in snapshot.facts.objects]
    subjects = [ids.subject(c) for c in snapshot.facts.containers]
    network = ids.network(next(iter(snapshot.facts.networks.values())).id)
    one = struct.pack(f"={Libbpf().cpus()}Q", 1, *[0] * (Libbpf().cpus() - 1))
    for n, subject in enumerate(subjects):
        seen = {"subject": subject, "verdict": Verdict.DENIED, "access": Access.READ}
        thing = objects[n * 7 % len(objects)]
        rows[bytes(abi.CountKey(object=thing, class_=abi.DATA, hook=Hook.OPEN, **seen))] = one
        rows[bytes(abi.CountKey(object=network, class_=abi.EXTERNAL, hook=Hook.CONNECT4, **seen))] = one
        peer = subjects[n - 1]
        rows[bytes(abi.CountKey(object=network, peer=peer, class_=abi.INSIDE, hook=Hook.CONNECT4, **seen))] = one
    losses = {bytes(abi.LossKey(subject=s, cause=abi.SUPPRESSED_BUDGET)): one for s in subjects}
    libbpf = Libbpf()
    libbpf.put_all(maps.fd("counts"), rows)
    libbpf.put_all(maps.fd("losses"), losses)
    maps.accounts.add({Account(abi.RECORDED, 0, subject): 2 for subject in subjects})
    return len(rows) + len(subjects)


@contextmanager
def scratch_maps(kind: type[M]) -> Iterator[M]:
    """Loaded and pinned, attached to nothing, and gone at the end."""
    libbpf = Libbpf()
    loader = Loader(Path("/sys/fs/bpf") / f"enforcer-bench-{secrets.token_hex(3)}", libbpf)
    loader.prepare()
    try:
        maps = kind(loader.build(Source.of(probes_directory())).maps, libbpf)
        try:
            yield maps
        finally:
            maps.close()
    finally:
        loader.unload()


def table() -> Table:
    """The last column is prometheus_client's writing over ours."""
    rows, found = [], measure()
    for one in found:
        times = (one.read, one.written, one.packed, one.whole, one.plain)
        shown = (f"{min(t) * 1e3:.1f} / {statistics.median(t) * 1e3:.1f}" for t in times)
        rows.append((str(one.subjects), str(one.series), *shown, f"{min(one.plain) / min(one.written):.1f}"))
    parts = ("read: least / median ms", "write", "pack", "all", "prometheus_client writes", "ratio")
    large = found[-1]
    figure = Figure.of(
        f"scrape with {large.subjects:,} subjects",
        *("s", large.whole),
        must=0.25,
        aim=0.1,
        peers={"prometheus_client": statistics.median(large.plain) / statistics.median(large.written)},
        note="of the processor; the peer's is for the writing alone",
    )
    return Table(("subjects", "series", *parts), rows, [figure])
