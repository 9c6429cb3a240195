"""Where audit has a place: for everything on a host without BPF, beside the tracepoints for changes, and nowhere else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from enforcer.core.model import Hook, Mechanism
from enforcer.edges.audit_calls import ALL, CHANGES
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.bpfcall import why_no_bpf
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import EdgeError, HostError
from enforcer.runtime.audit import Observer, owner_of
from enforcer.runtime.canary import Canary
from enforcer.runtime.ladder import Hold
from enforcer.runtime.probes import Probes
from enforcer.runtime.proof import Finding, Seen
from enforcer.runtime.queue import Joined
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.watching import Tables, Watching
from enforcer.runtime.witness import Witness
from enforcer.settings import Settings

log = logging.getLogger(__name__)

CHANGE = "change"
JOIN_S = 5.0

Recorded = Callable[[], Seen]


class Auditing:
    """Decides whether this agent watches by audit, and what; keeps the observer and its thread.

    ``canary`` is what nobody may touch, ``place`` the cgroup from which it is tried; ``start_thread`` runs a loop under a name.
    """

    def __init__(  # noqa: PLR0913 -- each is a neighbour of its own
        self,
        settings: Settings,
        cgroups: Cgroups,
        canary: Canary,
        place: str,
        *,
        snapshot: Callable[[], Snapshot | None],
        start_thread: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._settings, self._cgroups, self._snapshot, self._canary = settings, cgroups, snapshot, canary
        self._witness = Witness(cgroups, place, canary.directory / "file")
        self._start_thread = start_thread
        self._ending, self._ended = threading.Event(), threading.Event()
        self._observer: Observer | None = None

    def probes(self, instance: int) -> Probes:
        """The kernel's programs, or the watches of a host that lets us have none.

        Only a kernel that refuses BPF altogether is watched instead: whatever else stands in the way is for the operator to
        mend, and ``--require deny`` or a mechanism that was asked for takes nothing less. Raises ``HostError``.
        """
        asked = self._settings.mechanism
        if asked == "audit":
            return Watching("--mechanism audit was asked for", lambda maps: self._watch(maps, ALL))
        try:
            return Probes(
                *(self._settings.pins, Source.of(probes_directory(), asked)),
                instance=instance,
                mechanism=asked,
                records_per_second=self._settings.records_per_second,
            )
        except HostError as e:
            why = why_no_bpf()
            if asked or self._settings.require_deny or not why:
                raise
            log.critical("NOTHING IS STOPPED on this host, what is forbidden is only watched by audit: %s (%s)", why, e)
            return Watching(why, lambda maps: self._watch(maps, ALL))

    def beside(self, probes: Probes) -> None:
        """Where nothing holds changes to names and attributes, have audit see them at least."""
        if not isinstance(probes, Watching):
            probes.holds = watched_too(probes.holds, lambda: self._why_no_changes(probes.open_maps()))

    def _why_no_changes(self, maps: Maps) -> str:
        try:
            self._watch(maps, CHANGES)
            why = self._witness.run(maps, {CHANGE: Mechanism.AUDIT}).failures.get(CHANGE, "")
        except (HostError, EdgeError) as e:
            why = str(e)
        if why:
            self.end()
        return why

    def rings(self, probes: Probes) -> Rings:
        """The records of the probes, and of what is watched beside them."""
        rings = probes.rings()
        if isinstance(probes, Watching) or not self._observer:
            return rings
        return Rings(Joined(rings.events, self._observer.sightings.events), rings.attempts)

    def try_all(self, maps: Maps, holds: Mapping[str, Mechanism | None], recorded: Recorded | None = None) -> Finding:
        """The canary for what is stopped, the witness for what is seen."""
        seen = {group: by for group, by in holds.items() if by is Mechanism.AUDIT}
        others = {group: by for group, by in holds.items() if group not in seen}
        found = [self._canary.run(maps, others, recorded)] if any(others.values()) else []
        found += [self._witness.run(maps, seen, recorded)] if seen else []
        failures = {group: why for each in found for group, why in each.failures.items()}
        return Finding(failures, tuple(proof for each in found for proof in each.proofs))

    @property
    def unplaced(self) -> int:
        """What was seen of processes that had ended before it could be told whose they were."""
        return self._observer.sightings.unplaced if self._observer else 0

    def shortcomings(self) -> dict[str, str]:
        """What audit does not see here, and why."""
        return self._observer.shortcomings() if self._observer else {}

    def end(self) -> str:
        """Nobody will read what the watches tell: take them away. What becomes of what is in force, in words."""
        observer, self._observer = self._observer, None
        if observer:
            self._ending.set()
            self._ended.wait(JOIN_S)
            observer.step(0)
            observer.close()
        kept = "" if observer and observer.hooks == ALL else "what it has put in force stays in force"
        return "; ".join(filter(None, (kept, "nothing is watched any more" if observer else "")))

    def _watch(self, maps: Maps, hooks: frozenset[Hook]) -> Rings:
        owner, place = owner_of(self._settings.pins), self._canary.directory
        observer = Observer(owner, maps, self._snapshot, self._cgroups, canary=place, hooks=hooks)
        observer.start()
        self._observer = observer
        self._start_thread("audit", lambda: self._loop(observer))
        return Rings(observer.sightings.events, observer.sightings.attempts)

    def _loop(self, observer: Observer) -> None:
        try:
            while not self._ending.is_set():
                observer.step()
        finally:
            self._ended.set()


def would_watch(name: Path, cgroups: Cgroups, canary: Path, hooks: frozenset[Hook]) -> str:
    """Why audit would not do here, "" if it would: it is tried, and taken away again. ``name`` tells the rules apart."""
    observer = Observer(owner_of(name), Tables(), lambda: None, cgroups, canary=canary, hooks=hooks)
    try:
        observer.start()
    except (HostError, EdgeError) as e:
        return str(e)
    observer.close()
    return ""


def watched_too(holds: tuple[Hold, ...], why_not: Callable[[], str]) -> tuple[Hold, ...]:
    """What audit adds to what programs hold: changes are seen where nothing stops them, unless ``why_not`` says why not."""
    if any(hold.hook == CHANGE and hold.mechanism for hold in holds):
        return holds
    why = why_not()
    failures = {CHANGE: why} if why else {}
    return tuple(_seen(hold, failures) if hold.hook == CHANGE else hold for hold in holds)


def _seen(hold: Hold, failures: Mapping[str, str]) -> Hold:
    if CHANGE in failures:
        return replace(hold, missed=(*hold.missed, f"audit: {failures[CHANGE]}"))
    return replace(hold, mechanism=Mechanism.AUDIT)
