"""A policy met with a host: what numbering and compiling both ask of the two, found once and kept for the next host like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from enforcer.core.model import Container, Facts, Policy
from enforcer.core.objects import Protected, protect
from enforcer.core.reach import Standings, stand
from enforcer.core.select import named


@dataclass(frozen=True)
class Meeting:
    """``policy`` on the host of ``facts``. ``before``: another meeting, whose answers are taken over where nothing has changed."""

    policy: Policy
    facts: Facts
    before: Meeting | None = None

    @cached_property
    def names(self) -> Mapping[str, frozenset[str]]:
        """Container id → the names of the policy that stand for it."""
        before = self.before
        if before is None or before.policy != self.policy:
            return {i: named(self.policy, container) for i, container in self.facts.containers.items()}
        known, names = before.facts.containers, before.names
        return {
            i: names[i] if i in known and _alike(known[i], container) else named(self.policy, container)
            for i, container in self.facts.containers.items()
        }

    @cached_property
    def protected(self) -> Protected:
        """The data objects that the policy protects."""
        return protect(self.policy, self.facts)

    @cached_property
    def standings(self) -> Standings:
        """How the network policy sees each container."""
        return stand(self.policy, self.facts, self.names)

    def alone(self) -> Meeting:
        """The same without ``before``: so that not every meeting there ever was is kept."""
        object.__setattr__(self, "before", None)
        return self


def _alike(one: Container, other: Container) -> bool:
    """To a selector."""
    return (one.name, one.image, one.labels) == (other.name, other.image, other.labels)
