"""``python -m bench``: measure on this machine, and print a table. Needs root, as the enforcer does."""

from __future__ import annotations

import sys

from tabulate import tabulate

from bench import adopt, connect, replay
from bench.publish import Measured, measure
from enforcer.errors import EnforcerError

SIZES = (20, 1000)
"""The guide's topology, and the largest host that the enforcer is made for."""


def main() -> int:
    """All tables; what cannot be measured here is one line."""
    try:
        _publishing()
        _connecting()
        _starting()
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


def _replaying() -> None:
    """CPU time of whole programs over the same segments; the last columns are jq over replay."""
    costs = ("replay", "lines", "jq, s", "plain, s", "sealed, s", "events/s", "peak MB")
    heads = (*costs, "jq to plain", "jq to sealed", "jq that finds nothing to plain")
    rows = [
        (
            *(m.kind, m.lines, f"{m.jq:.2f}", f"{m.plain:.2f}", f"{m.sealed:.2f}", f"{m.lines / m.plain:.0f}"),
            *(f"{m.peak:.0f}", f"{m.jq / m.plain:.1f}", f"{m.jq / m.sealed:.1f}", f"{m.silent / m.plain:.1f}"),
        )
        for m in replay.measure()
    ]
    print()
    print(tabulate(rows, heads, disable_numparse=True, colalign=("left", *("right",) * 9)))


def _ratio(small: Measured, large: Measured) -> str:
    return f"{large.seconds / small.seconds:.1f}"


if __name__ == "__main__":
    sys.exit(main())
