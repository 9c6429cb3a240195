"""The egress guard: which packets of an internal network's bridge the host's packet filter stops, as a description to write.

A guarded network keeps what is on it: nothing that comes from its bridge leaves by another interface, and nothing reaches the
host itself but replies to what the host began and what a ``{host: true}`` rule opens for a container's addresses.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from enforcer.core.image import Range
from enforcer.core.model import Container, Facts, Mode, Network, Policy, ToHost
from enforcer.core.reach import HOST, Standings, stand

DROP = "drop"
"""How the mark of a rule that counts and drops begins."""


class Chain(enum.StrEnum):
    """Where the rules stand: what the host forwards, and what is for the host itself."""

    FORWARD = "forward"
    INPUT = "input"


class Pass(enum.Enum):
    """Packets that are let through to the host whatever the rules say.

    ``REPLIES`` belong to a connection that the host began. ``NEIGHBOURS`` are IPv6's neighbour solicitations and
    advertisements (RFC 4861): without them the host could not even send to a container.
    """

    REPLIES = "replies"
    NEIGHBOURS = "neighbours"


@dataclass(frozen=True, order=True)
class Opening:
    """What a rule of the policy opens: from a container's address to one of the host's, textual, of the same family."""

    source: str
    destination: str
    ports: Range


@dataclass(frozen=True)
class Rule:
    """One rule. ``passes`` says which packets from the bridge are let through; None: the rest is counted and dropped."""

    chain: Chain
    network: str
    bridge: str
    passes: Pass | Opening | None = None

    @property
    def mark(self) -> str:
        """Names the rule by all that it says: ``pass-`` or ``drop-`` and 16 hex digits. What has the same mark is the same."""
        return f"{'pass' if self.passes else DROP}-{hashlib.sha256(repr(self).encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Guard:
    """The whole description: network → its rules, the ones that let through first; and what cannot be guarded, and why."""

    networks: Mapping[str, tuple[Rule, ...]]
    unguarded: Mapping[str, str]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule."""
        return tuple(rule for rules in self.networks.values() for rule in rules)


def guard(policy: Policy, facts: Facts, blocked: Iterable[str], bridges: Mapping[str, str]) -> Guard:
    """What the host's packet filter has to hold.

    ``blocked`` are the networks (names) that an operator has shut; the policy's internal ones are guarded in enforce mode
    only. ``bridges``: Docker id of a network → the host's interface on it, "" where it has none.
    """
    wanted = {*blocked, *(policy.internal if policy.mode is Mode.ENFORCE else ())}
    here = [facts.networks[name] for name in sorted(wanted) if name in facts.networks]
    guarded = [network for network in here if bridges.get(network.id)]
    opens = any(isinstance(target, ToHost) for rule in policy.net_rules for target in rule.connect)
    standings = stand(policy, facts) if guarded and opens else Standings({}, ())
    return Guard(
        {n.name: tuple(_rules(n, bridges[n.id], facts.containers.values(), standings)) for n in guarded},
        {n.name: "it has no bridge on this host" for n in here if n not in guarded},
    )


def _rules(network: Network, bridge: str, containers: Iterable[Container], standings: Standings) -> Iterator[Rule]:
    yield Rule(Chain.INPUT, network.name, bridge, Pass.REPLIES)
    if any(subnet.version == 6 for subnet in network.subnets):
        yield Rule(Chain.INPUT, network.name, bridge, Pass.NEIGHBOURS)
    for opening in sorted(set(_openings(network, containers, standings))):
        yield Rule(Chain.INPUT, network.name, bridge, opening)
    yield Rule(Chain.INPUT, network.name, bridge)
    yield Rule(Chain.FORWARD, network.name, bridge)


def _openings(network: Network, containers: Iterable[Container], standings: Standings) -> Iterator[Opening]:
    for container in containers:
        standing = standings.of.get(container.id)
        for ports in dict(standing.reach.subjects).get(HOST, ()) if standing else ():
            for source, destination in _pairs(network, container):
                yield Opening(source, destination, ports)


def _pairs(network: Network, container: Container) -> Iterator[tuple[str, str]]:
    """A container's addresses on a network, each with the host's addresses there that it can speak to; link-local ones aside."""
    sources = [a for place in container.attachments if place.network == network.name for a in place.addresses]
    for source in sources:
        for gateway in network.gateways:
            here, there = ip_address(source), ip_address(gateway)
            if here.version == there.version and not there.is_link_local:
                yield source, gateway
