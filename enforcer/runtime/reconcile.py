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
from enforcer.core.model import Container, Facts, Inode, Policy
from enforcer.core.plan import plan
from enforcer.edges.bpf.maps import Maps
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
    """What is in force: the policy, the host that it was compiled for, the rows, and the names of their numbers."""

    policy: Policy
    facts: Facts
    image: Image
    state: State
    gone: Mapping[str, Container] = field(default_factory=dict)

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
        self._guard, self._orders = guard, Orders()
        self._recent: dict[int, Snapshot] = {}
        self._known: Image | None = None  # exactly what the maps hold; None: something else, and everything is written
        self.snapshot: Snapshot | None = None

    def load(self, policy: Policy, facts: Facts) -> Snapshot:
        """Put a policy in force, as a new generation. Raises EdgeError, HostError; then what was in force stays."""
        generation = max(self._state.generation, self._maps.config().generation) + 1
        snapshot = self._publish(policy, self._with_foreseen(facts), generation)
        log.info("policy in force", extra={"generation": generation, "policy": policy.hash[:12]})
        return snapshot

    def foresee(self, container: Container) -> Snapshot:
        """A container has been made and may run any moment: know it by name, image and labels, before it is looked at."""
        running = self.running()
        if container.id in running.facts.containers:
            return running
        self._foreseen[container.id] = container
        return self._publish(
            running.policy,
            replace(running.facts, containers={**running.facts.containers, **self._foreseen}),
            running.image.generation,
        )

    def update(self, facts: Facts, settled: Iterable[str] = ()) -> Snapshot:
        """Follow a look at the host. ``settled``: foreseen containers (ids) that it has looked at, gone ones too."""
        for identity in settled:
            self._foreseen.pop(identity, None)
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

    def _with_foreseen(self, facts: Facts) -> Facts:
        """The facts, and the containers that have not been looked at yet; those in ``facts`` have been, once and for all."""
        for identity in self._foreseen.keys() & facts.containers.keys():
            del self._foreseen[identity]
        return replace(facts, containers={**self._foreseen, **facts.containers}) if self._foreseen else facts

    def _republish(self, facts: Facts) -> Snapshot:
        running = self.running()
        return self._publish(running.policy, self._with_foreseen(facts), running.image.generation)

    def _publish(self, policy: Policy, facts: Facts, generation: int) -> Snapshot:
        facts = replace(facts, quarantined=frozenset(self._orders.quarantined))
        state = self._remember(policy, facts, generation)
        image = compile_image(policy, facts, state.ids, generation, canary=self._canary)
        before, self._known = self._known, None  # what a failure between two operations leaves is not known
        for op in plan(before, image):
            self._maps.apply(op)
        if before is None:
            self._maps.sweep(image)
        self._known = image
        for warning in set(image.warnings) - set(self.snapshot.image.warnings if self.snapshot else ()):
            log.warning(warning)
        self.snapshot = Snapshot(policy, facts, image, state, self._gone(facts))
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

    def _remember(self, policy: Policy, facts: Facts, generation: int) -> State:
        """Numbers and names go to disk before the kernel can use them in a record."""
        state = self._state.knowing(facts, allocate(self._state.ids, policy, facts))
        if generation != state.generation:
            state = replace(state, generation=generation)
        if state is not self._state:
            self._file.write(state)
            self._state = state
        return state
