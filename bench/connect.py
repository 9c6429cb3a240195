"""What a judged connect costs, by how many prefixes its container is granted, against a container that no rule names.

Children in three scratch cgroups connect datagram sockets, in turns, each time to an address of its own, so that every attempt is
judged anew and no answer is remembered. Nothing is sent.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Network

from bench.figure import Table
from bench.scratch import Scratch, scratch
from enforcer.core.model import Mode, NetRule, Policy, Selector, ToCidr

BATCHES, CONNECTS = 31, 2000
FEW, MANY = 10, 100_000

CHILD = """
import json, socket, sys, time
open(sys.argv[1], "w").write("0")
made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for line in sys.stdin:
    first, n = json.loads(line)
    names = [("2001:db8::%x:%x" % (i >> 16, i & 0xFFFF), 9) for i in range(first, first + n)]
    start = time.perf_counter()
    for name in names:
        made.connect(name)
    print((time.perf_counter() - start) / n, flush=True)
"""


@dataclass(frozen=True)
class Connects:
    """Medians in seconds of one connect, by the number of prefixes that are granted; ``free``: nothing is judged."""

    free: float
    few: float
    many: float


def table() -> Table:
    """A connect that is judged anew each time, its own cost included; the last column is many over few."""
    found = measure()
    what = f"connect, {BATCHES} x {CONNECTS} in turns"
    heads = (what, "nothing judged, ns", f"{FEW} prefixes", f"{MANY} prefixes", "ratio many to few")
    shown = (f"{n * 1e9:.0f}" for n in (found.free, found.few, found.many))
    return Table(heads, [("median", *shown, f"{found.many / found.few:.2f}")])


def measure() -> Connects:
    """All three in turns, ``BATCHES`` times ``CONNECTS``. Raises ``HostError`` where no probe loads."""
    with world() as made, ExitStack() as ending:
        children = {name: ending.enter_context(made.child(name, CHILD)) for name in ("free", "few", "many")}
        times: dict[str, list[float]] = {name: [] for name in children}
        for batch in range(BATCHES):
            for name, process in children.items():
                times[name].append(_ask(process, batch * CONNECTS))
        return Connects(**{name: statistics.median(found) for name, found in times.items()})


def _ask(child: subprocess.Popen[str], first: int) -> float:
    if not child.stdin or not child.stdout:
        raise AssertionError("a child without pipes")
    child.stdin.write(json.dumps((first, CONNECTS)) + "\n")
    child.stdin.flush()
    return float(child.stdout.readline())


def _policy() -> Policy:
    """Two containers; the last prefix of each covers all that is connected to, and is the shortest."""
    everything = IPv6Network("2001:db8::/96")
    others = (IPv6Network((0x20010DB8 << 96 | n << 64, 64)) for n in range(1, MANY))
    cidrs = [ToCidr(everything), *map(ToCidr, others)]
    rules = {"few": cidrs[:FEW], "many": cidrs}
    return Policy(
        Mode.ENFORCE,
        containers={name: Selector(name=name) for name in rules},
        net_rules=tuple(NetRule(name, (name,), tuple(targets)) for name, targets in rules.items()),
    )


def world(records_per_second: int = 0) -> AbstractContextManager[Scratch]:
    """The containers ``few`` and ``many``, and the cgroup ``free`` that nobody governs."""
    rules = _policy()
    return scratch(rules, containers=rules.containers, free=("free",), records_per_second=records_per_second)
