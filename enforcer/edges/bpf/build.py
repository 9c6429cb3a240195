"""Loads and pins what ``edges.bpf.compiler`` gives, and exits: run as a child process (``python -m enforcer.edges.bpf.build``).

So the agent carries neither a compiler nor the kernel's types. It reads one JSON object on standard input (``Job``) and
answers with one on standard output (``Built``). The verifier's own words go to standard error.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import msgspec

from enforcer.core.model import Mechanism
from enforcer.edges.bpf.compiler import compiled
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.programs import PROGRAMS, Program
from enforcer.errors import EdgeError, EnforcerError


class Job(msgspec.Struct):
    """``text``: the C, flattened. ``cache``: where byte code is kept. ``pins``: an existing empty bpffs directory.

    ``mechanisms``: which of LSM and FMOD_RET to load programs for; those of the other mechanisms are always loaded.
    """

    text: str
    cache: str
    pins: str
    mechanisms: list[int]


class Built(msgspec.Struct):
    """``loaded``: functions that the kernel accepted. ``refused``: function → why not. ``error``: nothing was built."""

    loaded: list[str]
    refused: dict[str, str]
    error: str = ""


def build(job: Job, libbpf: Libbpf) -> Built:
    """Load and pin everything in ``job``. Programs that the kernel refuses are reported, not fatal. Raises ``EnforcerError``."""
    code = compiled(job.text, Path(job.cache), libbpf)
    pins = Path(job.pins)
    for directory in ("programs", "maps"):
        (pins / directory).mkdir(mode=0o700)
    fds = {name: libbpf.create_map(name, shape) for name, shape in code.maps.items()}
    for name, fd in fds.items():
        libbpf.pin(fd, pins / "maps" / name)
    unasked = {Mechanism.LSM, Mechanism.FMOD_RET} - set(job.mechanisms)
    programs = {p.function: p for p in PROGRAMS if p.mechanism not in unasked}  # one may serve several groups
    linked = {name: function.linked(fds) for name, function in code.functions.items()}
    targets = libbpf.functions({p.target for p in programs.values() if p.attach and p.target})
    refused: dict[str, str] = {}
    for name, program in programs.items():
        try:
            _load(libbpf, program, linked[program.source], targets.get(program.target, 0), pins / "programs" / name)
        except EdgeError as e:
            # root is what we are
            refused[name] = str(e).replace(os.strerror(errno.EPERM), "not permitted for programs of this kind")
    return Built([name for name in programs if name not in refused], refused)


def _load(libbpf: Libbpf, program: Program, code: bytes, target: int, pin: Path) -> None:
    if program.attach and program.target and not target:
        raise EdgeError(f"this kernel has no function {program.target}")
    fd = libbpf.load(program.source, code, kind=program.kind, attach=program.attach, target=target)
    try:
        libbpf.pin(fd, pin)
    finally:
        os.close(fd)


def main() -> None:
    """The child's whole work: a job on standard input, its answer on standard output."""
    try:
        answer = build(msgspec.json.decode(sys.stdin.buffer.read(), type=Job), Libbpf())
    except EnforcerError as e:
        answer = Built([], {}, error=str(e))
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
