"""`enforcer replay --policy` against jq, DuckDB and ausearch: two kinds of journal, plain and sealed.

Both are started as a person starts them, in turns, so that what else the machine does meets both alike, and the CPU time of each
process is taken, so that a second core helps nobody. The medians are compared, less what each takes over a journal of one batch: a
journal of any length costs that once. jq reads a sealed segment through ``zstd -dc``.

What was read a moment ago is in the page cache. Months of journals are not: the time by the clock is taken, too, of a first
reading, from the disk.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.askers import audit_log, ausearch, duckdb
from bench.figure import Figure, Table
from enforcer.core.event import Event, FileAttempt, NetAttempt, Process, Who
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.edges.journal import Journal
from enforcer.edges.seal import tidy
from enforcer.edges.segments import segment_name, segments_of
from enforcer.errors import HostError
from enforcer.settings import LIMITS

POLICY = Path(__file__).parents[1] / "policies" / "mcp.yaml"
ENFORCER = Path(sys.executable).parent / "enforcer"
JQ = ("jq", "-c", 'select(.event.dataset == "enforcer.attempt")')
"""Picks what replay judges: all of it."""

JQ_SILENT = ("jq", "-c", 'select(.enforcer.verdict == "allowed")')
"""Finds nothing, and so need not write."""

LINES = 300_000
BATCH = 64
REPEATS = 3
START = 1_763_431_200_000_000_000
NAMES = tuple(f"mcp-{n:02}-agent" for n in range(1, 21))


@dataclass(frozen=True)
class Measured:
    """CPU seconds beyond a start, of each program for one kind of journal; ``start`` and ``peak`` (MB of memory) are replay's.

    ``first_plain`` and ``first_sealed``: seconds by the clock of replay's whole run over what is not in the page cache.
    """

    kind: str
    lines: int
    jq: float
    silent: float
    jq_sealed: float
    duckdb: float
    ausearch: float
    plain: float
    sealed: float
    first_plain: float
    first_sealed: float
    start: float
    peak: float


def table() -> Table:
    """CPU time over the same segments, beyond what a start takes; the ratios are the others over replay, and sealed over plain."""
    found = measure()
    rows = [
        (
            *(m.kind, str(m.lines), f"{m.jq:.2f}", f"{m.plain:.2f}", f"{m.sealed:.2f}", f"{m.start:.2f}"),
            *(f"{m.lines / m.plain:.0f}", f"{m.lines / m.sealed:.0f}", f"{m.peak:.0f}"),
            *(f"{m.jq / m.plain:.1f}", f"{m.jq_sealed / m.sealed:.1f}", f"{m.sealed / m.plain:.2f}"),
            *(f"{m.silent / m.plain:.1f}", f"{m.duckdb / m.plain:.2f}", f"{m.ausearch / m.plain:.1f}"),
            *(f"{m.first_plain:.2f}", f"{m.first_sealed:.2f}"),
        )
        for m in found
    ]
    costs = ("jq, s", "plain, s", "sealed, s", "start, s", "events a CPU second", "sealed", "peak MB")
    ratios = ("jq to plain", "jq to sealed", "sealed to plain", "jq that finds nothing to plain", "DuckDB", "ausearch")
    figures = [
        Figure.of(
            f"replay of {m.kind}, events a second of the processor",
            *("events/s", [m.lines / m.plain]),
            more_is_better=True,
            peers={"jq": m.plain / m.jq, "DuckDB": m.plain / m.duckdb, "ausearch": m.plain / m.ausearch},
            note="replay judges each event by a policy; the others select and write",
        )
        for m in found
    ]
    return Table(("replay", "lines", *costs, *ratios, "first reading, s", "sealed"), rows, figures)


def measure(lines: int = LINES, repeats: int = REPEATS) -> tuple[Measured, ...]:
    """Both kinds. Raises ``HostError`` without jq."""
    with tempfile.TemporaryDirectory() as place:
        return tuple(_of(kind, make, Path(place) / kind, lines, repeats) for kind, make in KINDS.items())


def _of(kind: str, make: Callable[[random.Random], Event], directory: Path, lines: int, repeats: int) -> Measured:
    whole = _write(directory, make, lines)
    packed = directory.with_suffix(".sealed")
    packed.mkdir()
    for segment in segments_of(directory):
        shutil.copyfile(segment, packed / segment.name)
    tidy(packed, packed / segment_name(lines + 1), set(), lambda: None)  # as the agent does it
    short = directory.with_suffix(".short")
    _write(short, make, BATCH)
    [long], [small] = segments_of(directory), segments_of(packed)
    programs = _programs(directory, packed, short, whole)
    runs: dict[str, list[_Cost]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, command in programs.items():
            runs[name].append(_cost(*command))
        for name, segment in (("plain", long), ("sealed", small)):
            _forget(segment)
            runs.setdefault(f"first {name}", []).append(_cost(*programs[name]))
    cpu = {name: statistics.median(cost.cpu for cost in found) for name, found in runs.items()}
    beyond = {name: cpu[name] - cpu["start"] for name in ("plain", "sealed")}
    beyond |= {name.replace(" ", "_"): cpu[name] - cpu["jq start"] for name in ("jq", "silent", "jq sealed")}
    beyond |= {name: cpu[name] - cpu[f"{name} start"] for name in ("duckdb", "ausearch")}
    for name in ("first plain", "first sealed"):
        beyond[name.replace(" ", "_")] = statistics.median(cost.clock for cost in runs[name])
    return Measured(kind, whole, **beyond, start=cpu["start"], peak=max(cost.megabytes for cost in runs["plain"]))


def _programs(directory: Path, packed: Path, short: Path, lines: int) -> dict[str, tuple[str, ...]]:
    """What is run over a journal of so many lines, the same sealed, and one of a batch only."""
    words = (str(ENFORCER), "replay", "--policy", str(POLICY))
    beside = directory.with_suffix
    [long], [small], [first] = (segments_of(place) for place in (directory, packed, short))
    return {
        "plain": (*words, str(directory)),
        "sealed": (*words, str(packed)),
        "jq": (*JQ, str(long)),
        "silent": (*JQ_SILENT, str(long)),
        "jq sealed": ("sh", "-c", f"zstd -dc {shlex.quote(str(small))} | {shlex.join(JQ)}"),
        "duckdb": duckdb(long, beside(".found")),
        "ausearch": ausearch(audit_log(beside(".audit"), lines)),
        "start": (*words, str(short)),
        "jq start": (*JQ, str(first)),
        "duckdb start": duckdb(first, beside(".few")),
        "ausearch start": ausearch(audit_log(beside(".begun"), BATCH)),
    }


def _write(directory: Path, make: Callable[[random.Random], Event], lines: int) -> int:
    """A journal as an agent writes it: in batches, each chained to the one before."""
    chance = random.Random(1)  # noqa: S311 -- the same journal each time, no secret
    with Journal(directory, replace(LIMITS, segment_size=1 << 40)) as journal:  # which seals nothing beside us
        for _ in range(lines // BATCH):
            journal.append([make(chance) for _ in range(BATCH)])
    return lines // BATCH * BATCH


def _forget(file: Path) -> None:
    """Have the page cache hold nothing of it: posix_fadvise(2) drops what is on the disk."""
    with file.open("rb") as open_file:
        os.fsync(open_file.fileno())
        os.posix_fadvise(open_file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class _Cost(NamedTuple):
    clock: float
    cpu: float
    megabytes: float


def _cost(*command: str) -> _Cost:
    """Of a program that ends by itself."""
    begin = time.monotonic()
    try:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 -- our own command
    except FileNotFoundError as e:
        raise HostError(f"{command[0]} is missing: install Debian's package of that name") from e
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in ((0, 1) if command[0] == str(ENFORCER) else (0,)):  # 1: there are violations
        raise HostError(f"{command[0]} ended with {child.returncode}")
    return _Cost(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def _times() -> Iterator[int]:
    now = START
    while True:
        now += 1_000_003
        yield now


_CLOCK = _times()


def _event(chance: random.Random, attempt: FileAttempt | NetAttempt, asked: Access, mechanism: Mechanism) -> Event:
    name = chance.choice(NAMES)
    labels = {"com.docker.compose.project": "mcp", "com.docker.compose.service": name, "role": "agent"}
    pid = chance.randrange(1, 1 << 22)
    return Event(
        sequence=0,
        time_ns=next(_CLOCK),
        who=Who(f"{NAMES.index(name):064x}", name, "agent:latest", labels, ("mcp-internal",), ("mcp-internal",)),
        process=Process(pid, pid, 1001, chance.choice(["cat", "python3", "sh", "curl"])),
        attempt=attempt,
        asked=asked,
        granted=Access.NONE,
        mode=Mode.ENFORCE,
        verdict=Verdict.DENIED,
        mechanism=mechanism,
        hook=Hook.OPEN if isinstance(attempt, FileAttempt) else Hook.CONNECT4,
        generation=1,
        policy="ab" * 32,
        rule=("data.rules[0]",) if isinstance(attempt, FileAttempt) else ("network.rules[0]",),
    )


def _mixed(chance: random.Random) -> Event:
    """The guide's: others' volumes, and a few addresses outside."""
    if chance.random() < 0.4:
        return _event(chance, _outside(f"203.0.113.{chance.randrange(1, 9)}", 443), Access.CONNECT, Mechanism.CGROUP)
    volume = ObjectId(Kind.VOLUME, f"{chance.choice(NAMES)}-data")
    path = f"app/cache/{chance.randrange(1 << 20)}.json"
    return _event(chance, FileAttempt(volume, path, chance.randrange(1 << 40), 8388609), Access.READ, Mechanism.LSM)


def _scan(chance: random.Random) -> Event:
    """A scan: nearly every line another address and port."""
    to = _outside(
        f"203.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}", chance.randrange(1, 1 << 16)
    )
    return _event(chance, to, Access.CONNECT, Mechanism.CGROUP)


def _outside(address: str, port: int) -> NetAttempt:
    return NetAttempt(address, port, 6, "mcp-internal", external=True)


KINDS = {"the guide's mix": _mixed, "a scan": _scan}
