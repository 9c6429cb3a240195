"""From a policy to the kernel's maps: compiling, planning, and writing the rows, at two sizes of a host."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import world
from bench.figure import Table
from enforcer.core.compile import compile as compile_image
from enforcer.core.ids import Ids, allocate
from enforcer.core.image import Image
from enforcer.core.model import Facts, Policy
from enforcer.core.parse import parse
from enforcer.core.plan import Op, plan
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.loader import Loader
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.pins import remove
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.policyfile import read

POLICY = Path(__file__).parents[1] / "policies" / "mcp.yaml"
REPEATS = 5
SIZES = (20, 1000)
"""The guide's topology, and a large host."""


@dataclass(frozen=True)
class Measured:
    """One line: what was done, how much of it (``count``, 0 where it has no number), in how many seconds at best."""

    what: str
    count: int
    seconds: float


def table() -> Table:
    """At both sizes; the last column is how many times longer the large one takes."""
    small, large = (measure(agents) for agents in SIZES)
    rows = [
        (
            *(a.what, str(a.count or ""), f"{a.seconds * 1e3:.2f}", str(b.count or ""), f"{b.seconds * 1e3:.2f}"),
            f"{b.seconds / a.seconds:.1f}",
        )
        for a, b in zip(small, large, strict=True)
    ]
    return Table(("what", f"{SIZES[0]} agents", "ms", f"{SIZES[1]} agents", "ms", "time ratio"), rows)


def measure(agents: int) -> list[Measured]:
    """Everything, for a host with so many agents. Raises ``HostError`` where the kernel takes no probes."""
    policy, facts = parse(read(POLICY)), world.facts(agents)
    ids = allocate(Ids(), policy, facts)
    image = compile_image(policy, facts, ids, 1)
    first = plan(None, image)
    without = _without_last(facts)
    before = compile_image(policy, without, ids, 1)
    amended = plan(before, image)
    return [
        Measured("read and parse the policy", 0, best(lambda: parse(read(POLICY)))),
        Measured("number and compile (rows)", _rows(image), best(lambda: _compiled(policy, facts))),
        Measured("plan a first load (operations)", len(first), best(lambda: plan(None, image))),
        Measured("plan one more container (operations)", len(amended), best(lambda: plan(before, image))),
        *_publish(first, amended),
    ]


def best(action: Callable[[], object]) -> float:
    """The shortest of a few runs, in seconds: what else the machine does only ever adds."""
    return min(_seconds(action) for _ in range(REPEATS))


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _compiled(policy: Policy, facts: Facts) -> Image:
    return compile_image(policy, facts, allocate(Ids(), policy, facts), 1)


def _rows(image: Image) -> int:
    return sum(len(rows) for rows in image.tables.values())


def _without_last(facts: Facts) -> Facts:
    last = max(facts.containers)
    return replace(facts, containers={k: v for k, v in facts.containers.items() if k != last})


def _publish(first: tuple[Op, ...], amended: tuple[Op, ...]) -> list[Measured]:
    """Into real maps of the running kernel: loaded and pinned, attached to nothing."""
    with _scratch_maps() as maps:
        return [
            Measured("write a first load (operations)", len(first), _seconds(lambda: _apply(maps, first))),
            Measured("write it again (operations)", len(first), best(lambda: _apply(maps, first))),
            Measured("write one more container (operations)", len(amended), best(lambda: _apply(maps, amended))),
        ]


def _apply(maps: Maps, ops: tuple[Op, ...]) -> None:
    for op in ops:
        maps.apply(op)


@contextmanager
def _scratch_maps() -> Iterator[Maps]:
    libbpf, pins = Libbpf(), Path("/sys/fs/bpf") / f"enforcer-bench-{secrets.token_hex(3)}"
    loader = Loader(pins, libbpf)
    loader.prepare()
    try:
        maps = Maps(loader.build(Source.of(probes_directory())).maps, libbpf)
        try:
            yield maps
        finally:
            maps.close()
    finally:
        remove(pins)
