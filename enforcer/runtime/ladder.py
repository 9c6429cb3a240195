"""The ladder of mechanisms: for each group of hooks the best one whose programs load, attach and stop the canary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from enforcer.core.model import Hook, Mechanism
from enforcer.edges.bpf.loader import Built, Loader
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.programs import PROGRAMS, Program
from enforcer.edges.bpf.source import LSM_LIST, lsm_list
from enforcer.errors import EdgeError
from enforcer.runtime.proof import Finding

OPEN = "open"

SYSTEM_CALLS = {
    "open": Hook.OPEN,
    "unix": Hook.UNIX,
    "refused": Hook.REFUSED,
    "exec": Hook.EXEC,
    "io_uring": Hook.IO_URING,
    "packet": Hook.SOCKET,
    "escape": Hook.ESCAPE,
}
"""The groups whose tracepoint programs serve others too, so they are told (``enf_config.tracepoint_hooks``) what to answer."""

LIFE_GROUPS = ("birth", "arm", "leave", "death", "opened")
"""The groups that refuse nothing and have but one mechanism: a container's life, and what it has open already."""

DENYING = frozenset({Mechanism.LSM, Mechanism.FMOD_RET, Mechanism.CGROUP})

Prove = Callable[[Maps, Mapping[str, Mechanism | None]], Finding]


@dataclass(frozen=True)
class Hold:
    """What holds one group of hooks. ``mechanism`` None: nothing does. ``missed``: why the better mechanisms do not."""

    hook: str
    mechanism: Mechanism | None
    missed: tuple[str, ...] = ()


Rung = tuple[Mechanism, tuple[Program, ...]]


def rungs(group: str) -> list[Rung]:
    """The mechanisms that a group has programs for, best first, which is as they stand in ``PROGRAMS``."""
    found = [p for p in PROGRAMS if p.group == group]
    order = dict.fromkeys(p.mechanism for p in found)
    return [(mechanism, tuple(p for p in found if p.mechanism is mechanism)) for mechanism in order]


GROUPS = tuple(
    group
    for group in dict.fromkeys(p.group for p in PROGRAMS)
    if group not in LIFE_GROUPS and rungs(group)[0][0] is not Mechanism.CGROUP
)
"""The groups with a ladder; ``open`` comes first, since what it finds out about a mechanism holds for the others."""


class Ladder:
    """Climbs for one build. ``forced`` names the only mechanism that may be taken, "" for the best."""

    def __init__(self, loader: Loader, built: Built, maps: Maps, forced: str) -> None:
        self._loader, self._built, self._maps, self._forced = loader, built, maps, forced
        self._disproved: dict[Mechanism, str] = {}
        self.changed = not built.adopted
        """Whether anything had to be attached: then it has to be proved."""

    def first(self, group: str) -> Hold:
        """The only mechanism of a group that has but one."""
        [(mechanism, programs)] = rungs(group)
        attached = {p.function for p in self._loader.attached(self._built)}
        self.changed |= not {p.function for p in programs} <= attached
        why = self._try(programs)
        return Hold(group, None, (why,)) if why else Hold(group, mechanism)

    def climb(self, group: str, prove: Prove) -> Hold:
        """The best mechanism for a group; opens are proved by the canary, and with them what the others may take."""
        if kept := self._kept(group):
            return kept
        missed: list[str] = []
        for mechanism, programs in rungs(group):
            why = self._unwanted(mechanism)
            if not why:
                self._answer_by_tracepoint(group, mechanism is Mechanism.TRACEPOINT)
                why = self._try(programs) or (self._unproved(mechanism, prove) if group == OPEN else "")
            if not why:
                self.changed = True
                return Hold(group, mechanism, tuple(missed))
            missed.append(f"{mechanism.name.lower()}: {why}")
            self._let_go(programs)
        if not missed:
            raise AssertionError(f"no program is declared for {group}")
        self._answer_by_tracepoint(group, False)
        return Hold(group, None, tuple(missed))

    def keep_only(self, holds: Iterable[Hold]) -> None:
        """Detach what an adopted build had attached and no group is held by any more."""
        held = {(h.hook, h.mechanism) for h in holds}
        used = {p.function for p in PROGRAMS if (p.group, p.mechanism) in held}
        for program in list(self._loader.attached(self._built)):
            if program.function not in used:
                self._loader.detach(self._built, program)

    def _kept(self, group: str) -> Hold | None:
        """What an adopted build holds the group by, if it is wanted: it was proved when it was put in force and is not touched."""
        if not self._built.adopted:
            return None
        attached = {p.function for p in self._loader.attached(self._built)}
        hook = SYSTEM_CALLS.get(group)
        answering = hook is not None and bool(self._maps.config().tracepoint_hooks >> hook & 1)
        above: list[str] = []
        for mechanism, programs in rungs(group):
            right = hook is None or answering == (mechanism is Mechanism.TRACEPOINT)
            if right and not self._unwanted(mechanism) and {p.function for p in self._loadable(programs)} <= attached:
                return Hold(group, mechanism, tuple(above))
            above.append(f"{mechanism.name.lower()}: {self._unwanted(mechanism) or 'not when this build was loaded'}")
        return None

    def _unwanted(self, mechanism: Mechanism) -> str:
        """By --mechanism, or by what the canary has shown; fexit only looks, and stands beside whichever mechanism refuses."""
        name = "lsm or fmod_ret" if mechanism is Mechanism.FEXIT else mechanism.name.lower()
        if self._forced and self._forced not in name:
            return f"--mechanism {self._forced} was asked for"
        if mechanism is Mechanism.LSM and "bpf" not in (lsm_list() or ("bpf",)):
            return f"bpf is not in the kernel's list of LSMs ({LSM_LIST})"
        return self._disproved.get(mechanism, "")

    def _unproved(self, mechanism: Mechanism, prove: Prove) -> str:
        why = prove(self._maps, {OPEN: mechanism}).failures.get(OPEN, "")
        if why:
            self._disproved[mechanism] = why
        return why

    def _answer_by_tracepoint(self, group: str, yes: bool) -> None:
        if group not in SYSTEM_CALLS:
            return
        hooks, bit = self._maps.config().tracepoint_hooks, 1 << SYSTEM_CALLS[group]
        self._maps.configure(tracepoint_hooks=hooks | bit if yes else hooks & ~bit)

    def _loadable(self, programs: Iterable[Program]) -> list[Program]:
        """Without those for operations that this kernel does not have."""
        return [p for p in programs if not p.optional or self._loader.loaded(self._built, p)]

    def _try(self, programs: Iterable[Program]) -> str:
        """Attach what is not attached yet; why one does not, or ""."""
        attached = {p.function for p in self._loader.attached(self._built)}
        for program in self._loadable(programs):
            if not self._loader.loaded(self._built, program):
                why = self._built.refused.get(program.function, "it said so when this build was loaded")
                return f"the kernel refuses {program.function} ({why})"
            try:
                if program.function not in attached:
                    self._loader.attach(self._built, program)
            except EdgeError as e:
                return f"{program.function} does not attach ({e})"
        return ""

    def _let_go(self, programs: Iterable[Program]) -> None:
        """Detach the programs of a mechanism that is not taken, unless another group may hold by them."""
        for program in programs:
            if len({p.group for p in PROGRAMS if p.function == program.function}) == 1:
                self._loader.detach(self._built, program)


def disproved(holds: Iterable[Hold], finding: Finding) -> tuple[Hold, ...]:
    """What the canary could do all the same is not held, whatever is attached."""
    return tuple(
        replace(h, mechanism=None, missed=(*h.missed, finding.failures[h.hook])) if h.hook in finding.failures else h
        for h in holds
    )
