"""From C files to pinned programs: builds in a child, attaches, pins links, and takes it all down again.

One build lives in one directory of bpffs, named after a hash of all that it was made from, so that builds can stand side
by side: a new one is complete, filled and attached before the old one goes. Below it: ``programs``, ``maps``, ``links``.
A build under construction has the suffix ``-new``; it gets its final name last, so that a crash leaves nothing that looks whole.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from enforcer.edges.bpf import build, offsets
from enforcer.edges.bpf.compiler import flatten
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.maps import let_programs_end
from enforcer.edges.bpf.pins import bpffs, remove, unpin
from enforcer.edges.bpf.programs import ITERATOR, PROGRAMS, Program
from enforcer.edges.bpf.source import Source
from enforcer.edges.directory import hold, private
from enforcer.errors import AbiError, EdgeError, HostError
from enforcer.settings import cache

BUILD_TIMEOUT_S = 300
ENDING_S = 5.0
"""How long to wait for programs that nothing of ours holds any more; somebody may look at one with bpftool just then."""

_BUILD = re.compile("[0-9a-f]{16}(-new|-old)?")
_OLD = "-old"
_NEW = "-new"  # bpffs allows no dot in a name


@dataclass(frozen=True)
class Built:
    """A build in bpffs. ``refused``: function → what the kernel said; empty for an adopted build."""

    pins: Path
    adopted: bool
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def abi(self) -> int:
        """Of its maps: only those of ours may be read."""
        return int(self.pins.name[:2], 16)

    @property
    def maps(self) -> Path:
        """The directory of pinned maps."""
        return self.pins / "maps"

    @property
    def links(self) -> Path:
        """The directory of pinned links: what is attached."""
        return self.pins / "links"


class Loader:
    """All builds below ``pins`` (a directory on bpffs, 0700)."""

    def __init__(self, pins: Path, libbpf: Libbpf) -> None:
        self._pins = pins
        self._libbpf = libbpf
        self._held = -1

    def prepare(self) -> None:
        """Make the directory of pins, hold it, drop what a crash left half built. Raises ``HostError``."""
        bpffs(self._pins)
        private(self._pins, "--pins")
        self._hold()
        for stale in self._all():
            if stale.name.endswith(_NEW):
                remove(stale)

    def _hold(self) -> None:
        """One agent for one directory of pins: two would take each other's programs down."""
        self._held = hold(self._pins, "--pins")

    def release(self) -> None:
        """Let another agent hold the pins; they stay."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def builds(self) -> tuple[Path, ...]:
        """The complete builds that are pinned."""
        return tuple(p for p in self._all() if not p.name.endswith(_NEW))

    def _all(self) -> list[Path]:
        """Every build of ours, whole or not; whatever else lies in the directory is not ours."""
        return sorted(p for p in self._pins.iterdir() if _BUILD.fullmatch(p.name)) if self._pins.is_dir() else []

    def adopt(self, source: Source) -> Built | None:
        """The pinned build of exactly this source, or None."""
        path = self._pins / source.build
        return Built(path, adopted=True) if path.is_dir() else None

    def build(self, source: Source) -> Built:
        """Compile and load ``source`` in a child; its programs and maps are pinned, nothing is attached yet.

        Raises ``HostError`` where this kernel loads none of it, ``AbiError`` where the C does not compile.
        """
        text = offsets.header((source.directory / "kernel.h").read_text())
        pins = self._pins / (source.build + _NEW)
        pins.mkdir(mode=0o700)
        kept = private(cache(), "CACHE_DIRECTORY")
        job = build.Job(flatten(source.directory, text), str(kept), str(pins), [int(m) for m in source.mechanisms])
        with ExitStack() as failing:
            failing.callback(self._abandon, pins)
            answer = _run_child(job)
            (pins / "links").mkdir(mode=0o700)
            failing.pop_all()
        return Built(pins, adopted=False, refused=answer.refused)

    def _abandon(self, pins: Path) -> None:
        """A build that failed leaves nothing, not even the directory of pins, unless another build stands in it."""
        remove(pins)
        if not any(self._pins.iterdir()):
            self._pins.rmdir()

    def attach(self, built: Built, program: Program) -> None:
        """Attach a tracepoint, LSM or fmod_ret program, or an iterator, and pin the link. Raises ``EdgeError``."""
        with self._program(built, program) as fd:
            if program.cookie:
                link = self._libbpf.attach_security(fd, program.attach, program.cookie)
            elif program.attach == ITERATOR:
                link = self._libbpf.attach_iterator(fd, program.attach)
            else:
                link = self._libbpf.attach_tracepoint(fd, "" if program.attach else program.target)
        self._pin_link(link, built.links / program.function)

    def attach_cgroup(self, built: Built, program: Program, cgroup_fd: int) -> None:
        """Attach a network program to a cgroup and pin the link; nothing to do if it is attached there already."""
        path = built.links / f"{program.function}@{os.fstat(cgroup_fd).st_ino}"
        if not path.exists():
            with self._program(built, program) as fd:
                link = self._libbpf.attach_cgroup(fd, cgroup_fd, program.attach)
            self._pin_link(link, path)

    def detach(self, built: Built, program: Program) -> None:
        """Take one program off its hook."""
        (built.links / program.function).unlink(missing_ok=True)

    def detach_cgroup(self, built: Built, cgroup: int) -> None:
        """Drop the links to a cgroup (by id) that is gone."""
        for link in built.links.glob(f"*@{cgroup}"):
            link.unlink()

    def set_aside(self, built: Built) -> None:
        """Make room for another build of the same source; this one goes on until that one is in force."""
        built.pins.rename(built.pins.with_name(built.pins.name + _OLD))

    def attached(self, built: Built) -> Iterator[Program]:
        """The programs of this build that have a pinned link."""
        names = {path.name.partition("@")[0] for path in built.links.iterdir()}
        return (program for program in PROGRAMS if program.function in names)

    def finish(self, built: Built) -> Built:
        """The build is in force: give it its final name."""
        final = built.pins.with_name(built.pins.name.removesuffix(_NEW))
        if built.pins != final:
            built.pins.rename(final)
        return Built(final, built.adopted, built.refused)

    def others(self, built: Built) -> tuple[Built, ...]:
        """Every build but this one."""
        return tuple(Built(path, adopted=True) for path in self._all() if path != built.pins)

    def end(self, built: Built) -> None:
        """Take a build off every hook, and return when none of its programs runs any more; its maps stay."""
        numbers = list(self.numbers(built, "programs"))
        for kind in ("links", "programs"):
            unpin(built.pins / kind)
        deadline = time.monotonic() + ENDING_S
        # the kernel lets go of a link some time after its pin is removed, and of the program after the link
        while any(map(self._libbpf.has_program, numbers)) and time.monotonic() < deadline:
            time.sleep(0.005)
        let_programs_end()

    def drop(self, built: Built) -> None:
        """Take down a build that is not in force; one that is has no suffix any more and stays."""
        if built.pins.name.endswith(_NEW):
            remove(built.pins)

    def numbers(self, built: Built, kind: str) -> Iterator[int]:
        """The kernel's ids of everything of one kind (``maps``, ``programs``, ``links``) in a build."""
        try:
            paths = list((built.pins / kind).iterdir())
        except FileNotFoundError as e:
            raise EdgeError(f"{built.pins} is gone: something else has moved or removed the pins") from e
        for path in paths:
            fd = self._libbpf.open(path)
            try:
                yield self._libbpf.number(fd)
            finally:
                os.close(fd)

    def unload(self) -> int:
        """Take down everything; how many links went. Raises ``HostError`` while an agent holds the pins."""
        if not self._pins.is_dir():
            return 0
        bpffs(self._pins)
        if self._held < 0:
            self._hold()
        links = 0
        for found in self._all():
            links += sum(1 for _ in found.glob("links/*"))
            remove(found)
        if not any(self._pins.iterdir()):  # somebody else's pins in it: the directory stays
            self._pins.rmdir()
        self.release()
        return links

    def loaded(self, built: Built, program: Program) -> bool:
        """Did the kernel accept this program?"""
        return (built.pins / "programs" / program.function).exists()

    @contextmanager
    def _program(self, built: Built, program: Program) -> Iterator[int]:
        fd = self._libbpf.open(built.pins / "programs" / program.function)
        try:
            yield fd
        finally:
            os.close(fd)

    def _pin_link(self, link: int, path: Path) -> None:
        try:
            self._libbpf.pin(link, path)
        finally:
            os.close(link)


def _run_child(job: build.Job) -> build.Built:
    command = [sys.executable, "-m", build.__name__]
    try:
        child = subprocess.run(  # noqa: S603 -- our own module
            command, input=msgspec.json.encode(job), capture_output=True, timeout=BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise HostError(f"the loader did not finish within {BUILD_TIMEOUT_S} s: is the machine overloaded?") from e
    said = child.stderr.decode(errors="replace").strip()
    try:
        answer = msgspec.json.decode(child.stdout, type=build.Built)
    except msgspec.DecodeError as e:
        last = said.splitlines()[-1] if said else f"exit status {child.returncode}"
        raise HostError(f"the loader failed ({last}): is python3-bpfcc installed?") from e
    if answer.error and "Operation not permitted" in answer.error + said:
        raise HostError("this kernel refuses the probes' maps: the agent needs CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN")
    if answer.error:
        raise AbiError(f"the probes do not build: {answer.error}: {_first_error(said)}")
    if not answer.loaded:
        raise HostError(f"this kernel refuses every probe ({_some(answer.refused)}): see `enforcer doctor`")
    return answer


def _some(refused: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in list(refused.items())[:2])


def _first_error(said: str) -> str:
    return next((line for line in said.splitlines() if "error:" in line), "no message from the compiler")
