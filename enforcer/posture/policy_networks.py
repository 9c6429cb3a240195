"""Which networks a policy has a container on: the expectation behind the check of network assignments.

No constant says it. A container is expected on the networks that its rules name (``{network: N}``), wants a common network
with the containers that they name (``{container: X}``), and may be where others' rules come to it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from enforcer.core.model import Container, Facts, NetRule, NetTarget, Policy, ToCidr, ToContainer, ToNetwork
from enforcer.core.select import named

HOST, NONE = "host", "none"
"""Docker's own names: the host's network namespace, and no network at all."""


class Place(enum.Enum):
    """What the policy has to say about a container's being on a network."""

    EXPECTED = enum.auto()
    REACHED_ONLY = enum.auto()
    """Others' rules name the whole network, and none of the container's own does: they reach it there."""
    TOO_WIDE = enum.auto()
    """Others' rules name the whole network, while the container is granted by name, with ports: they reach it on all."""
    FOREIGN = enum.auto()
    """No rule has to do with the container's being there."""


@dataclass(frozen=True)
class Expected:
    """What the rules that name a container say about its networks."""

    rules: tuple[str, ...]
    networks: frozenset[str]
    outside: bool


class PolicyNetworks:
    """Meets the rules of a policy with where the containers of a host are."""

    def __init__(self, policy: Policy, facts: Facts) -> None:
        self._policy, self._facts = policy, facts
        self._names = {c.id: named(policy, c) for c in facts.containers.values()}
        self.internal = {n.name for n in facts.networks.values() if n.internal} | set(policy.internal)

    def rules(self, container: Container) -> tuple[NetRule, ...]:
        """The network rules that name a container."""
        return tuple(r for r in self._policy.net_rules if not self._names[container.id].isdisjoint(r.who))

    def expected(self, container: Container) -> Expected:
        """On which networks its rules want it, and whether they let it out of the internal ones."""
        rules = self.rules(container)
        targets = [t for rule in rules for t in rule.connect]
        return Expected(
            rules=tuple(rule.id for rule in rules),
            networks=frozenset(t.network for t in targets if isinstance(t, ToNetwork)),
            outside=any(isinstance(t, ToCidr) and not self._is_inside(t) for t in targets),
        )

    def place(self, container: Container, network: str) -> Place:
        """What is to be said about a container that a rule names being on a network that none of its rules names."""
        rules = self.rules(container)
        if network == HOST:
            return Place.FOREIGN
        if network in self._of_callees(container, rules):
            return Place.EXPECTED
        whole = any(isinstance(t, ToNetwork) and t.network == network for t in self._targets_of_others(rules))
        calls = any(isinstance(t, ToNetwork | ToContainer) for rule in rules for t in rule.connect)
        callers = self._callers(container)
        if whole and callers:
            return Place.TOO_WIDE
        if whole:
            return Place.REACHED_ONLY if calls else Place.EXPECTED
        if network in self.internal:
            fits = bool(callers) or not calls
        else:
            fits = self.expected(container).outside or any(network in networks_of(c) for c in callers)
        return Place.EXPECTED if fits else Place.FOREIGN

    def _targets_of_others(self, own: tuple[NetRule, ...]) -> Iterator[NetTarget]:
        return (t for rule in self._policy.net_rules if rule not in own for t in rule.connect)

    def _of_callees(self, container: Container, rules: tuple[NetRule, ...]) -> frozenset[str]:
        """The networks of the other containers that its rules name."""
        wanted = [t for rule in rules for t in rule.connect if isinstance(t, ToContainer)]
        others = (c for c in self._facts.containers.values() if c.id != container.id)
        return frozenset(n for c in others if any(self._means(t, c) for t in wanted) for n in networks_of(c))

    def _callers(self, container: Container) -> tuple[Container, ...]:
        """The containers whose rules name this one."""
        others = (c for c in self._facts.containers.values() if c.id != container.id)
        return tuple(
            c
            for c in others
            if any(
                isinstance(t, ToContainer) and self._means(t, container) for rule in self.rules(c) for t in rule.connect
            )
        )

    def _means(self, target: ToContainer, container: Container) -> bool:
        if target.container in self._policy.containers:
            return target.container in self._names[container.id]
        return target.container == container.name

    def _is_inside(self, target: ToCidr) -> bool:
        subnets = (s for n in self._facts.networks.values() if n.name in self.internal for s in n.subnets)
        return any(s.version == target.cidr.version and target.cidr.subnet_of(s) for s in subnets)  # type: ignore[arg-type]


def networks_of(container: Container) -> frozenset[str]:
    """The names of the networks that a container is on; Docker's ``none`` is none."""
    return frozenset(a.network for a in container.attachments) - {NONE}
