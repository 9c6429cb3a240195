"""The observer: watches the roots of protected objects by audit, and turns what containers do there into records.

It stops nothing. It stands where a host allows no BPF, and beside the tracepoint mechanism for the operations that return no
descriptor to judge (unlink, rename, chmod and the like). Everything after the ring is as with the other mechanisms.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import select
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.model import Hook, Inode
from enforcer.edges.audit import LOCKED, Audit, Records, runs
from enforcer.edges.audit_calls import ALL, I386, X86_64, call_of, numbers_of
from enforcer.edges.audit_records import Assembler, Observation, head_of
from enforcer.edges.audit_rules import Key, Rule
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import EdgeError, HostError
from enforcer.runtime.lineage import Lineage
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.sighting import Sightings

log = logging.getLogger(__name__)

TICK_S = 0.05
"""How long a new object may wait for its watch."""

BATCH = 4096
INCOMPLETE_NS = 2 * 10**9
"""The end of an event that has not come by then will not."""

RUNTIME = re.compile(rb"(^|/)runc$|^/?memfd:runc_cloned")
"""The program that prepares a container, on the host or half-way in: its parent says nothing of where it is."""

PROOF_S = 5.0
ACCOUNT_S = 1.0

Root = tuple[str, tuple[Inode, ...]]
"""The path to watch, and the inodes of the object: other ones under the same path need a new watch."""


def owner_of(pins: Path) -> str:
    """The name by which the rules of the agent with this directory of pins are known: 8 hex digits."""
    return hashlib.sha256(str(pins.absolute()).encode()).hexdigest()[:8]


class Observer:
    """Watches what ``snapshot`` protects, and reports ``hooks``. ``canary``: what the self-test may not touch, our own probe too.

    ``start`` first, then ``step`` again and again by one thread, then ``close``. ``maps`` are for that thread alone.
    """

    def __init__(  # noqa: PLR0913 -- each is a neighbour of its own
        self,
        owner: str,
        maps: Maps,
        snapshot: Callable[[], Snapshot | None],
        cgroups: Cgroups,
        *,
        canary: Path,
        hooks: frozenset[Hook] = ALL,
    ) -> None:
        self._owner, self._maps, self._snapshot, self._canary, self.hooks = owner, maps, snapshot, canary, hooks
        self._cgroups = cgroups
        self.sightings = Sightings(maps, snapshot, cgroups)
        self._events = Assembler()
        self._watched: dict[int, tuple[Root, list[Rule]]] = {}
        self._looked: Snapshot | str | None = "nothing yet"
        self._proven = False
        self._last = self._overruns = self._lost = 0
        self._accounted = 0.0
        self._late = False
        self._hidden = 0
        self.unwatched: Mapping[str, str] = {}
        """Path of a protected object → why it is not watched."""

    def start(self) -> None:
        """Switch auditing on, set the watches, and see that records come. Raises ``HostError``; nothing is left then."""
        with ExitStack() as failing:
            self._audit = failing.enter_context(Audit(self._owner))
            self._records = Records()
            failing.callback(self._records.close)
            failing.callback(self._audit.end)
            before = self._audit.begin()
            self._late, self._lost = not before.enabled, before.lost
            self._hidden = sum(rule.hides for rule in self._audit.rules())
            self._lineage = Lineage(self._cgroups)
            failing.callback(self._lineage.close)
            self.sync()
            self._prove()
            self._ending = failing.pop_all()

    def close(self) -> None:
        """Take every watch away and leave the kernel's settings as they were."""
        self._ending.close()

    def shortcomings(self) -> dict[str, str]:
        """What is not seen here, and why."""
        found = {f"what is done in {path} is not seen": why for path, why in self.unwatched.items()}
        if self._late:
            found["programs that ran before this agent are not seen, unless they start anew"] = (
                "auditing was off when they started: boot with audit=1"  # kernel/auditsc.c, audit_alloc
            )
        if self._hidden:
            found["what other audit rules keep out of the records is not seen"] = f"{self._hidden} rules say `never`"
        if self._lineage.missing:
            found["short-lived processes may not be placed"] = self._lineage.missing
        return found

    def step(self, seconds: float = TICK_S) -> None:
        """One round: wait so long for something to happen, take it in, follow what is protected now."""
        streams = [s for s in (self._lineage.events, self._records) if s]
        ready = select.select(streams, [], [], seconds)[0]
        self._lineage.follow()
        if self._records in ready:
            self._read()
        for seen in self._events.settle(time.time_ns() - INCOMPLETE_NS):
            self._take(seen)
        if time.monotonic() - self._accounted > ACCOUNT_S:
            self._account()
        self.sync()

    def _read(self) -> None:
        for kind, text in self._records.read(BATCH):
            if head := head_of(text):
                self._count_gap(head[1])
            for seen in self._events.add(kind, text):
                self._take(seen)

    def _take(self, seen: Observation) -> None:
        call = call_of(seen.arch, seen.syscall)
        if call is None:
            return
        key = next((k for k in map(Key.of, seen.keys) if k and k.owner == self._owner), None)
        if key and key.number == Reserved.CANARY and seen.pid == os.getpid():
            self._proven = True
        if call.hook in self.hooks:
            self._lineage.follow()  # whoever it was may have been born since the round began
            place = self._lineage.place(seen.pid)
            parent = None if place or RUNTIME.search(seen.exe) else self._lineage.heir(seen.pid, seen.parent)
            self.sightings.take(call, seen, key.number if key else 0, (place, parent))

    def _prove(self) -> None:
        """Touch what is watched and wait to be told: only the host's own network namespace is."""
        end = time.monotonic() + PROOF_S
        os.utime(self._canary)
        while not self._proven:
            if time.monotonic() > end:
                raise HostError(
                    "audit tells of nothing here: the agent must run in the host's own network namespace, and no rule "
                    "of others (`auditctl -l`) may come first with `never`"
                )
            self.step()

    def sync(self) -> None:
        """Watch what is protected now, and nothing else."""
        snapshot = self._snapshot()
        if snapshot is self._looked:
            return
        self._looked = snapshot
        wanted = self._wanted(snapshot)
        for number in [n for n, (root, _) in self._watched.items() if wanted.get(n) != root]:
            self._audit.remove(self._watched.pop(number)[1])
        unwatched = {}
        for number, root in wanted.items():
            if number not in self._watched:
                try:
                    self._watched[number] = root, self._watch(number, root[0])
                except EdgeError as e:
                    unwatched[root[0]] = str(e)
        for path in unwatched.keys() - self.unwatched.keys():
            log.error("nothing is seen of what is done there: %s: %s", path, unwatched[path])
        self.unwatched = unwatched

    def _watch(self, number: int, path: str) -> list[Rule]:
        key, directory = self._audit.key(number), os.path.isdir(path)
        rules = [Rule(key, path, directory, arch, numbers_of(self.hooks, arch)) for arch in (X86_64, I386)]
        self._audit.add(rules)
        return rules

    def _wanted(self, snapshot: Snapshot | None) -> dict[int, Root]:
        """What to watch, what lies deeper first: of two rules that match, the one that came first answers."""
        found: dict[int, Root] = {int(Reserved.CANARY): (str(self._canary), ())}
        if snapshot:
            numbers = {o.id for o in snapshot.image.objects.values()}
            named = ((number, snapshot.state.ids.object_of(number)) for number in numbers)
            known = ((number, snapshot.facts.objects.get(identity)) for number, identity in named if identity)
            found |= {number: (data.path, data.inodes) for number, data in known if data}
        return dict(sorted(found.items(), key=lambda item: (-item[1][0].count("/"), item[0])))

    def _count_gap(self, serial: int) -> None:
        """Serials that are missing after the socket was full are events that nobody has read."""
        if self._records.overruns != self._overruns:
            self._overruns = self._records.overruns
            self._lose(max(1, serial - self._last - 1))
        self._last = max(serial, self._last)

    def _account(self) -> None:
        """What the kernel itself had to drop since the last time: it tells how many records, not whose."""
        self._accounted = time.monotonic()
        lost = self._audit.status().lost
        broken, self._events.broken = self._events.broken, 0
        if n := max(0, lost - self._lost) + broken:
            self._lose(n)
        self._lost = lost

    def _lose(self, n: int) -> None:
        log.error("audit has lost %d records: what they told of is neither counted nor logged", n)
        self._maps.add_loss(int(Reserved.HOST), abi.LOST_UNJUDGED, n)


def forget(pins: Path) -> int:
    """Remove the watches that a killed agent with this directory of pins has left; how many rules went.

    Raises ``HostError`` while it runs. Where there is no audit, or none for us, there is nothing to remove.
    """
    try:
        audit = Audit(owner_of(pins))
        audit.rules()
    except HostError:
        return 0
    with audit:
        return audit.clear()


def left_over() -> str:
    """What audit is doing now, and how many rules agents that were killed have left, in words. Raises ``HostError``."""
    with Audit("") as audit:
        status, rules = audit.status(), audit.rules()
    stale = sum(1 for rule in rules if rule.key and not runs(rule.key.pid))
    words = "locked" if status.enabled == LOCKED else "on" if status.enabled else "off"
    said = f"{words}, {len(rules)} rules"
    return (
        f"{said}, {stale} of them left by an agent that was killed: `enforcer unload` removes them" if stale else said
    )
