"""How many violations a second go from the kernel into the journal, for as long as one likes, without a loss.

Containers are refused connects to addresses that differ each time, so that nothing is a repeat, and no budget holds. While one
batch is being made on one core, the one before is read, judged, written and synced on the other, as the agent does it. A batch is
asked for only when its records have room, so what is told is the rate of the slower half. At the end every violation that the
kernel has counted must be in the journal.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figure import Figure, Table
from bench.scratch import Scratch, scratch
from enforcer.core.model import Mode, NetRule, Policy, Selector
from enforcer.edges.chained import verify
from enforcer.edges.journal import Journal
from enforcer.errors import AbiError, EdgeError
from enforcer.runtime.pipeline import Pipeline
from enforcer.runtime.reconcile import Reconcile
from enforcer.runtime.records import Records
from enforcer.runtime.state import StateFile
from enforcer.settings import Limits
from enforcer.sinks.journal import JournalSink

SUBJECTS, BATCH, BATCHES = 16, 300, 80
"""Of sixteen subjects each may have 647 records in the ring that nobody has read: two batches fit."""

PATIENCE_S = 30
PLACE = Path(__file__).parents[1] / ".cache"
"""On the disk of the checkout: /tmp may be memory."""

CHILD = """
import socket, sys
open(sys.argv[1], "w").write("0")
made, n = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM), 0
for line in sys.stdin:
    for _ in range(int(line)):
        n += 1
        try:
            made.connect(("2001:db8::%x:%x" % (n >> 16, n & 0xFFFF), 9))
        except PermissionError:
            pass
    print(n, flush=True)
"""


def table() -> Table:
    """Events a second. Raises ``AbiError`` if one is missing: a speed with losses is none."""
    names = tuple(f"hog-{n}" for n in range(SUBJECTS))
    policy = Policy(
        Mode.ENFORCE,
        containers={name: Selector(name=name) for name in names},
        net_rules=(NetRule("nowhere", names),),
    )
    PLACE.mkdir(exist_ok=True)
    with scratch(policy, containers=names) as made, TemporaryDirectory(dir=PLACE) as place, ExitStack() as ending:
        pipeline = ending.enter_context(_pipeline(made, policy, Path(place)))
        hogs = [ending.enter_context(made.child(name, CHILD)) for name in names]
        before = sum(made.probes.maps.counts().values())
        rates = _rates(hogs, pipeline)
        counted = sum(made.probes.maps.counts().values()) - before
        losses = made.probes.maps.losses()
        found = verify(Path(place) / "log")
    if found.faults or found.records != counted or counted != SUBJECTS * BATCH * BATCHES:
        raise AbiError(f"{found.records} of {counted} violations are in the journal; lost: {losses}; {found.faults}")
    figure = Figure.of(
        "violations journaled, no loss", "events/s", rates, must=100_000, aim=250_000, more_is_better=True
    )
    heads = (f"{counted} violations of {SUBJECTS} containers", "best, events/s", "median")
    return Table(heads, [("into the journal", f"{figure.minimum:.0f}", f"{figure.median:.0f}")], [figure])


def _rates(hogs: list[subprocess.Popen[str]], pipeline: Pipeline) -> list[float]:
    """Events a second, batch by batch. The next one is under way while one is read."""
    rates, done, events = [], 0, SUBJECTS * BATCH
    start = time.perf_counter()
    for number in range(BATCHES):
        _ask(hogs)
        done += _drained(pipeline, number * events - done)
        _made(hogs)
        now = time.perf_counter()
        rates.append(events / (now - start))
        start = now
    while pipeline.drain():
        pass
    return rates[1:]


def _drained(pipeline: Pipeline, wanted: int) -> int:
    """How many have been read, once it is as many as are wanted. Raises ``EdgeError`` if they do not come."""
    done, end = 0, time.monotonic() + PATIENCE_S
    while done < wanted:
        done += pipeline.drain()
        if time.monotonic() > end:
            raise EdgeError(f"{wanted - done} records have not come within {PATIENCE_S} s")
    return done


def _ask(hogs: list[subprocess.Popen[str]]) -> None:
    for hog in hogs:
        if not hog.stdin:
            raise AssertionError("a child without pipes")
        hog.stdin.write(f"{BATCH}\n")
        hog.stdin.flush()


def _made(hogs: list[subprocess.Popen[str]]) -> None:
    for hog in hogs:
        if not hog.stdout or not hog.stdout.readline():
            raise AssertionError("a child that has ended")


@contextmanager
def _pipeline(made: Scratch, policy: Policy, place: Path) -> Iterator[Pipeline]:
    """The agent's own, from these rings into a journal on the disk."""
    (place / "state").mkdir()
    file = StateFile(place / "state")
    maps = made.probes.maps
    reconcile = Reconcile(maps, file, file.read(), canary=None)
    reconcile.load(policy, made.facts)
    rings, counting = made.probes.rings(), made.probes.open_maps()
    with ExitStack() as ending:
        for closed in (*rings, counting):
            ending.enter_context(closing(closed))
        sink = JournalSink(Journal(place / "log", Limits(segment_size=1 << 30)))
        ending.enter_context(closing(sink))
        yield Pipeline(rings, counting, Records(reconcile.at, made.cgroups), sink, born=lambda _: None)
