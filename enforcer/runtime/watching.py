"""A host without BPF: what stands for the kernel's maps and programs there, so that the rest of the agent need not know.

Nothing is stopped. The rows that the kernel would judge by are judged by the observer (``runtime.audit``); counts begin anew
with each agent, since no pinned map keeps them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from enforcer import abi
from enforcer.core.image import Image, Subject, Table
from enforcer.core.model import Mechanism
from enforcer.core.plan import Delete, Op, Publish, Put, Renew
from enforcer.edges.bpf.accounts import Account, Accounts, Place
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.opened import Opened
from enforcer.edges.bpf.repeats import Repeats
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import EdgeError, HostError
from enforcer.runtime.ladder import GROUPS, Hold, Prove
from enforcer.runtime.probes import Probes

SEEN = ("open", "exec", "change", "unix", "refused")
"""The hold groups that audit sees."""

UNSEEN = ("connect4", "connect6", "sendmsg4", "sendmsg6")
"""Groups without a ladder that it does not see; of the others it sees those in ``SEEN``."""


class Remembered(Accounts):
    """The accounts of an agent without maps, for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: Counter[Account] = Counter()

    def all(self) -> dict[Account, int]:
        """Every row."""
        with self._lock:
            return dict(self._rows)

    def get(self, account: Account) -> int:
        """One number, 0 if it was never added to."""
        with self._lock:
            return self._rows[account]

    def add(self, changes: Mapping[Account, int], place: Place | None = None) -> None:
        """Add to these rows. How far it has come does not outlive the agent."""
        with self._lock:
            self._rows.update(changes)

    def place(self) -> Place:
        """Nothing is left of an earlier agent."""
        return Place()


class NoRepeats(Repeats):
    """Only a kernel filters."""

    def __init__(self) -> None:
        """Nothing is held."""

    def any(self) -> bool:
        """There are none."""
        return False

    def waiting(self) -> Counter[int]:
        """There are none."""
        return Counter()


class Tables(Maps):
    """The maps in memory, for all threads."""

    def __init__(self) -> None:
        self._generation, self._epoch = 0, 0
        self._subjects: dict[int, Subject] = {}
        self.accounts, self.repeats = Remembered(), NoRepeats()

    def close(self) -> None:
        """Nothing is held."""

    def config(self) -> abi.Config:
        """What is live now."""
        return abi.Config(generation=self._generation, epoch=self._epoch)

    def apply(self, op: Op) -> None:
        """Carry out one operation of a plan. Only whose a cgroup is must be known here: the observer judges by the snapshot."""
        match op:
            case Put(Table.CGROUPS, key, value):
                self._subjects[key] = value
            case Delete(Table.CGROUPS, key):
                self._subjects.pop(key, None)
            case Publish(generation):
                self._generation, self._epoch = generation, self._epoch + 1
            case Renew():
                self._epoch += 1

    def apply_all(self, ops: Iterable[Op]) -> None:
        """Carry out a plan."""
        for op in ops:
            self.apply(op)

    def sweep(self, image: Image) -> int:
        """Nothing to remove."""
        return 0

    def guard(self, wanted: Mapping[str, Iterable[int]]) -> None:
        """There is nothing of ours in the kernel to close."""

    def subject(self, cgroup: int) -> Subject | None:
        """Whose a cgroup is."""
        return self._subjects.get(cgroup)

    def row(self, name: str, key: bytes, kind: type[abi.S]) -> abi.S | None:
        """Only a kernel remembers flows."""
        return None

    def put_row(self, name: str, key: bytes, value: abi.Record) -> None:
        """Only a kernel asks for them."""

    def round(self) -> int:
        """Audit tells what was tried, not what was allowed of it: nothing is noted."""
        return 0

    def begin_round(self, number: int) -> None:
        """Nobody notes."""

    def accesses(self) -> Iterator[tuple[bytes, abi.AccessValue]]:
        """None is noted."""
        return iter(())

    def forget(self, name: str, key: bytes) -> None:
        """The same."""

    def packets(self) -> dict[int, int]:
        """None is stopped."""
        return {}

    def sums(self, name: str, form: str) -> Iterator[tuple[tuple[int, ...], int]]:
        """No program counts."""
        return iter(())


class Watching(Probes):
    """Stands for the kernel's programs. ``why``: why there are none; ``watch`` sets the watches and returns what tells of them."""

    def __init__(self, why: str, watch: Callable[[Maps], Rings]) -> None:
        self.maps: Maps = Tables()
        self.adopted = False
        self.holds: tuple[Hold, ...] = ()
        self.uncovered: dict[str, str] = {}
        self._why, self._watch = why, watch

    def open_maps(self) -> Maps:
        """The maps: the same for all."""
        return self.maps

    def rings(self) -> Rings:
        """The observer's records."""
        return self._rings

    def opened(self, maps: Maps) -> Opened:
        """Raises ``EdgeError``: audit tells of opens, not of what is open."""
        raise EdgeError(f"only a kernel's program sees them, and none is loaded: {self._why}")

    def attach(self, cgroups: Cgroups, parents: Iterable[str], prove: Prove) -> None:
        """Set the watches, and see that what is forbidden is told of. Raises ``HostError``."""
        self._rings = self._watch(self.maps)
        failures = prove(self.maps, dict.fromkeys(SEEN, Mechanism.AUDIT)).failures
        self.holds = held_by_audit(self._why, failures)

    def cover(self, cgroups: Cgroups, parents: Iterable[str]) -> list[Hold]:
        """No program is attached to a cgroup here."""
        return []

    def require_deny(self) -> None:
        """Raises ``HostError``: nothing is refused here."""
        raise HostError(f"--require deny: this host cannot refuse anything, audit only sees ({self._why})")

    def commit(self) -> None:
        """What is watched is watched."""

    def give_up(self) -> None:
        """Nothing is in the kernel but the watches, and those are taken away by whoever set them."""

    def release(self) -> None:
        """Nothing is held."""

    def unload(self) -> int:
        """Nothing is loaded."""
        return 0


def held_by_audit(why: str, failures: Mapping[str, str]) -> tuple[Hold, ...]:
    """What holds each group where no program is loaded (``why``); ``failures``: groups that audit does not see after all."""
    first = f"no program is loaded: {why}"

    def held(group: str) -> Hold:
        if group not in SEEN:
            return Hold(group, None, (first, "audit does not see it"))
        if group in failures:
            return Hold(group, None, (first, f"audit: {failures[group]}"))
        return Hold(group, Mechanism.AUDIT, (first,))

    return tuple(held(group) for group in dict.fromkeys((*GROUPS, *UNSEEN)))
