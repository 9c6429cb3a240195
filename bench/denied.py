"""What a denied open takes beyond an allowed one, its record included.

Monitor mode is the same way to the same count and record, without the denial or the kill at its end: so it can be repeated, under
any mechanism. Each open is of another file: a repeat would be counted and not recorded. Between batches the ring is emptied.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bench import arms
from bench.arms import Arm
from bench.figure import Figure, Table
from bench.paired import BATCHES, difference, interleaved
from bench.scratch import Scratch, scratch
from enforcer.core.model import DataObject, DataRule, DataTarget, Kind, Mode, ObjectId, Policy, Selector
from enforcer.edges.inodes import Inodes
from enforcer.errors import EdgeError

FILES = 2000
"""Of one subject so many records may wait at once: a quarter of what is free in the ring."""


def table() -> Table:
    """Nanoseconds of the processor for one open and close, allowed and observed. Raises ``EdgeError`` if a record is missing."""
    with arms.directory() as place, arms.compiled_load() as load, ExitStack() as ending:
        for n in range(FILES):
            (place / str(n)).write_bytes(b"x")
        made = ending.enter_context(_world(place))
        rings = made.probes.rings()
        ending.callback(rings.events.close)
        ending.callback(rings.attempts.close)
        here = {name: Arm(made.procs(name), place) for name in ("granted", "watched")}

        def opened(name: str) -> float:
            seconds = float(here[name].run(load, "open", str(place), str(FILES))[1])
            found = sum(1 for _ in rings.events.read(1 << 20))
            rings.events.advance()
            if name == "watched" and found < FILES:
                raise EdgeError(f"{found} records of {FILES} observed opens: a cost without them is none")
            return seconds

        times = interleaved({name: lambda name=name: opened(name) for name in here}, BATCHES)  # type: ignore[misc]
    extra = difference(times["granted"], times["watched"])
    note = f"observed, not denied: the same way without the end; {extra.said('ns')}"
    figure = Figure(
        "denied open, extra over allowed", "ns", extra.minimum, extra.median, 500, 300, note=note, told=extra.told
    )
    rows = [(name, f"{min(times[name]):.0f}", f"{sorted(times[name])[BATCHES // 2]:.0f}") for name in times]
    return Table((f"open and close, {BATCHES} x {FILES}, ns", "least", "median"), rows, [figure])


def _world(place: Path) -> AbstractContextManager[Scratch]:
    volume, found = ObjectId(Kind.VOLUME, "data"), Inodes().inode_of(place)
    if found is None:
        raise EdgeError(f"{place} is gone")
    target = (DataTarget(Kind.VOLUME, volume.name),)
    policy = Policy(
        Mode.MONITOR,
        containers={name: Selector(name=name) for name in ("granted", "watched")},
        protected=target,
        data_rules=(DataRule("granted", ("granted",), read_write=target),),
    )
    objects = {volume: DataObject(volume, (found,), str(place))}
    return scratch(policy, containers=("granted", "watched"), objects=objects)
