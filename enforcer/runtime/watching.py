"""A host without BPF: what stands for the kernel's maps and programs there, so that the rest of the agent need not know.

Nothing is stopped. The rows that the kernel would judge by are judged by the observer (``runtime.audit``); counts begin anew
with each agent, since no pinned map keeps them.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from enforcer import abi
from enforcer.core.image import Image, Subject, Table
from enforcer.core.model import Mechanism
from enforcer.core.plan import Delete, Op, Publish, Put
from enforcer.edges.bpf.loader import Source, probes_directory
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.bpfcall import why_no_bpf
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import HostError
from enforcer.runtime.audit import Observer, owner_of
from enforcer.runtime.canary import Canary
from enforcer.runtime.ladder import GROUPS, Hold, Prove
from enforcer.runtime.probes import Probes
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.witness import Witness
from enforcer.settings import Settings

log = logging.getLogger(__name__)

SEEN = ("open", "exec", "change", "unix", "refused")
"""The hold groups that audit sees."""

UNSEEN = ("connect4", "connect6", "sendmsg4", "sendmsg6")
"""Groups without a ladder that it does not see; of the others it sees those in ``SEEN``."""

JOIN_S = 5.0

StartThread = Callable[[str, Callable[[], None]], None]


class Tables(Maps):
    """The maps in memory, for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation = 0
        self._subjects: dict[int, Subject] = {}
        self._counts: Counter[tuple[int, int, int, int, int, int, int]] = Counter()
        self._losses: Counter[tuple[int, int]] = Counter()
        self._written: Counter[int] = Counter()

    def close(self) -> None:
        """Nothing is held."""

    def config(self) -> abi.Config:
        """What is live now."""
        return abi.Config(generation=self._generation)

    def apply(self, op: Op) -> None:
        """Carry out one operation of a plan. Only whose a cgroup is must be known here: the observer judges by the snapshot."""
        match op:
            case Put(Table.CGROUPS, key, value):
                self._subjects[key] = value
            case Delete(Table.CGROUPS, key):
                self._subjects.pop(key, None)
            case Publish(generation):
                self._generation = generation

    def sweep(self, image: Image) -> int:
        """Nothing to remove."""
        return 0

    def guard(self, wanted: Mapping[str, Iterable[int]]) -> None:
        """There is nothing of ours in the kernel to close."""

    def subject(self, cgroup: int) -> Subject | None:
        """Whose a cgroup is."""
        return self._subjects.get(cgroup)

    def counts(self) -> dict[tuple[int, int, int, int, int, int, int], int]:
        """(subject, object, peer, class, access, verdict, hook) → violations since the agent started."""
        with self._lock:
            return dict(self._counts)

    def losses(self) -> dict[tuple[int, int], int]:
        """(subject, cause) → violations or records that are missing somewhere."""
        with self._lock:
            return dict(self._losses)

    def recorded(self) -> dict[int, int]:
        """Subject → violations that the journal holds."""
        with self._lock:
            return dict(self._written)

    def add_count(self, key: abi.CountKey, n: int) -> None:
        """Count a violation."""
        parts = key.subject, key.object, key.peer, key.class_, key.access, key.verdict, key.hook
        with self._lock:
            self._counts[parts] += n

    def add_loss(self, subject: int, cause: int, n: int) -> None:
        """Count what is missing."""
        with self._lock:
            self._losses[subject, cause] += n

    def add_recorded(self, subject: int, n: int) -> None:
        """The journal holds ``n`` more violations of this subject."""
        with self._lock:
            self._written[subject] += n


class Watching(Probes):
    """Stands for ``Probes``. ``why``: why there are no programs; ``start_thread`` runs the observer's loop."""

    def __init__(
        self, pins: Path, why: str, *, snapshot: Callable[[], Snapshot | None], canary: Path, start_thread: StartThread
    ) -> None:
        self.maps: Maps = Tables()
        self.adopted = False
        self.holds: tuple[Hold, ...] = ()
        self.uncovered: dict[str, str] = {}
        self._pins, self._why, self._snapshot, self._canary = pins, why, snapshot, canary
        self._start_thread = start_thread
        self._ending, self._ended = threading.Event(), threading.Event()
        self.observer: Observer | None = None

    def open_maps(self) -> Maps:
        """The maps: the same for all."""
        return self.maps

    def rings(self) -> Rings:
        """The observer's records."""
        return Rings(self._observer().sightings.events, self._observer().sightings.attempts)

    def attach(self, cgroups: Cgroups, parents: Iterable[str], prove: Prove) -> None:
        """Set the watches, and see that a forbidden open is told of. Raises ``HostError``."""
        owner = owner_of(self._pins)
        observer = Observer(owner, self.maps, self._snapshot, cgroups, canary=self._canary)
        observer.start()
        self.observer = observer
        self._start_thread("audit", self._loop)
        finding = prove(self.maps, dict.fromkeys(SEEN, Mechanism.AUDIT))
        self.holds = tuple(self._hold(group, finding.failures) for group in dict.fromkeys((*GROUPS, *UNSEEN)))

    def _hold(self, group: str, failures: Mapping[str, str]) -> Hold:
        why = f"no program is loaded: {self._why}"
        if group not in SEEN:
            return Hold(group, None, (why, "audit does not see it"))
        if group in failures:
            return Hold(group, None, (why, f"audit: {failures[group]}"))
        return Hold(group, Mechanism.AUDIT, (why,))

    def _loop(self) -> None:
        try:
            while not self._ending.is_set():
                self._observer().step()
        finally:
            self._ended.set()

    def _observer(self) -> Observer:
        if self.observer is None:
            raise AssertionError("asked before anything is watched")
        return self.observer

    def cover(self, cgroups: Cgroups, parents: Iterable[str]) -> list[Hold]:
        """No program is attached to a cgroup here."""
        return []

    def require_deny(self) -> None:
        """Raises ``HostError``: nothing is refused here."""
        raise HostError(f"--require deny: this host cannot refuse anything, audit only sees ({self._why})")

    def commit(self) -> None:
        """What is watched is watched."""

    def give_up(self) -> None:
        """The start failed: take the watches away."""
        self.close()

    def close(self) -> None:
        """The agent ends: nobody would read what the watches tell."""
        self._ending.set()
        if self.observer:
            self._ended.wait(JOIN_S)
            self.observer.step(0)
            self.observer.close()
            self.observer = None


def bring_up(
    settings: Settings,
    instance: int,
    *,
    snapshot: Callable[[], Snapshot | None],
    canary: Path,
    start_thread: StartThread,
) -> Probes:
    """The kernel's programs, or the watches of a host that lets us have none.

    Only a kernel that refuses BPF altogether is watched instead: whatever else stands in the way is for the operator to
    mend, and ``--require deny`` or a mechanism that was asked for takes nothing less. Raises ``HostError``.
    """

    def watching(why: str) -> Watching:
        return Watching(settings.pins, why, snapshot=snapshot, canary=canary, start_thread=start_thread)

    if settings.mechanism == "audit":
        return watching("--mechanism audit was asked for")
    try:
        source = Source.of(probes_directory(), settings.mechanism)
        return Probes(settings.pins, source, instance=instance, mechanism=settings.mechanism)
    except HostError as e:
        why = why_no_bpf()
        if settings.mechanism or settings.require_deny or not why:
            raise
        log.critical("NOTHING IS STOPPED on this host, what is forbidden is only watched by audit: %s (%s)", why, e)
        return watching(why)


def trial(probes: Probes, canary: Canary, cgroups: Cgroups, path: str) -> Canary | Witness:
    """What proves that the probes hold: the canary, or where nothing is stopped a witness in the cgroup ``path``."""
    return Witness(cgroups, path, canary.directory / "file") if isinstance(probes, Watching) else canary


def end(probes: Probes) -> str:
    """The agent stops: take away what would be watched for nobody. What becomes of what it has put in force, in words."""
    if isinstance(probes, Watching):
        probes.close()
        return "nothing is watched any more"
    return "what it has put in force stays in force"
