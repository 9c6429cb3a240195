"""``python -m bench``: measure on this machine, and print a table. Needs root, as the enforcer does."""

from __future__ import annotations

import statistics
import sys

from tabulate import tabulate

from bench import adopt, connect, follow, journal, latency, replay, storm
from bench.publish import Measured, measure
from enforcer.errors import EnforcerError

SIZES = (20, 1000)
"""The guide's topology, and the largest host that the enforcer is made for."""


def main() -> int:
    """All tables; what cannot be measured here is one line."""
    try:
        _publishing()
        _connecting()
        _storming()
        _starting()
        _telling()
        _following()
        _journaling()
        _replaying()
    except EnforcerError as e:
        print(f"bench: {e}", file=sys.stderr)
        return e.exit_code
    return 0


def _publishing() -> None:
    """At both sizes; the last column is how many times longer the large one takes."""
    small, large = (measure(agents) for agents in SIZES)
    rows = [
        (a.what, a.count or "", f"{a.seconds * 1e3:.2f}", b.count or "", f"{b.seconds * 1e3:.2f}", _ratio(a, b))
        for a, b in zip(small, large, strict=True)
    ]
    heads = ("what", f"{SIZES[0]} agents", "ms", f"{SIZES[1]} agents", "ms", "time ratio")
    print(tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right",) * 5)))


def _starting() -> None:
    """From exec to "in force", so many times each; the last column is adopting over building anew."""
    starts = adopt.measure()
    rows = [
        (
            what,
            f"{min(times) * 1e3:.0f}",
            f"{median * 1e3:.0f}",
            f"{max(times) * 1e3:.0f}",
            f"{median / starts.medians[1]:.2f}",
        )
        for what, times, median in zip(
            ("adopting", "building anew"), (starts.adopting, starts.cold), starts.medians, strict=True
        )
    ]
    heads = (f"start with {adopt.CONTAINERS} containers, {adopt.REPEATS} times", "least ms", "median", "most", "ratio")
    print()
    print(tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right",) * 4)))


def _connecting() -> None:
    """A connect that is judged anew each time, its own cost included; the last columns are times the first."""
    found = connect.measure()
    what = f"connect, {connect.BATCHES} x {connect.CONNECTS} in turns"
    heads = (what, "nothing judged, ns", f"{connect.FEW} prefixes", f"{connect.MANY} prefixes", "ratio many to few")
    rows = [
        ("median", *(f"{n * 1e9:.0f}" for n in (found.free, found.few, found.many)), f"{found.many / found.few:.2f}")
    ]
    print()
    print(tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right",) * 4)))


def _telling() -> None:
    """From a violation to where it is read, beside what waiting less would cost; the last columns are of one processor."""
    rows = [
        (
            f"{d.drain * 1e3:.0f}",
            f"{d.look * 1e3:.0f}",
            *(f"{f(times) * 1e3:.0f}" for times in (d.journal, d.follow) for f in (min, statistics.median, max)),
            *(f"{share * 1e2:.1f} %" for share in (d.agent, d.follower)),
        )
        for d in latency.measure()
    ]
    heads = (
        f"{latency.REPEATS} violations: ring every, ms",
        "journal every",
        *(*latency.HEADS, "agent idle", "log -f idle"),
    )
    print()
    print(tabulate(rows, heads, disable_numparse=True, colalign=("right",) * 10))


def _following() -> None:
    """From the return of a call to the engine to the kernel's rows."""
    rows = [(what, *(f"{t * 1e3:.0f}" for t in times)) for what, *times in follow.measure().rows()]
    heads = (f"rows follow Docker, {follow.REPEATS} times", "least ms", "median", "most")
    print()
    print(tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right",) * 3)))


def _journaling() -> None:
    """Into the journal, synced, and sealed beside it; the last column is times a plain write of the same bytes."""
    found = journal.measure()
    rows = [
        ("as the clock goes", found.journal, f"{found.journal / found.plain:.2f}"),
        ("of the writing thread's processor", found.journal_cpu, ""),
        ("of it to encode", found.encoding_cpu, ""),
        ("a plain write and fdatasync", found.plain, "1.00"),
    ]
    shown = [(what, f"{found.events / s:.0f}", f"{s / found.events * 1e6:.2f}", ratio) for what, s, ratio in rows]
    heads = (f"journal, {found.events} events of {found.bytes // found.events} bytes", "events/s", "us each", "ratio")
    print()
    print(tabulate(shown, heads, disable_numparse=True, colalign=("left", *("right",) * 3)))


def _storming() -> None:
    """What a lawful container does a second beside another; the last columns are over the one before them."""
    found = storm.measure()
    beside = ("connects a second", "alone", "beside one that nobody judges", "beside one that is refused", "ratio")
    rows = [
        (
            *("a lawful container", f"{found.alone:.0f}", f"{found.beside_free:.0f}", f"{found.beside_hog:.0f}"),
            f"{found.beside_hog / found.beside_free:.2f}",
        ),
        ("the other one", "", f"{found.free:.0f}", f"{found.hog:.0f}", f"{found.hog / found.free:.2f}"),
    ]
    print()
    print(tabulate(rows, beside, disable_numparse=True, colalign=("left", *("right",) * 4)))
    budgets = found.records / storm.PER_SECOND
    print(f"\nrecords made events: {found.records:.0f} a second, the whole budget of {budgets:.0f} containers")


def _replaying() -> None:
    """CPU time over the same segments, beyond what a start takes; the ratios are jq over replay, and sealed over plain."""
    costs = (
        "replay",
        "lines",
        "jq, s",
        "plain, s",
        "sealed, s",
        "start, s",
        "events a CPU second",
        "sealed",
        "peak MB",
    )
    heads = (*costs, "jq to plain", "jq to sealed", "sealed to plain", "jq that finds nothing to plain")
    rows = [
        (
            *(m.kind, m.lines, f"{m.jq:.2f}", f"{m.plain:.2f}", f"{m.sealed:.2f}", f"{m.start:.2f}"),
            *(f"{m.lines / m.plain:.0f}", f"{m.lines / m.sealed:.0f}", f"{m.peak:.0f}"),
            *(
                f"{m.jq / m.plain:.1f}",
                f"{m.jq / m.sealed:.1f}",
                f"{m.sealed / m.plain:.2f}",
                f"{m.silent / m.plain:.1f}",
            ),
        )
        for m in replay.measure()
    ]
    print()
    print(tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right",) * 12)))


def _ratio(small: Measured, large: Measured) -> str:
    return f"{large.seconds / small.seconds:.1f}"


if __name__ == "__main__":
    sys.exit(main())
