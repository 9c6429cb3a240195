"""What a storm of one container costs the others, and how fast its records are read.

A lawful child connects datagram sockets on and on, each to a fresh address that it is granted; beside it runs nobody, a child that
no rule names and that does the same, or one that is refused each time. What the last two leave it is compared. Nothing is sent.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.connect import world
from bench.figure import Table
from enforcer import abi
from enforcer.core.model import Container, DataObject, Facts, Hook, Inode, Kind, Mechanism, Mode, ObjectId, Policy
from enforcer.edges.bpf.record import record_of
from enforcer.runtime.reconcile import Reconcile
from enforcer.runtime.records import Records
from enforcer.runtime.state import StateFile
from enforcer.runtime.watching import Tables

ROUNDS, SECONDS = 15, 0.2
RECORDS = 50_000
PER_SECOND = 1000
"""The budget of one container, as ``run`` has it."""

STORM = """
import socket, sys, time
open(sys.argv[1], "w").write("0")
made, n = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), 0
for line in sys.stdin:
    prefix, seconds = line.split()
    done, end = 0, time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for _ in range(64):
            n += 1
            try:
                made.connect(("%s:%x:%x" % (prefix, n >> 16 & 0xFFFF, n & 0xFFFF), 9))
            except PermissionError:
                pass
        done += 64
    print(done, flush=True)
"""

GRANTED, REFUSED = "2001:db8:0:0:0:0", "2001:db8:ffff:0:0:0"


@dataclass(frozen=True)
class Storms:
    """Connects a second, medians: of the lawful child beside nobody, an ungoverned and a refused one; of those two."""

    alone: float
    beside_free: float
    beside_hog: float
    free: float
    hog: float
    records: float
    """Events a second that one core makes of records."""


def table() -> Table:
    """What a lawful container does a second beside another; the last column is over the one before it."""
    found = measure()
    heads = ("connects a second", "alone", "beside one that nobody judges", "beside one that is refused", "ratio")
    rows = [
        (
            *("a lawful container", f"{found.alone:.0f}", f"{found.beside_free:.0f}", f"{found.beside_hog:.0f}"),
            f"{found.beside_hog / found.beside_free:.2f}",
        ),
        ("the other one", "", f"{found.free:.0f}", f"{found.hog:.0f}", f"{found.hog / found.free:.2f}"),
    ]
    budgets = f"the whole budget of {found.records / PER_SECOND:.0f} containers"
    return Table(heads, rows, notes=[f"records made events: {found.records:.0f} a second, {budgets}"])


def measure() -> Storms:
    """All in turns. Raises ``HostError`` where no probe loads."""
    rates: dict[str, list[float]] = {name: [] for name in ("alone", "beside_free", "beside_hog", "free", "hog")}
    with world(PER_SECOND) as made, ExitStack() as ending:
        lawful, free, hog = (ending.enter_context(made.child(n, STORM)) for n in ("few", "free", "many"))
        for _ in range(ROUNDS):
            rates["alone"].append(_run((lawful, GRANTED))[0])
            both = _run((lawful, GRANTED), (free, REFUSED))
            rates["beside_free"].append(both[0])
            rates["free"].append(both[1])
            both = _run((lawful, GRANTED), (hog, REFUSED))
            rates["beside_hog"].append(both[0])
            rates["hog"].append(both[1])
    return Storms(**{name: statistics.median(found) for name, found in rates.items()}, records=records_per_second())


def _run(*who: tuple[subprocess.Popen[str], str]) -> list[float]:
    for process, prefix in who:
        if not process.stdin:
            raise AssertionError("a child without pipes")
        process.stdin.write(f"{prefix} {SECONDS}\n")
        process.stdin.flush()
    return [int(process.stdout.readline()) / SECONDS if process.stdout else 0.0 for process, _ in who]


def records_per_second() -> float:
    """From the bytes of a record to its event, the best of three."""
    with tempfile.TemporaryDirectory() as place:
        data = ObjectId(Kind.VOLUME, "data")
        one = Container("a" * 64, "one", pid=1)
        facts = Facts({one.id: one}, objects={data: DataObject(data, (Inode(1, 5),), "/v")})
        file = StateFile(Path(place))
        reconcile = Reconcile(Tables(), file, file.read(), canary=None)
        ids = reconcile.load(Policy(Mode.ENFORCE), facts).state.ids
        records = Records(reconcile.at, None)  # type: ignore[arg-type]  # no attempt of another's refusal is among these
        raws = [_record(ids.subject(one.id), n) for n in range(RECORDS)]
        return RECORDS / min(_timed(records, raws) for _ in range(3))


def _timed(records: Records, raws: list[bytes]) -> float:
    start = time.perf_counter()
    for raw in raws:
        records.event(record_of(raw), 0)
    return time.perf_counter() - start


def _record(subject: int, n: int) -> bytes:
    path = b"secret.txt\0of\0"
    record = abi.CEvent(
        subject=subject, generation=1, count=1, pid=n, inode=n, hook=Hook.OPEN, mechanism=Mechanism.LSM, verdict=2, mode=1,
        class_=abi.DATA, asked=1, comm=b"cat", path_len=len(path),
    )  # fmt: skip
    record.path[: len(path)] = path
    return bytes(record)
