"""The kernel's side, brought up: adopt or build, fill, attach the best mechanism that is seen to work, keep it in force."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.image import State, Subject, Table
from enforcer.core.model import Container, Mechanism
from enforcer.core.plan import Put
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.loader import Built, Loader
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.opened import Opened
from enforcer.edges.bpf.pins import mark, marked, remove
from enforcer.edges.bpf.programs import PROGRAMS, Program
from enforcer.edges.bpf.ring import Ring, Rings
from enforcer.edges.bpf.shares import Shares
from enforcer.edges.bpf.source import Source
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import ContainerGone, EdgeError, HostError
from enforcer.runtime.carry import carry
from enforcer.runtime.ladder import DENYING, GROUPS, LIFE_GROUPS, Hold, Ladder, Prove, disproved
from enforcer.runtime.proof import Finding

log = logging.getLogger(__name__)


class Probes:
    """One agent's programs and maps. ``mechanism`` forces one rung of the ladder for opens.

    ``records_per_second`` is what one subject may have in the log, in the mean over a window; 0: as many as there are.
    """

    _older: tuple[tuple[Built, Maps], ...] = ()
    _known: frozenset[str] = frozenset()

    def __init__(
        self, pins: Path, source: Source, *, instance: int, mechanism: str = "", records_per_second: int = 0
    ) -> None:
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
        self.maps.configure(budget=(records_per_second << abi.WINDOW_BITS) // 10**9)

    def _adopted(self, source: Source, instance: int) -> Built | None:
        """The pinned build of this source, if its maps speak in our numbers; one that does not stands until it is replaced."""
        built = self._loader.adopt(source)
        if built is None:
            for path in self._loader.builds():
                log.warning("build %s is pinned, this is %s: it is replaced without a gap", path.name, source.build)
            return None
        maps = self._readable(built, instance)
        if maps is None:
            log.warning("the pinned maps belong to another state directory: they are replaced")
            self._loader.set_aside(built)
            return None
        maps.close()
        return built

    def open_maps(self) -> Maps:
        """The maps, with descriptors of their own: one for each thread that uses them."""
        return Maps(self._built.maps, self._libbpf)

    def rings(self) -> Rings:
        """The rings of records. Only one reader at a time."""
        return _rings(self.maps)

    def opened(self, maps: Maps) -> Opened:
        """What containers have open and may not have. ``maps``: those of the caller's thread."""
        return Opened(self._built.links, maps)

    def attach(self, cgroups: Cgroups, parents: Iterable[str], prove: Prove) -> None:
        """Attach every group and prove it; the maps must be filled. What an adopted build has attached is kept if it holds."""
        ladder = Ladder(self._loader, self._built, self.maps, self._forced)
        holds = [ladder.first(group) for group in LIFE_GROUPS]
        holds += self.cover(cgroups, parents)
        holds += [ladder.climb(group, prove) for group in GROUPS]
        ladder.keep_only(holds)
        self._guard()
        if ladder.changed:
            finding = prove(self.maps, {h.hook: h.mechanism for h in holds if h.mechanism})
            mark(self._built.pins, finding.failures)
        else:
            known = marked(self._built.pins)
            finding = Finding(dict.fromkeys(known, "the canary could do it when this build was put in force"))
        self.holds = disproved(holds, finding)

    def _guard(self) -> None:
        """Close what this build has in the kernel to every container."""
        self.maps.guard({kind: self._loader.numbers(self._built, kind) for kind in abi.GUARDED})

    def commit(self) -> None:
        """This build is in force: whatever was pinned before it ends now."""
        self._built = self._loader.finish(self._built)
        for old in self._loader.others(self._built):
            self._loader.end(old)
            if maps := self._readable(old, self.maps.config().instance):
                self._older += ((old, maps),)
            else:
                remove(old.pins)

    def hand_over(self, read_out: Callable[[Rings, Maps], None]) -> None:
        """Have the records read that earlier builds have left, and take over their counts; nothing is left of them then."""
        for old, maps in self._older:
            rings = _rings(maps)
            read_out(rings, maps)
            for ring in rings:
                ring.close()
            log.info("violations that build %s had counted: %d", old.pins.name, carry(maps, self.maps))
            maps.close()
            remove(old.pins)
        self._older = ()

    def _readable(self, built: Built, instance: int) -> Maps | None:
        """The maps of a build, if they are laid out as ours are and speak in our numbers."""
        if built.abi != abi.ABI:
            return None
        maps = Maps(built.maps, self._libbpf)
        if maps.config().instance == instance:
            return maps
        maps.close()
        return None

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
        holds = {p.group: Hold(p.group, p.mechanism) for p in PROGRAMS if p.mechanism is Mechanism.CGROUP}
        for parent in parents:
            try:
                fd = cgroups.attachable(parent)
            except ContainerGone:
                continue
            except HostError as e:
                self.uncovered[parent] = str(e)
                continue
            try:
                for program in (p for p in PROGRAMS if p.group in holds):
                    if why := self._attach_cgroup(program, fd):
                        holds[program.group] = Hold(program.group, None, (why,))
                self._covered[os.fstat(fd).st_ino] = parent
            finally:
                os.close(fd)
        gone = [i for i, parent in self._covered.items() if not cgroups.exists(parent, i)]
        for inode in gone:
            self._loader.detach_cgroup(self._built, inode)
            del self._covered[inode]
        self._guard()
        return list(holds.values())

    def cover_all(self, cgroups: Cgroups, containers: Iterable[Container]) -> None:
        """Attach the network programs to the parents of containers that live elsewhere than below Docker's default."""
        running = {c.id: c.pid for c in containers if c.pid}
        places = []
        for identity in running.keys() - self._known:
            with suppress(ContainerGone):
                places.append(cgroups.of_pid(running[identity]))
        self.cover(cgroups, cgroups.parents(places))
        self._known = frozenset(running)

    def expect(self, cgroups: Cgroups, parent: str, containers: Iterable[Container]) -> None:
        """Know the cgroups that appeared before birth was watched and in which nothing has run yet: as if seen to be born.

        The engine calls such a container not running. Its first program arms it, by the name that it is prepared under.
        """
        for identity in (c.id for c in containers if not c.pid):
            for name in (identity, f"docker-{identity}.scope"):
                with suppress(ContainerGone):
                    cgroup = cgroups.id_of(f"{parent.rstrip('/')}/{name}")
                    if self.maps.subject(cgroup) is None:
                        born = Subject(Reserved.UNNAMED, State.PENDING, cgroup)
                        self.maps.apply(Put(Table.CGROUPS, cgroup, born))

    def _attach_cgroup(self, program: Program, cgroup: int) -> str:
        if not self._loader.loaded(self._built, program):
            why = self._built.refused.get(program.function, "said when this build was loaded")
            return f"the kernel refuses {program.function} ({why})"
        try:
            self._loader.attach_cgroup(self._built, program, cgroup)
        except EdgeError as e:
            return f"{program.function} does not attach ({e})"
        return ""

    def require_deny(self) -> None:
        """Raises ``HostError`` if any hook is held by less than a refusal before the fact."""
        weak = [h for h in self.holds if h.hook not in (*LIFE_GROUPS, "refused") and h.mechanism not in DENYING]
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


def _rings(maps: Maps) -> Rings:
    page = os.sysconf("SC_PAGE_SIZE")
    shares = (maps.fd("shares"), maps.fd("taken"))
    return Rings(
        Ring(maps.fd("events"), abi.EVENTS_PAGES * page, Shares(*shares, abi.RING_EVENTS)),
        Ring(maps.fd("attempts"), abi.ATTEMPTS_PAGES * page, Shares(*shares, abi.RING_ATTEMPTS)),
    )
