"""``python -m bench [NAME…]``: measure on this machine, print tables, keep the figures. Needs root, as the enforcer does."""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import import_module

from tabulate import tabulate

from bench import results
from bench.figure import Figure, Table
from bench.scratch import mechanism
from enforcer.errors import EnforcerError

BENCHES = (
    *("instructions", "hooks", "peers", "workloads", "denied", "sustained"),
    *("resident", "change", "scrape"),
    *("publish", "connect", "storm", "adopt", "latency", "follow", "journal", "replay"),
)
"""In this order; each is a module of this package."""


def main() -> int:
    """Every bench that is asked for; what cannot be measured here is one line."""
    names = _names()
    figures: list[Figure] = []
    sections = {}
    try:
        held = mechanism()
    except EnforcerError as e:
        print(f"bench: {e}", file=sys.stderr)
        return e.exit_code
    for name in names:
        before, begin = os.getloadavg()[0], time.monotonic()
        found = _measured(name)
        load, seconds = (before, os.getloadavg()[0]), time.monotonic() - begin
        sections[name] = results.section(found, load, seconds)
        if isinstance(found, Table):
            figures += found.figures
        path = results.write(held, sections)
    print(tabulate(results.account(figures), results.HEADS, disable_numparse=True, colalign=_aligned(8)))
    print(f"\nwritten to {path.relative_to(results.REPO)}")
    return 0


def _names() -> tuple[str, ...]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"some of: {', '.join(BENCHES)}")
    asked = parser.parse_args().name
    if unknown := [name for name in asked if name not in BENCHES]:
        parser.error(f"no such bench: {', '.join(unknown)}")
    return tuple(name for name in BENCHES if not asked or name in asked)


def _measured(name: str) -> Table | EnforcerError:
    try:
        found: Table = import_module(f"bench.{name}").table()
    except EnforcerError as e:
        print(f"{name}: not measured: {e}\n")
        return e
    print(tabulate(found.rows, found.heads, disable_numparse=True, colalign=_aligned(len(found.heads))))
    print(*found.notes, "", sep="\n", flush=True)
    return found


def _aligned(columns: int) -> tuple[str, ...]:
    return ("left", *("right",) * (columns - 1))


if __name__ == "__main__":
    sys.exit(main())
