"""What a judged connect costs, by how many prefixes its container is granted, against a container that no rule names.

Children in three scratch cgroups connect datagram sockets, in turns, each time to an address of its own, so that every attempt is
judged anew and no answer is remembered. Nothing is sent.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Network
from pathlib import Path

from enforcer.core.compile import compile as compile_image
from enforcer.core.ids import Ids, allocate
from enforcer.core.model import Container, Facts, Mode, NetRule, Policy, Selector, ToCidr
from enforcer.core.plan import plan
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.cgroup import Cgroups
from enforcer.runtime.canary import Canary
from enforcer.runtime.probes import Probes

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


def measure() -> Connects:
    """All three in turns, ``BATCHES`` times ``CONNECTS``. Raises ``HostError`` where no probe loads."""
    with world() as (cgroups, parent), ExitStack() as ending:
        children = {
            name: ending.enter_context(child(cgroups, f"{parent}/{name}", CHILD)) for name in ("free", "few", "many")
        }
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


@contextmanager
def child(cgroups: Cgroups, cgroup: str, program: str) -> Iterator[subprocess.Popen[str]]:
    """A process in the cgroup and in a network namespace of its own, where all of 2001:db8::/32 goes to loopback."""
    procs = str(cgroups.root / cgroup.lstrip("/") / "cgroup.procs")
    ready = "ip link set lo up && ip -6 route add 2001:db8::/32 dev lo && exec"
    command = ["unshare", "--net", "sh", "-c", f'{ready} "$@"', "sh", sys.executable, "-I", "-S", "-c", program, procs]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:  # noqa: S603 -- fixed words
        try:
            yield made
        finally:
            made.kill()


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


@contextmanager
def world(records_per_second: int = 0) -> Iterator[tuple[Cgroups, str]]:
    """The probes, attached to a scratch cgroup, with the policy in force for the cgroups below it."""
    cgroups, name = Cgroups(), f"enforcer-bench-{os.getpid()}-{secrets.token_hex(2)}"
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        found = []
        for part in ("", "/few", "/many", "/free"):
            found.append((part, cgroups.ensure(f"/{name}{part}")))
            ending.callback(cgroups.remove, f"/{name}{part}")
        containers = [Container(secrets.token_hex(32), part[1:], pid=1, cgroup=n) for part, n in found[1:3]]
        facts, policy = Facts({c.id: c for c in containers}), _policy()
        canary = Canary(cgroups, f"/{name}", directory, name="canary")
        probes = Probes(
            Path("/sys/fs/bpf") / name, Source.of(probes_directory()), instance=1, records_per_second=records_per_second
        )
        ending.callback(probes.unload)
        image = compile_image(policy, facts, allocate(Ids(), policy, facts), 1, canary=canary.inode())
        for op in plan(None, image):
            probes.maps.apply(op)
        probes.attach(cgroups, [f"/{name}"], canary.run)
        yield cgroups, f"/{name}"
