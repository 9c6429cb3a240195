"""The network half of ``core.compile``: standings become numbers, grants become rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from enforcer.core.address import packed, unmapped
from enforcer.core.ids import Ids, Reserved
from enforcer.core.image import (
    CIDR_KEY_BITS,
    MAX_RANGES,
    NET,
    CidrKey,
    Endpoint,
    EndpointKey,
    MemberKey,
    NameKey,
    NetKey,
    NetRowKey,
    NetSubject,
    Ports,
    Range,
    ReasonKey,
    Regime,
    SubnetKey,
    Table,
    Target,
    subnet_key,
)
from enforcer.core.meeting import Meeting
from enforcer.core.model import Facts, Mode, Policy
from enforcer.core.names import names_of, names_on
from enforcer.core.ports import fit
from enforcer.core.prefixes import spread
from enforcer.core.reach import HOST, Reach, Standings, speaks

QUARANTINE = "quarantine"
"""Stands where the id of a rule stands: not the policy but an operator has cut the container off."""

FORESEEN = "foreseen"
"""Stands where the ids of rules stand: whatever they grant, the container has not been looked at yet."""


@dataclass(frozen=True)
class NetPart:
    """What the network adds to an image."""

    tables: Mapping[Table, Mapping[Any, Any]]
    reasons: Mapping[ReasonKey, tuple[str, ...]]
    warnings: tuple[str, ...]


def compile_net(met: Meeting, ids: Ids, generation: int) -> NetPart:
    """The network tables of a policy on a host."""
    policy, facts, standings = met.policy, met.facts, met.standings
    grants = _GrantRows(ids, generation)
    for content, reach in {s.reach.content: s.reach for s in standings.of.values() if s.governed}.items():
        grants.add(ids.profile(content), reach)
    places = _Places(facts, ids, generation)
    return NetPart(
        {
            Table.NET_SUBJECTS: _net_subjects(policy, facts, standings, ids, generation),
            Table.NET_ROWS: grants.rows,
            Table.CIDRS: grants.cidrs,
            Table.ENDPOINTS: places.endpoints,
            Table.SUBNETS: places.subnets,
            Table.MEMBERS: _members(facts, ids, generation),
            Table.NAMES: _names(facts, standings, ids, generation),
        },
        _reasons(policy, facts, standings, ids),
        (*standings.warnings, *grants.warnings, *places.warnings),
    )


def _reasons(policy: Policy, facts: Facts, standings: Standings, ids: Ids) -> dict[ReasonKey, tuple[str, ...]]:
    foreseen = {c.id for c in facts.containers.values() if c.foreseen} if speaks(policy) else set()
    instead = {**dict.fromkeys(foreseen, (FORESEEN,)), **dict.fromkeys(facts.quarantined, (QUARANTINE,))}
    rules = {c: instead.get(c, s.rules) for c, s in standings.of.items()}
    return {(ids.subject(container), NET): found for container, found in rules.items() if found}


def _net_subjects(
    policy: Policy, facts: Facts, standings: Standings, ids: Ids, generation: int
) -> dict[NetKey, NetSubject]:
    # a container that the agent has not heard of: where the policy speaks of the network, it may go nowhere yet
    strangers = int(Regime.GOVERNED if speaks(policy) else Regime.FREE)
    rows = {
        NetKey(generation, Reserved.UNNAMED): NetSubject(0, 0, strangers, int(policy.mode)),
        NetKey(generation, Reserved.CANARY): NetSubject(0, 0, int(Regime.GOVERNED), int(Mode.ENFORCE)),
    }
    for container, standing in standings.of.items():
        profile = ids.profile(standing.reach.content) if standing.governed else 0
        home = ids.network(standing.home) if standing.home else 0
        regime = Regime.QUARANTINED if container in facts.quarantined else Regime(standing.governed)
        scope = ids.profile(standing.scope.content) if standing.scope else 0
        value = NetSubject(profile, home, int(regime), int(standing.mode), int(standing.sockets), scope)
        rows[NetKey(generation, ids.subject(container))] = value
    return rows


def _names(facts: Facts, standings: Standings, ids: Ids, generation: int) -> dict[NameKey, int]:
    scopes = {s.scope for s in standings.of.values() if s.scope}
    on = names_on(facts) if scopes else {}
    return {
        NameKey(generation, ids.profile(scope.content), name): int(kind)
        for scope in scopes
        for name, kind in names_of(scope, facts, on).items()
    }


def _members(facts: Facts, ids: Ids, generation: int) -> dict[MemberKey, int]:
    return {
        MemberKey(generation, ids.subject(c.id), ids.network(facts.networks[a.network].id)): 1
        for c in facts.containers.values()
        for a in c.attachments
        if a.network in facts.networks
    }


class _GrantRows:
    """Collects NET_ROWS and CIDRS, profile by profile."""

    def __init__(self, ids: Ids, generation: int) -> None:
        self._ids = ids
        self._generation = generation
        self.rows: dict[NetRowKey, Ports] = {}
        self.cidrs: dict[CidrKey, Ports] = {}
        self.warnings: list[str] = []

    def add(self, profile: int, reach: Reach) -> None:
        """The rows of one profile."""
        for network, ranges in reach.networks:
            key = NetRowKey(self._generation, profile, Target.TO_NETWORK, self._ids.network(network))
            self.rows[key] = self._fit(ranges, f"network {network}")
        for container, ranges in reach.subjects:
            subject = int(Reserved.HOST) if container == HOST else self._ids.subject(container)
            key = NetRowKey(self._generation, profile, Target.TO_SUBJECT, subject)
            self.rows[key] = self._fit(ranges, f"container {container}" if container else "the host")
        for slot, ranges in spread(reach.cidrs).items():
            address = slot.start.to_bytes(16)
            cidr = CidrKey(CIDR_KEY_BITS + slot.bits, self._generation, profile, address)
            self.cidrs[cidr] = self._fit(ranges, "a cidr")

    def _fit(self, ranges: tuple[Range, ...], what: str) -> Ports:
        if len(ranges) > MAX_RANGES:
            surplus = len(ranges) - MAX_RANGES
            self.warnings.append(
                f"network.rules: {what} is granted {len(ranges)} port ranges, the kernel holds {MAX_RANGES}: "
                f"the last {surplus} are not granted"
            )
        return fit(ranges)


class _Places:
    """Whose is an address, and on which network does it lie? The first to claim an address keeps it: see the order."""

    def __init__(self, facts: Facts, ids: Ids, generation: int) -> None:
        self._generation = generation
        self.endpoints: dict[EndpointKey, Endpoint] = {}
        self.subnets: dict[SubnetKey, int] = {}
        self.warnings: list[str] = []
        for holder, address, endpoint in _claims(facts, ids):
            self._claim(holder, address, endpoint)
        for network in sorted(facts.networks.values(), key=lambda n: n.name):
            number = ids.network(network.id)
            for subnet in network.subnets:
                if self.subnets.setdefault(subnet_key(generation, unmapped(subnet)), number) != number:
                    self.warnings.append(f"network {network.name!r}: another network has the subnet {subnet} too")

    def _claim(self, holder: str, address: str, endpoint: Endpoint) -> None:
        key = EndpointKey(packed(address), self._generation)
        if self.endpoints.setdefault(key, endpoint).subject != endpoint.subject:
            self.warnings.append(f"{holder}: the address {address} belongs to another already: not granted by name")


def _claims(facts: Facts, ids: Ids) -> Iterator[tuple[str, str, Endpoint]]:
    """The host's addresses first, then those of running containers, then the rest: who runs is who answers."""
    for network in sorted(facts.networks.values(), key=lambda n: n.name):
        for gateway in network.gateways:
            yield f"network {network.name!r}", gateway, Endpoint(int(Reserved.HOST), ids.network(network.id))
    for container in sorted(facts.containers.values(), key=lambda c: (c.pid == 0, c.name)):
        for attachment in container.attachments:
            found = facts.networks.get(attachment.network)
            number = ids.network(found.id) if found else 0
            for address in attachment.addresses:
                yield f"container {container.name!r}", address, Endpoint(ids.subject(container.id), number)
