"""Where each container may connect, in names: the network policy met with the facts, before it becomes numbers.

A container is *governed* when a network rule names it or when all its networks are internal; it is *confined* in the
second case, and may then reach those networks only, whatever a rule says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import chain
from operator import or_

from enforcer.core.address import unmapped
from enforcer.core.image import MAX_RANGES, Range
from enforcer.core.model import (
    Container,
    Facts,
    Mode,
    NetRule,
    NetTarget,
    Policy,
    Prefix,
    Sockets,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
)
from enforcer.core.names import Link, Scope
from enforcer.core.ports import merge, ranges_of
from enforcer.core.prefixes import CidrGrant, slot_of
from enforcer.core.protocols import ICMP, ICMPV6
from enforcer.core.select import named

HOST = ""
"""Stands for the host where a container id stands in ``Reach.subjects``."""


@dataclass(frozen=True)
class Reach:
    """The grants of a profile: by Docker network id, by container id (or ``HOST``), by CIDR. All sorted and merged."""

    networks: tuple[tuple[str, tuple[Range, ...]], ...] = ()
    subjects: tuple[tuple[str, tuple[Range, ...]], ...] = ()
    cidrs: tuple[CidrGrant, ...] = ()

    @cached_property
    def pings(self) -> bool:
        """Whether ICMP is granted to anything."""
        grants = chain((r for _, r in self.networks), (r for _, r in self.subjects), (g.ranges for g in self.cidrs))
        return any(found.protocol in (0, ICMP, ICMPV6) for ranges in grants for found in ranges)

    @cached_property
    def content(self) -> str:
        """SHA-256 (hex) of the grants: containers with the same grants share a profile, and its number."""
        cidrs = [(slot_of(g.cidr), [slot_of(e) for e in g.excluded], g.ranges) for g in self.cidrs]
        return hashlib.sha256(repr((self.networks, self.subjects, cidrs)).encode()).hexdigest()


@dataclass(frozen=True)
class Standing:
    """How the network policy sees one container. ``home``: Docker id of the network it would leave, or empty.

    ``sockets``: what it may make; raw ones for ICMP (what ping needs) where a grant covers ICMP, other kinds if a rule says so.
    ``scope``: what it may ask Docker's resolver for, None if anything: names on the networks that it is confined to.
    """

    governed: bool
    mode: Mode
    rules: tuple[str, ...] = ()
    reach: Reach = field(default_factory=Reach)
    home: str = ""
    sockets: Sockets = Sockets.NONE
    scope: Scope | None = None


@dataclass(frozen=True)
class Standings:
    """The standing of every container by its id, and what the policy grants in vain."""

    of: Mapping[str, Standing]
    warnings: tuple[str, ...]


def stand(policy: Policy, facts: Facts, names: Mapping[str, frozenset[str]] | None = None) -> Standings:
    """Meet the network policy with the facts. ``names``: container id → the policy's names that stand for it, if it is known."""
    if names is None:
        names = {container.id: named(policy, container) for container in facts.containers.values()}
    resolver = _Resolver(policy, facts, names)
    of = {container.id: resolver.standing(container) for container in facts.containers.values()}
    return Standings(of, tuple(resolver.warnings))


def speaks(policy: Policy) -> bool:
    """Whether a policy is about the network at all: then whoever is not known yet may go nowhere."""
    return bool(policy.net_rules or policy.internal)


def strictest(modes: Iterable[Mode], *, default: Mode) -> Mode:
    """The mode of several rules together: enforce if one enforces; ``default`` if there is none."""
    return max(modes, default=default)


class _Grants:
    """Grants while they are being collected."""

    def __init__(self) -> None:
        self.networks: dict[str, set[Range]] = {}
        self.subjects: dict[str, set[Range]] = {}
        self.cidrs: dict[tuple[Prefix, tuple[Prefix, ...]], set[Range]] = {}

    def reach(self) -> Reach:
        cidrs = [CidrGrant(cidr, out, merge(frozenset(r))) for (cidr, out), r in self.cidrs.items()]
        return Reach(_merged(self.networks), _merged(self.subjects), tuple(sorted(cidrs, key=_cidr_order)))


def _merged(grants: Mapping[str, set[Range]]) -> tuple[tuple[str, tuple[Range, ...]], ...]:
    return tuple((key, merge(frozenset(ranges))) for key, ranges in sorted(grants.items()))


def _cidr_order(grant: CidrGrant) -> tuple[object, ...]:
    return (slot_of(grant.cidr), tuple(slot_of(e) for e in grant.excluded))


class _Resolver:
    def __init__(self, policy: Policy, facts: Facts, names: Mapping[str, frozenset[str]]) -> None:
        self._policy = policy
        self._facts = facts
        self._names = names
        self._internal = {n.name for n in facts.networks.values() if n.internal} | set(policy.internal)
        self._reaches: dict[tuple[tuple[str, ...], frozenset[str] | None], Reach] = {}
        self._selected: dict[str, tuple[tuple[str, ...], str]] = {}
        self._standings: dict[tuple[object, ...], Standing] = {}
        # A dict for its order: each warning once.
        self.warnings: dict[str, None] = {}
        for name in sorted(set(policy.internal) - set(facts.networks)):
            self._warn(f"network.internal: there is no network {name!r} on this host")
        for rule in policy.net_rules:  # once for itself, since a rule that names nobody yet is to be warned about too
            for target in rule.connect:
                self._grant(_Grants(), rule.id, target, None)

    def _warn(self, line: str) -> None:
        self.warnings[line] = None

    def standing(self, container: Container) -> Standing:
        """That of containers with the same names of the policy and the same places is one and the same."""
        places = tuple((a.network, a.links) for a in container.attachments)
        key = (self._names[container.id], places, container.foreseen)
        if key not in self._standings:
            self._standings[key] = self._stand(container)
        return self._standings[key]

    def _stand(self, container: Container) -> Standing:
        rules = [r for r in self._policy.net_rules if not self._names[container.id].isdisjoint(r.who)]
        own = frozenset(a.network for a in container.attachments)
        confined = bool(own) and own <= self._internal
        modes = [self._policy.mode if rule.mode is None else rule.mode for rule in rules]
        # whether it is confined is not known yet, and what is granted depends on that
        held = container.foreseen and speaks(self._policy)
        reach = Reach() if held else self._reach(rules, own if confined else None)
        asked = reduce(or_, (rule.sockets for rule in rules), Sockets.NONE)
        return Standing(
            governed=bool(rules) or confined or held,
            mode=strictest(modes, default=self._policy.mode),
            rules=tuple(rule.id for rule in rules),
            reach=reach,
            home=self._home(own),
            sockets=asked | (Sockets.ICMP if reach.pings else Sockets.NONE),
            scope=self._scope(container) if confined or held else None,
        )

    def _scope(self, container: Container) -> Scope:
        known = {
            a.network: self._facts.networks[a.network].id
            for a in container.attachments
            if a.network in self._facts.networks
        }
        links = {Link(known[a.network], *link) for a in container.attachments if a.network in known for link in a.links}
        order = sorted(links, key=lambda n: (n.network, n.container, n.alias))
        return Scope(tuple(known[name] for name in sorted(known)), tuple(order))

    def _home(self, own: frozenset[str]) -> str:
        known = sorted(own & set(self._facts.networks))
        internal = [name for name in known if name in self._internal]
        return next((self._facts.networks[name].id for name in (*internal, *known)), "")

    def _reach(self, rules: list[NetRule], confined: frozenset[str] | None) -> Reach:
        key = (tuple(rule.id for rule in rules), confined)
        if key not in self._reaches:
            grants = _Grants()
            for rule in rules or _unnamed_rules(confined):
                for target in rule.connect:
                    self._grant(grants, rule.id, target, confined)
            self._reaches[key] = grants.reach()
        return self._reaches[key]

    def _grant(self, grants: _Grants, rule: str, target: NetTarget, confined: frozenset[str] | None) -> None:
        ranges = ranges_of(target.ports)
        if len(ranges) > MAX_RANGES:
            self._warn(
                f"{rule}: {len(ranges)} port ranges in one grant: those after the {MAX_RANGES}th are not granted"
            )
        match target:
            case ToNetwork():
                for network in self._networks(rule, target, confined):
                    grants.networks.setdefault(network, set()).update(ranges)
            case ToContainer():
                for subject in self._containers(rule, target, confined):
                    grants.subjects.setdefault(subject, set()).update(ranges)
            case ToHost():
                grants.subjects.setdefault(HOST, set()).update(ranges)
            case ToCidr():
                excluded = tuple(sorted({unmapped(e) for e in target.excluded}, key=slot_of))
                for cidr in self._cidrs(rule, unmapped(target.cidr), confined):
                    grants.cidrs.setdefault((cidr, excluded), set()).update(ranges)

    def _networks(self, rule: str, target: ToNetwork, confined: frozenset[str] | None) -> tuple[str, ...]:
        network = self._facts.networks.get(target.network)
        if network is None:
            self._warn(f"{rule}: there is no network {target.network!r} on this host: no grant")
            return ()
        if confined is not None and target.network not in confined:
            self._warn(f"{rule}: network {target.network!r} {_not_to(confined)}")
            return ()
        return (network.id,)

    def _containers(self, rule: str, target: ToContainer, confined: frozenset[str] | None) -> tuple[str, ...]:
        if target.container not in self._selected:
            self._selected[target.container] = self._select(target.container)
        found, complaint = self._selected[target.container]
        if complaint:
            self._warn(f"{rule}: {complaint}")
        near = tuple(c for c in found if confined is None or confined & self._attached(c))
        if confined is not None and len(near) < len(found):
            self._warn(f"{rule}: container {target.container!r} {_not_to(confined)}")
        return near

    def _attached(self, container_id: str) -> frozenset[str]:
        return frozenset(a.network for a in self._facts.containers[container_id].attachments)

    def _select(self, name: str) -> tuple[tuple[str, ...], str]:
        """The containers that a name means, and what is odd about it (empty: nothing)."""
        exact = tuple(c.id for c in self._facts.containers.values() if c.name == name)
        if name not in self._policy.containers:
            return exact, "" if exact else f"there is no container {name!r} on this host: no grant"
        found = tuple(c.id for c in self._facts.containers.values() if name in self._names[c.id])
        if not set(exact) <= set(found):
            return found, f"{name!r} means what containers.{name} selects, and the container {name!r} is not among it"
        return found, "" if found else f"containers.{name} selects no container on this host: no grant"

    def _cidrs(self, rule: str, cidr: Prefix, confined: frozenset[str] | None) -> tuple[Prefix, ...]:
        if confined is None:
            return (cidr,)
        networks = [self._facts.networks[name] for name in sorted(confined) if name in self._facts.networks]
        cut = [_common(cidr, unmapped(subnet)) for network in networks for subnet in network.subnets]
        found = tuple(prefix for prefix in cut if prefix is not None)
        if found != (cidr,):
            self._warn(f"{rule}: cidr {cidr} beyond their own subnets {_not_to(confined)}")
        return found


def _unnamed_rules(confined: frozenset[str] | None) -> tuple[NetRule, ...]:
    """What a container on internal networks only may do when no rule names it: reach the containers there."""
    return (NetRule(id="network.internal", who=(), connect=tuple(ToNetwork(n) for n in sorted(confined or ()))),)


def _not_to(confined: frozenset[str]) -> str:
    return f"is not granted to containers that are on internal networks only ({', '.join(sorted(confined))})"


def _common(one: Prefix, other: Prefix) -> Prefix | None:
    """Prefixes are nested or disjoint, so what they have in common is the longer one or nothing."""
    if one.version != other.version:
        return None
    longer, wider = (one, other) if one.prefixlen >= other.prefixlen else (other, one)
    return longer if longer.network_address in wider else None
