"""One operation under the enforcer and under what would be used instead: an open in a watched directory, a TCP connect, and a
system call that concerns nobody. Processor time of the task itself, less that of the same with nobody looking; all in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from bench import arms
from bench.auditd import accepted, auditd
from bench.figure import Figure, Table
from bench.paired import BATCHES, Difference, difference

FILES, CONNECTS, CALLS = 3000, 600, 300_000
FIRST: Mapping[str, arms.Make] = {
    "none": arms.none,
    "enforcer": arms.enforcer,
    "bpftrace": arms.bpftrace,
    "fatrace": arms.fatrace,
}
SECOND: Mapping[str, arms.Make] = {"none": arms.none, "enforcer": arms.enforcer, "auditd": auditd}
"""Apart from the others: once audit was on, every task is dearer."""

LOADS = {
    "open and close": ("open", FILES),
    "TCP connect, accept, close": ("connect", CONNECTS),
    "getppid": ("getppid", CALLS),
}
SEES = {
    "open and close": {"bpftrace", "fatrace", "auditd"},
    "TCP connect, accept, close": {"bpftrace"},
    "getppid": set(),
}
"""Which of the others are there for such an operation; the rest is what they cost by the way."""

LEFT_OUT = (
    "opensnoop-bpfcc and tcpconnect-bpfcc need kprobes, which this kernel may lack: bpftrace prints the same by tracepoints",
    "sysdig is left out: it needs a module or a probe compiled against the kernel's headers",
)


def table() -> Table:
    """Nanoseconds beyond nobody, and what the others add over what the enforcer adds."""
    with arms.directory() as place, arms.compiled_load() as load:
        for n in range(FILES):
            (place / str(n)).write_bytes(b"x")
        makes, notes = arms.usable(FIRST, place)
        found = [_measured(makes, place, load)]
        notes += LEFT_OUT
        if accepted():
            makes, missing = arms.usable(SECOND, place)
            found.append(_measured(makes, place, load))
            notes += missing
        else:
            notes.append("auditd is left out: it cannot be undone without a boot; BENCH_AUDIT=1 makes it one of these")
    return Table(
        ("beyond nobody, ns of the processor", "arm", "least", "median", "quartiles"),
        _rows(found),
        _figures(found),
        notes,
    )


Times = dict[str, dict[str, list[float]]]
"""By arm, by load: nanoseconds of one operation, batch by batch."""


def _measured(makes: Mapping[str, arms.Make], place: Path, load: str) -> Times:
    times: Times = {arm: {what: [] for what in LOADS} for arm in makes}
    for _ in range(BATCHES):
        for arm, make in makes.items():
            with make(place) as here:
                for what, (word, n) in LOADS.items():
                    words = (load, word, str(place), str(n)) if word == "open" else (load, word, str(n))
                    times[arm][what].append(float(here.run(*words)[1]))
    return times


def _differences(times: Times, what: str) -> dict[str, Difference]:
    return {arm: difference(times["none"][what], times[arm][what]) for arm in times if arm != "none"}


def _rows(found: list[Times]) -> list[tuple[str, ...]]:
    return [
        (what, arm, f"{d.minimum:.0f}", f"{d.median:.0f}", f"{d.quartiles[0]:.0f} to {d.quartiles[1]:.0f}")
        for times in found
        for what in LOADS
        for arm, d in _differences(times, what).items()
    ]


def _figures(found: list[Times]) -> list[Figure]:
    figures = []
    for what in LOADS:
        ours = _differences(found[0], what)["enforcer"]
        ratios: dict[str, float] = {}
        for times in found:
            here = _differences(times, what)
            ratios |= {
                arm: d.median / here["enforcer"].median
                for arm, d in here.items()
                if arm in SEES[what] and d.told and here["enforcer"].told
            }
        unrelated = what == "getppid"
        must, aim = (60, 40) if unrelated else (None, None)
        name = "tracepoint, per unrelated system call" if unrelated else f"{what}, governed, beyond nobody"
        note = f"{ours.said('ns')}; of {statistics.median(found[0]['none'][what]):.0f} ns"
        figures.append(
            Figure(name, "ns", ours.minimum, ours.median, must, aim, peers=ratios, note=note, told=ours.told)
        )
    return figures
