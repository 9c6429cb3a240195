"""How the policy wants a container to be made: what its ``posture`` rules say, and for the rest what follows from its grants.

No constant says it. A container is to be on the networks that its network rules name, to have the volumes that its data rules
grant it by its own name, and to publish nothing unless it is on a network that is not internal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from enforcer.core.checks import Check
from enforcer.core.inspection import Inspection
from enforcer.core.model import Container, Facts, Kind, Policy
from enforcer.core.posture import NO_LIMITS, Limits, PostureRule
from enforcer.core.select import PLACEHOLDER, fill, is_plain, named
from enforcer.posture.policy_networks import PolicyNetworks

DATA = "data"
"""The purpose that the guide's naming convention has for what must not be lost."""


@dataclass(frozen=True)
class WantedVolume:
    """A volume that a container is to have mounted at ``destination`` ("" for anywhere), under ``name``."""

    name: str
    purpose: str
    destination: str
    read_only: bool

    def __str__(self) -> str:
        return f"{self.name} at {self.destination}" if self.destination else self.name


@dataclass(frozen=True)
class Wanted:
    """What is expected of one container. ``publish`` is None where nothing is said: then internal containers publish nothing."""

    rules: tuple[str, ...] = ()
    user: str = ""
    networks: frozenset[str] = frozenset()
    volumes: tuple[WantedVolume, ...] = ()
    limits: Limits = NO_LIMITS
    health: bool = True
    capabilities: frozenset[str] = frozenset()
    publish: frozenset[str] | None = None
    accept: frozenset[Check] = frozenset()
    internal: bool = False
    """Is it on internal networks only?"""


class Expectation:
    """Asked of one policy on one host. Where several posture rules name a container, the later one's word holds; lists add up."""

    def __init__(self, policy: Policy, facts: Facts) -> None:
        self._policy, self._facts = policy, facts
        self._networks = PolicyNetworks(policy, facts)

    def concerns(self, inspected: Inspection) -> bool:
        """Does the policy speak of it?"""
        container = self._facts.containers.get(inspected.id)
        return container is not None and bool(named(self._policy, container))

    def of(self, inspected: Inspection) -> Wanted:
        """How it is to be made."""
        container = self._facts.containers[inspected.id]
        names = named(self._policy, container)
        rules = [r for r in self._policy.posture if not names.isdisjoint(r.who)]
        networks = [r.networks for r in rules if r.networks is not None]
        publish = [r.publish for r in rules if r.publish is not None]
        health = [r.health for r in rules if r.health is not None]
        return Wanted(
            rules=tuple(r.id for r in rules),
            user=next((r.user for r in reversed(rules) if r.user), ""),
            networks=frozenset(networks[-1]) if networks else self._networks.expected(container).networks,
            volumes=volumes_wanted(self._policy, container, names),
            limits=_limits(rules),
            health=health[-1] if health else True,
            capabilities=frozenset(c for r in rules for c in r.capabilities),
            publish=frozenset(p for ports in publish for p in ports) if publish else None,
            accept=frozenset(c for r in rules for c in r.accept),
            internal=bool(inspected.networks) and set(inspected.networks) <= self._networks.internal,
        )


def volumes_wanted(policy: Policy, container: Container, names: frozenset[str]) -> tuple[WantedVolume, ...]:
    """The volumes that a container is to have, which goes by these names of the policy's ``containers``."""
    rules = [r for r in policy.posture if not names.isdisjoint(r.who)]
    return tuple(_said(rules, container) or _granted(policy, container, names))


def _said(rules: Iterable[PostureRule], container: Container) -> list[WantedVolume]:
    found = {v.purpose: v for r in rules for v in r.volumes}
    return [
        WantedVolume(f"{container.name}-{v.purpose}", v.purpose, v.destination, v.read_only) for v in found.values()
    ]


def _granted(policy: Policy, container: Container, names: frozenset[str]) -> Iterator[WantedVolume]:
    """The volumes that data rules grant it one by one. A pattern of many (``mcp-*-config``) is a permission, no expectation."""
    for rule in policy.data_rules:
        if names.isdisjoint(rule.who):
            continue
        for targets, read_only in ((rule.read_write, False), (rule.read_only, True)):
            for target in targets:
                if target.kind is Kind.VOLUME and is_plain(target.pattern.replace(PLACEHOLDER, "")):
                    name = fill(target.pattern, container.name)
                    yield WantedVolume(name, name.removeprefix(f"{container.name}-"), "", read_only)


def _limits(rules: Iterable[PostureRule]) -> Limits:
    found = Limits()
    for rule in rules:
        said = rule.limits
        found = Limits(said.memory or found.memory, said.cpus or found.cpus, said.pids or found.pids)
    return found
