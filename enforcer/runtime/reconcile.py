"""The only writer of the kernel's maps and packet filter: facts and policy in, rows out, published by generation.

One thread calls it. What it has published can be read from any thread as one immutable ``Snapshot``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from enforcer.core.compile import compile as compile_image
from enforcer.core.ids import allocate
from enforcer.core.image import Image
from enforcer.core.meeting import Meeting
from enforcer.core.model import Container, Facts, Inode, Policy
from enforcer.core.plan import plan
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.dockerd import DockerEvent
from enforcer.edges.memory import uncollected
from enforcer.runtime.follow import Settled
from enforcer.runtime.guard import EgressGuard
from enforcer.runtime.orders import Orders
from enforcer.runtime.state import State, StateFile

log = logging.getLogger(__name__)

KEPT_GENERATIONS = 8
"""Records of older loads than this are shown with the running policy's rules: the ring never holds them that long."""

KEPT_CONTAINERS = 1024
"""Containers that are gone but whose records may still come."""


@dataclass(frozen=True)
class Snapshot:
    """What is in force: the policy, the host that it was compiled for, the rows, and the names of their numbers.

    ``epoch``: what the kernel calls the state of the rows that networks are judged by.
    """

    policy: Policy
    facts: Facts
    image: Image
    state: State
    gone: Mapping[str, Container] = field(default_factory=dict)
    epoch: int = 0

    def container(self, subject: int) -> Container | None:
        """The container with this subject id, as it is or, if it is gone, as it last was: its records come after it."""
        identity = self.state.ids.container_of(subject) or ""
        return self.facts.containers.get(identity) or self.gone.get(identity)


class Reconcile:
    """Keeps the maps equal to what policy and host ask for.

    ``state`` is what ``file`` held, and is kept there from now on; ``canary`` is the self-test's forbidden file; ``guard`` is
    the packet filter's part.
    """

    def __init__(
        self, maps: Maps, file: StateFile, state: State, *, canary: Inode | None, guard: EgressGuard | None = None
    ) -> None:
        self._maps, self._file, self._state, self._canary = maps, file, state, canary
        self._foreseen: dict[str, Container] = {}
        self._parted: dict[tuple[str, str], int] = {}  # container, network (Docker's ids; "": all) → when it was heard
        self._guard, self._orders = guard, Orders()
        self._recent: dict[int, Snapshot] = {}
        self._met: Meeting | None = None
        self._known: Image | None = None  # exactly what the maps hold; None: something else, and everything is written
        self.snapshot: Snapshot | None = None
        self.settled: Snapshot | None = None
        """The same while the maps hold exactly that; None while they are written. Each publication makes another one."""

    def load(self, policy: Policy, facts: Facts) -> Snapshot:
        """Put a policy in force, as a new generation. Raises EdgeError, HostError; then what was in force stays."""
        generation = max(self._state.generation, self._maps.config().generation) + 1
        snapshot = self._publish(policy, self._as_heard(facts), generation)
        log.info("policy in force", extra={"generation": generation, "policy": policy.hash[:12]})
        return snapshot

    def hear(self, events: Iterable[DockerEvent]) -> None:
        """What events of Docker's say by themselves is in force before anything is asked of the engine; all of it in one change."""
        if any([self._hears(event) for event in events]):
            self._republish(self.running().facts)

    def _hears(self, event: DockerEvent) -> bool:
        """Whether an event is news."""
        match event.kind, event.action:
            case "container", "create":
                return self._foresee(Container(event.id, event.name, event.image, event.labels, foreseen=True))
            case "container", "die" | "destroy":
                return self._part(event.id, "", event.time_ns)
            case "network", "disconnect":
                return self._part(event.container, event.id, event.time_ns)
            case _:
                return False

    def _foresee(self, container: Container) -> bool:
        """A container has been made and may run any moment: know it by name, image and labels, before it is looked at."""
        if container.id in self.running().facts.containers:
            return False
        self._foreseen[container.id] = container
        return True

    def _part(self, container: str, network: str, time_ns: int) -> bool:
        """A container has left a network (Docker's id; "": all) at that time: its addresses there are nobody's, before any look.

        The engine answers no question about it until its disk has what happened, and may have given an address to another by then.
        """
        self._parted[container, network] = time_ns
        facts = self.running().facts
        found = facts.containers.get(container)
        return found is not None and _parted(found, network, facts) != found

    def update(self, facts: Facts, settled: Settled | None = None) -> Snapshot:
        """Follow a look at the host. ``settled``: containers that it has looked at, gone ones too."""
        for identity, time_ns in (settled or {}).items():
            self._foreseen.pop(identity, None)
            self._parted = {k: at for k, at in self._parted.items() if k[0] != identity or at > time_ns}
        return self._republish(facts)

    def order(self, orders: Orders) -> None:
        """From now on an operator wants this blocked and quarantined, and no more; at once if a policy is in force.

        Raises as ``load``; what is ordered is then in force with the next change.
        """
        self._orders = orders
        if self.snapshot:
            self._republish(self.snapshot.facts)

    def at(self, generation: int) -> Snapshot | None:
        """What was in force in that generation, or what is now, if that was too long ago."""
        return self._recent.get(generation, self.snapshot)

    def running(self) -> Snapshot:
        """What is in force, after the first ``load``."""
        if self.snapshot is None:
            raise AssertionError("asked before the first policy was in force")
        return self.snapshot

    def _as_heard(self, facts: Facts) -> Facts:
        """The facts, and what has been heard since: a look that began before an event knows nothing of it.

        A foreseen container that is in a look has been seen, once and for all.
        """
        seen = {identity for identity, found in facts.containers.items() if not found.foreseen}
        for identity in self._foreseen.keys() & seen:
            del self._foreseen[identity]
        containers = {**self._foreseen, **facts.containers}
        for identity, network in self._parted:
            if identity in containers:
                containers[identity] = _parted(containers[identity], network, facts)
        return replace(facts, containers=containers) if self._foreseen or self._parted else facts

    def _republish(self, facts: Facts) -> Snapshot:
        running = self.running()
        return self._publish(running.policy, self._as_heard(facts), running.image.generation)

    def _publish(self, policy: Policy, facts: Facts, generation: int) -> Snapshot:
        facts = replace(facts, quarantined=frozenset(self._orders.quarantined))
        met = Meeting(policy, facts, self._met)
        with uncollected():
            state = self._remember(met, generation)
            image = compile_image(policy, facts, state.ids, generation, canary=self._canary, met=met)
            before, self._known = self._known, None  # what a failure between two operations leaves is not known
            self.settled = None
            self._maps.apply_all(plan(before, image))
            if before is None:
                self._maps.sweep(image)
        self._known, self._met = image, met.alone()
        for warning in set(image.warnings) - set(self.snapshot.image.warnings if self.snapshot else ()):
            log.warning(warning)
        self.snapshot = Snapshot(policy, facts, image, state, self._gone(facts), self._maps.config().epoch)
        self.settled = self.snapshot
        self._recent[generation] = self.snapshot
        self._recent.pop(generation - KEPT_GENERATIONS, None)
        if self._guard:
            self._guard.follow(policy, facts, self._orders.blocked)
        return self.snapshot

    def _gone(self, facts: Facts) -> dict[str, Container]:
        if self.snapshot is None:
            return {}
        known = {**self.snapshot.gone, **self.snapshot.facts.containers}
        gone = [(i, replace(c, pid=0, cgroup=0)) for i, c in known.items() if i not in facts.containers]
        return dict(gone[-KEPT_CONTAINERS:])

    def _remember(self, met: Meeting, generation: int) -> State:
        """Numbers and names go to disk before the kernel can use them in a record."""
        state = self._state.knowing(met.facts, allocate(self._state.ids, met.policy, met.facts, met))
        if generation != state.generation:
            state = replace(state, generation=generation)
        if state is not self._state:
            self._file.write(state)
            self._state = state
        return state


def _parted(container: Container, network: str, facts: Facts) -> Container:
    """It stays where it was, so that what is confined stays so, but has no address there."""
    left = {n.name for n in facts.networks.values() if network in ("", n.id)}
    places = (replace(a, addresses=()) if a.network in left else a for a in container.attachments)
    return replace(container, attachments=tuple(places))
