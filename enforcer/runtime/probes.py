"""The kernel's side, brought up: adopt or build, fill, attach the best mechanism that is seen to work, keep it in force."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from enforcer.core.model import Hook, Mechanism
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.loader import Built, Loader, Source
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.programs import PROGRAMS, Program
from enforcer.edges.bpf.ring import Ring, Rings
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import ContainerGone, EdgeError, HostError
from enforcer.runtime.canary import Finding

log = logging.getLogger(__name__)

LSM_LIST = Path("/sys/kernel/security/lsm")
OPEN = "open"
FILE_HOOKS = {"open": Hook.OPEN, "unix": Hook.UNIX, "refused": Hook.REFUSED}
"""The hooks with a ladder of mechanisms; the one tracepoint program answers for those that have no better one."""

LIFE_HOOKS = ("birth", "arm", "death")

DENYING = frozenset({Mechanism.LSM, Mechanism.FMOD_RET, Mechanism.CGROUP})

Prove = Callable[[Maps, Mechanism | None], Finding]


@dataclass(frozen=True)
class Hold:
    """What holds one hook. ``mechanism`` None: nothing does. ``missed``: why the better mechanisms do not."""

    hook: str
    mechanism: Mechanism | None
    missed: tuple[str, ...] = ()


class Probes:
    """One agent's programs and maps. ``mechanism`` forces one rung of the ladder for opens."""

    def __init__(self, pins: Path, source: Source, *, instance: int, mechanism: str = "") -> None:
        self._libbpf = Libbpf()
        self._loader = Loader(pins, self._libbpf)
        self._loader.prepare()
        self._forced = mechanism
        self._alone = not self._loader.builds()
        with ExitStack() as failing:
            failing.callback(self._loader.unload if self._alone else self._loader.release)
            self._built = self._adopted(source, instance) or self._loader.build(source)
            self.maps = self.open_maps()
            failing.pop_all()
        self.adopted = self._built.adopted
        self.holds: tuple[Hold, ...] = ()
        self.uncovered: dict[str, str] = {}
        self._covered: dict[int, str] = {}
        if not self.adopted:
            self.maps.configure(instance=instance, host_mnt_ns=os.stat("/proc/self/ns/mnt").st_ino)

    def _adopted(self, source: Source, instance: int) -> Built | None:
        """The pinned build of this source, if its maps speak in our numbers; one that does not stands until it is replaced."""
        built = self._loader.adopt(source)
        if built is None:
            return None
        maps = Maps(built.maps, self._libbpf)
        ours = maps.config().instance == instance
        maps.close()
        if not ours:
            log.warning("the pinned maps belong to another state directory: they are replaced")
            self._loader.set_aside(built)
        return built if ours else None

    def open_maps(self) -> Maps:
        """The maps, with descriptors of their own: one for each thread that uses them."""
        return Maps(self._built.maps, self._libbpf)

    def rings(self) -> Rings:
        """The rings of records. Only one reader at a time."""
        page = os.sysconf("SC_PAGE_SIZE")
        return Rings(Ring(self.maps.fd("events"), 2048 * page), Ring(self.maps.fd("attempts"), 256 * page))

    def attach(self, cgroups: Cgroups, parents: Iterable[str], prove: Prove) -> None:
        """Attach every hook and prove it; the maps must be filled. What an adopted build has attached is kept if it holds."""
        holds = [self._attach_first(hook) for hook in LIFE_HOOKS]
        holds += self.cover(cgroups, parents)
        holds += [self._climb(hook, prove) for hook in FILE_HOOKS]
        self._drop_unused(holds)
        self.holds = tuple(self._proved(holds, prove))

    def _proved(self, holds: list[Hold], prove: Prove) -> list[Hold]:
        """What the canary could do all the same is not held, whatever is attached."""
        opens = next(h.mechanism for h in holds if h.hook == OPEN)
        failures = prove(self.maps, opens).failures
        if why := failures.get("connect"):
            holds = [replace(h, mechanism=None, missed=(why,)) if h.hook == "connect4" else h for h in holds]
        return holds

    def commit(self) -> None:
        """This build is in force: whatever was pinned before it goes now."""
        self._built = self._loader.finish(self._built)

    def give_up(self) -> None:
        """The start failed: leave what was in force before, and nothing of ours."""
        self.maps.close()
        if self._alone:
            self._loader.unload()
        elif not self.adopted:
            self._loader.drop(self._built)

    def cover(self, cgroups: Cgroups, parents: Iterable[str]) -> list[Hold]:
        """Attach the network programs to each cgroup in ``parents``; those that have them already keep them.

        A parent that may not be attached to is said in ``uncovered``; the others are covered all the same.
        """
        holds = {p.hook: Hold(p.hook, p.mechanism) for p in PROGRAMS if p.mechanism is Mechanism.CGROUP}
        for parent in parents:
            try:
                fd = cgroups.attachable(parent)
            except ContainerGone:
                continue
            except HostError as e:
                self.uncovered[parent] = str(e)
                continue
            try:
                for program in (p for p in PROGRAMS if p.hook in holds):
                    if why := self._try(program, cgroup=fd):
                        holds[program.hook] = Hold(program.hook, None, (why,))
                self._covered[os.fstat(fd).st_ino] = parent
            finally:
                os.close(fd)
        gone = [i for i, parent in self._covered.items() if not cgroups.exists(parent, i)]
        for inode in gone:
            self._loader.detach_cgroup(self._built, inode)
            del self._covered[inode]
        return list(holds.values())

    def _attach_first(self, hook: str) -> Hold:
        program = next(p for p in PROGRAMS if p.hook == hook)
        why = self._try(program)
        return Hold(hook, None, (why,)) if why else Hold(hook, program.mechanism)

    def _climb(self, hook: str, prove: Prove) -> Hold:
        """The first mechanism for a hook that loads and attaches; for opens, that stops the canary too."""
        if kept := self._kept(hook, prove):
            return kept
        missed: list[str] = []
        for program in (p for p in PROGRAMS if p.hook == hook):
            name = program.mechanism.name.lower()
            if not self._wanted(program):
                missed.append(f"{name}: --mechanism {self._forced} was asked for")
                continue
            self._answer_by_tracepoint(FILE_HOOKS[hook], program.mechanism is Mechanism.TRACEPOINT)
            if why := self._try(program) or (self._unproved(program, prove) if hook == OPEN else ""):
                missed.append(f"{name}: {why}")
                self._loader.detach(self._built, program)
                continue
            return Hold(hook, program.mechanism, tuple(missed))
        return Hold(hook, None, tuple(missed))

    def _kept(self, hook: str, prove: Prove) -> Hold | None:
        """What an adopted build holds the hook by, if it is wanted and works: it is not touched then."""
        if not self.adopted:
            return None
        attached = {p.function for p in self._loader.attached(self._built)}
        answering = self.maps.config().tracepoint_hooks >> FILE_HOOKS[hook] & 1
        rungs = [p for p in PROGRAMS if p.hook == hook]
        for program in rungs:
            by_tracepoint = program.mechanism is Mechanism.TRACEPOINT
            if program.function in attached and by_tracepoint == bool(answering) and self._wanted(program):
                if hook == OPEN and self._unproved(program, prove):
                    return None
                better = rungs[: rungs.index(program)]
                missed = tuple(f"{p.mechanism.name.lower()}: not when this build was loaded" for p in better)
                return Hold(hook, program.mechanism, missed)
        return None

    def _wanted(self, program: Program) -> bool:
        """By --mechanism; fexit only looks, and stands beside whichever mechanism refuses."""
        if program.mechanism is Mechanism.FEXIT:
            return self._forced != "tracepoint"
        return self._forced in ("", program.mechanism.name.lower())

    def _answer_by_tracepoint(self, hook: Hook, yes: bool) -> None:
        hooks = self.maps.config().tracepoint_hooks
        self.maps.configure(tracepoint_hooks=hooks | 1 << hook if yes else hooks & ~(1 << hook))

    def _drop_unused(self, holds: list[Hold]) -> None:
        """What an adopted build had attached and no hook is held by any more."""
        held = {(h.hook, h.mechanism) for h in holds}
        used = {p.function for p in PROGRAMS if (p.hook, p.mechanism) in held}
        for program in list(self._loader.attached(self._built)):
            if program.function not in used:
                self._loader.detach(self._built, program)

    def _unproved(self, program: Program, prove: Prove) -> str:
        finding = prove(self.maps, program.mechanism)
        return finding.failures.get(OPEN, "")

    def _try(self, program: Program, *, cgroup: int | None = None) -> str:
        """Attach one program; why it does not, or ""."""
        if not self._loader.loaded(self._built, program):
            why = self._built.refused.get(program.function, "said when this build was loaded")
            return f"the kernel refuses the program ({why})"
        if program.mechanism is Mechanism.LSM and "bpf" not in (lsm_list() or ("bpf",)):
            return f"bpf is not in the kernel's list of LSMs ({LSM_LIST})"
        try:
            if cgroup is not None:
                self._loader.attach_cgroup(self._built, program, cgroup)
            elif program.function not in {p.function for p in self._loader.attached(self._built)}:
                self._loader.attach(self._built, program)
        except EdgeError as e:
            return f"it does not attach ({e})"
        return ""

    def require_deny(self) -> None:
        """Raises ``HostError`` if any hook is held by less than a refusal before the fact."""
        weak = [h for h in self.holds if h.hook not in (*LIFE_HOOKS, "refused") and h.mechanism not in DENYING]
        if weak:
            why = "; ".join(f"{h.hook}: {'; '.join(h.missed) or 'nothing holds it'}" for h in weak)
            raise HostError(f"--require deny: this host cannot refuse before the fact ({why})")

    def release(self) -> None:
        """Let another agent have the pins; they stay."""
        self._loader.release()

    def unload(self) -> int:
        """Take everything down; how many links went."""
        self.maps.close()
        return self._loader.unload()


def lsm_list() -> tuple[str, ...] | None:
    """The kernel's active LSMs; None where securityfs is not mounted: then the canary tells."""
    try:
        return tuple(LSM_LIST.read_text().strip().split(","))
    except OSError:
        return None
