"""What the kernel says that its programs take: nanoseconds for a run of each, less what measuring itself takes.

``BPF_ENABLE_STATS`` has the kernel look at the clock before and after every run of every program (what the sysctl
``kernel.bpf_stats_enabled`` does as well). Here it is a descriptor: it ends with whoever holds it, however that one ends. The
clock's own time is in every figure; a program that does nothing, at the same place, tells how much that is.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.paired import BATCHES
from enforcer.edges.bpf.libbpf import SONAME, Libbpf
from enforcer.edges.bpf.programs import CGROUP_SKB, RAW_TRACEPOINT
from enforcer.errors import HostError

_STATS_RUN_TIME = 0  # enum bpf_stats_type
_INFO_BYTES, _RUN_TIME_AT = 256, 192  # struct bpf_prog_info: run_time_ns, and run_cnt after it
_NOTHING = bytes.fromhex("b7000000010000009500000000000000")  # r0 = 1; exit: lets everything go on


class Runs(NamedTuple):
    """Of a program since it was loaded."""

    nanoseconds: int
    runs: int


@contextmanager
def counted() -> Iterator[Callable[[int], Runs]]:
    """Runs are timed until the end; what it gives reads those of a program's descriptor. Raises ``HostError``."""
    lib = ctypes.CDLL(SONAME, use_errno=True)
    fd = lib.bpf_enable_stats(_STATS_RUN_TIME)
    if fd < 0:
        raise HostError(f"the kernel does not time programs ({os.strerror(-fd)}): the run time of hooks is unknown")

    def runs(program: int) -> Runs:
        info, size = (ctypes.c_uint64 * (_INFO_BYTES // 8))(), ctypes.c_uint32(_INFO_BYTES)
        if (error := lib.bpf_obj_get_info_by_fd(program, info, ctypes.byref(size))) < 0:
            raise HostError(f"the kernel tells nothing of a program: {os.strerror(-error)}")
        return Runs(info[_RUN_TIME_AT // 8], info[_RUN_TIME_AT // 8 + 1])

    try:
        yield runs
    finally:
        os.close(fd)


@contextmanager
def nothing(kind: int, attach: int, cgroup: Path | None = None, tracepoint: str = "") -> Iterator[int]:
    """A program that does nothing, attached to a cgroup's hook or a raw tracepoint beside ours."""
    libbpf = Libbpf()
    with ExitStack() as ending:
        program = libbpf.load("nothing", _NOTHING, kind=kind, attach=attach if kind != CGROUP_SKB else 0, target=0)
        ending.callback(os.close, program)
        if kind == RAW_TRACEPOINT:
            link = libbpf.attach_tracepoint(program, tracepoint)
        else:
            place = os.open(cgroup or "/", os.O_RDONLY | os.O_DIRECTORY)
            ending.callback(os.close, place)
            link = libbpf.attach_cgroup(program, place, attach)
        ending.callback(os.close, link)
        yield program


def timed(
    programs: Mapping[str, int], runs: Callable[[int], Runs], load: Callable[[], object], batches: int = BATCHES
) -> dict[str, list[float]]:
    """Nanoseconds for a run of each program (name → descriptor), batch by batch, under the same load."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    load()
    for _ in range(batches):
        before = {name: runs(fd) for name, fd in programs.items()}
        load()
        for name, fd in programs.items():
            after = runs(fd)
            count = after.runs - before[name].runs
            if not count:
                raise HostError(f"{name} has not run under its load: something else answers in its place")
            found[name].append((after.nanoseconds - before[name].nanoseconds) / count)
    return found
