"""From another policy, or another host, to the kernel's maps: all that the agent does between the two, at three sizes.

Real maps of the running kernel, attached to nothing. What is asked of the engine is not in it: ``bench.follow`` has that.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bench import world
from bench.figure import Figure, Table
from bench.scrape import scratch_maps
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.policyfile import load
from enforcer.runtime.reconcile import Reconcile
from enforcer.runtime.state import StateFile

POLICY = Path(__file__).parents[1] / "policies" / "mcp.yaml"
SUBJECTS = (20, 1000, 10_000)
REPEATS = 5


class Published(Maps):
    """Tells when the last generation was put in force. What comes after that waits for running programs and sweeps old rows."""

    at = 0.0

    def configure(self, **fields: int) -> None:
        """As ever."""
        super().configure(**fields)
        if "generation" in fields:
            self.at = time.perf_counter()


@dataclass(frozen=True)
class Changes:
    """Seconds as the clock goes, and of a processor: of a change of the policy, and of a container that comes or goes.

    ``enforced``: until the new policy is in force; the rest is sweeping.
    """

    subjects: int
    rows: int
    enforced: list[float] = field(default_factory=list)
    policy: list[float] = field(default_factory=list)
    policy_cpu: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    host_cpu: list[float] = field(default_factory=list)


def measure(repeats: int = REPEATS) -> tuple[Changes, ...]:
    """At each size, both changes in turns. Raises ``HostError`` where the kernel takes no probes."""
    return tuple(_at(subjects, repeats) for subjects in SUBJECTS)


def _at(subjects: int, repeats: int) -> Changes:
    policy, facts = load(POLICY), world.facts(subjects)
    fewer = replace(facts, containers=dict(list(facts.containers.items())[:-1]))
    with tempfile.TemporaryDirectory() as place, scratch_maps(Published) as maps:
        file = StateFile(Path(place))
        reconcile = Reconcile(maps, file, file.read(), canary=None)
        image = reconcile.load(policy, facts).image
        found = Changes(subjects, sum(len(rows) for rows in image.tables.values()))
        gc.freeze()  # as the agent does once it is in force
        for number in range(repeats):
            other = replace(policy, hash=f"{number:064x}")
            begin = time.perf_counter()
            _timed(found.policy, found.policy_cpu, partial(reconcile.load, other, facts))
            found.enforced.append(maps.at - begin)
            _timed(found.host, found.host_cpu, partial(reconcile.update, fewer))
            _timed(found.host, found.host_cpu, partial(reconcile.update, facts))
        gc.unfreeze()
        return found


def _timed(clock: list[float], cpu: list[float], change: Callable[[], object]) -> None:
    begin, used = time.perf_counter(), time.thread_time()
    change()
    clock.append(time.perf_counter() - begin)
    cpu.append(time.thread_time() - used)


def table() -> Table:
    """At each size; the musts are for the smallest and the largest."""
    found = measure()
    rows = []
    for one in found:
        times = (one.enforced, one.policy, one.policy_cpu, one.host, one.host_cpu)
        shown = (f"{min(t) * 1e3:.1f} / {statistics.median(t) * 1e3:.1f}" for t in times)
        rows.append((str(one.subjects), str(one.rows), *shown))
    changed = ("enforced: least / median ms", "and swept", "of a processor", "a container", "of a processor")
    figures = [
        Figure.of(
            f"policy change to enforced, {one.subjects:,} subjects",
            "ms",
            [seconds * 1e3 for seconds in one.enforced],
            must=must,
            aim=aim,
            note="from a parsed policy on",
        )
        for one, must, aim in ((found[0], 50, 20), (found[-1], 1000, 300))
    ]
    return Table(("subjects", "rows", *changed), rows, figures)
