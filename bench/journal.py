"""Writing the journal, sealing beside it, against a plain write of the same bytes: both wait for the disk after each batch."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.figure import Table
from enforcer.core.event import Event, FileAttempt, Process, Who
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.edges.chained import verify
from enforcer.edges.ecs import encode_all
from enforcer.edges.journal import Journal
from enforcer.edges.segments import segments_of
from enforcer.errors import AbiError
from enforcer.settings import Limits

BATCH = 4096
"""As many as the agent writes at once."""

BATCHES = 100
LIMITS = Limits(segment_size=64 << 20)
PLACE = Path(__file__).parents[1] / ".cache"
"""On the disk of the checkout: /tmp may be memory."""


@dataclass(frozen=True)
class Found:
    """Seconds, for so many ``events`` of so many ``bytes``: as the clock goes, and of the processor for the writing thread."""

    events: int
    bytes: int
    journal: float
    journal_cpu: float
    encoding_cpu: float
    plain: float


def table() -> Table:
    """Into the journal, synced, and sealed beside it; the last column is times a plain write of the same bytes."""
    found = measure()
    rows = [
        ("as the clock goes", found.journal, f"{found.journal / found.plain:.2f}"),
        ("of the writing thread's processor", found.journal_cpu, ""),
        ("of it to encode", found.encoding_cpu, ""),
        ("a plain write and fdatasync", found.plain, "1.00"),
    ]
    shown = [(what, f"{found.events / s:.0f}", f"{s / found.events * 1e6:.2f}", ratio) for what, s, ratio in rows]
    heads = (f"journal, {found.events} events of {found.bytes // found.events} bytes", "events/s", "us each", "ratio")
    return Table(heads, shown)


def measure() -> Found:
    """Raises ``AbiError`` if a single event is not there afterwards: a speed with losses is none."""
    events = _events()
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PLACE) as place:
        start, cpu = time.perf_counter(), time.thread_time()
        _write(Path(place) / "log", events)
        journal, journal_cpu = time.perf_counter() - start, time.thread_time() - cpu
        found = verify(Path(place) / "log")
        if found.faults or found.records != BATCH * BATCHES:
            raise AbiError(f"{found.records} of {BATCH * BATCHES} events are in the journal; {found.faults}")
        cpu = time.thread_time()
        lines = encode_all(events, 1)
        encoding = (time.thread_time() - cpu) * BATCHES
        plain = _plainly(Path(place) / "plain", lines)
    return Found(BATCH * BATCHES, len(lines) * BATCHES, journal, journal_cpu, encoding, plain)


def _write(directory: Path, events: list[Event]) -> None:
    with Journal(directory, LIMITS) as journal:
        for _ in range(BATCHES):
            journal.append(events)
        if len(segments_of(directory)) < 2:
            raise AbiError("the load fits one segment")


def _plainly(path: Path, lines: bytes) -> float:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        start = time.perf_counter()
        for _ in range(BATCHES):
            os.write(fd, lines)
            os.fdatasync(fd)
        return time.perf_counter() - start
    finally:
        os.close(fd)


def _events() -> list[Event]:
    """A storm as the agent sees one: few containers and objects, and each attempt by another task on another file."""
    whos = [
        Who(f"{n:064x}", f"mcp-{n:02}-agent", "mcp/agent:1", {"com.docker.compose.service": "agent"}, ("mcp-internal",))
        for n in range(20)
    ]
    attempt = FileAttempt(ObjectId(Kind.VOLUME, "mcp-02-data"), "", inode=5, device=6)
    event = Event(
        sequence=0,
        time_ns=time.time_ns(),
        who=whos[0],
        process=Process(1, 1, 1001, "python3"),
        attempt=attempt,
        asked=Access.READ,
        granted=Access.NONE,
        mode=Mode.ENFORCE,
        verdict=Verdict.DENIED,
        mechanism=Mechanism.LSM,
        hook=Hook.OPEN,
        generation=3,
        policy="cd" * 32,
        rule=("data.rules[0]",),
    )
    return [
        replace(
            event,
            time_ns=event.time_ns + n * 5000,
            who=whos[n % 20],
            process=replace(event.process, pid=1000 + n, tid=1000 + n),
            attempt=replace(attempt, path=f"records/{n % 64}/{n}.json", inode=1_000_000 + n),
        )
        for n in range(BATCH)
    ]
