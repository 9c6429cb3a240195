"""A policy proposed from a record: no more than was seen, said as a person would say it. Pure, and the same for the same record.

Names are said by ``{name}`` and by globs where at least ``FEW`` containers did the same; what was only read is granted read-only;
whoever reached ``FEW`` containers of a network by the same ports is granted the network; addresses outside are joined to the
prefixes that they fill, and never to wider ones. Where such a pattern would reach what was refused, it is said exactly instead;
what the record both allowed and refused is granted, and said to be (``core.second_look``).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import TypeVar

from enforcer.core.address import unmapped
from enforcer.core.enums import Access, Kind
from enforcer.core.event import NetAttempt
from enforcer.core.groups import grouped
from enforcer.core.model import (
    DataTarget,
    Mode,
    NetTarget,
    ObjectId,
    Policy,
    PortRange,
    Prefix,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
)
from enforcer.core.proposal import DataGrant, Group, LearntData, LearntNet, Left, NetGrant, Proposal
from enforcer.core.protocols import ICMP, ICMPV6
from enforcer.core.record import Deeds, Destination, Record, Seen, Service
from enforcer.core.second_look import granted, told
from enforcer.core.select import PLACEHOLDER, glob_match

FEW = 3
"""So many containers that are alike are a pattern."""

MOST_RANGES = 15
"""Port ranges of one destination, as the parser has it; ``icmp`` takes two."""

WIDER = "more ports than were seen, since those were too many"
FEWER = "NOT ALL ports that were seen: a grant holds no more ranges, and others between them were refused"

_CHANGES = Access.WRITE | Access.CONNECT
_Data = frozenset[tuple[DataTarget, bool]]
_Reach = frozenset[tuple[NetTarget, str]]
_Key = TypeVar("_Key")


@dataclass
class _Wary:
    """What a pattern of one container must not reach: attempts that were refused, or ``everything``."""

    everything: bool
    refused: set[NetAttempt] = field(default_factory=set)

    def learn(self, attempt: NetAttempt) -> bool:
        """One more. False if it was known."""
        new = attempt not in self.refused
        self.refused.add(attempt)
        return new

    def of(self, target: NetTarget) -> bool:
        """Whether a grant of ``target`` has to be said exactly."""
        return self.everything or any(_concerns(to, target) for to in self.refused)


def _concerns(to: NetAttempt, target: NetTarget) -> bool:
    match target:
        case ToNetwork(network):
            return to.network == network and not to.external
        case ToContainer(peer):
            return to.peer == peer
        case ToHost():
            return to.host
        case ToCidr(cidr):
            return bool(to.address) and _within(unmapped(ip_network(to.address)), cidr)


def propose(record: Record, *, mode: Mode = Mode.MONITOR, base: Policy | None = None) -> Proposal:
    """The policy. What ``base`` protects and calls internal stays so; its rules are not taken over."""
    wary = {name: _Wary(name in record.crowded) for name in record.deeds}
    while True:  # each round says more exactly; there are only so many refusals to be wary of
        found = _proposal(record, wary, mode, base)
        despite = granted(found, record.refused.values())
        events = [refusal.event for refusal, _ in despite if refusal.event.who.name in wary]
        if not any([wary[e.who.name].learn(e.attempt) for e in events if isinstance(e.attempt, NetAttempt)]):
            return told(found, despite, record.left)


def _proposal(record: Record, wary: Mapping[str, _Wary], mode: Mode, base: Policy | None) -> Proposal:
    data = {name: _data(name, deeds) for name, deeds in record.deeds.items()}
    net = {name: _net(deeds, wary[name]) for name, deeds in record.deeds.items()}
    peers = {to.peer for deeds in record.deeds.values() for to, _ in deeds.net if to.peer}
    profiles = {name: (frozenset(data[name]), frozenset(net[name])) for name in record.deeds}
    groups = grouped(profiles, taken=peers, least=FEW)
    return Proposal(
        mode=mode,
        groups=groups,
        protected=_protected(record.objects, groups, base),
        data=_data_rules(groups, data),
        internal=tuple(dict.fromkeys((*(base.internal if base else ()), *sorted(record.networks)))),
        net=_net_rules(groups, net) if record.connected else (),
        left=_listed(record.left),
        unjudged=_listed(record.unjudged),
    )


def _listed(found: Mapping[tuple[str, str], Seen]) -> tuple[Left, ...]:
    return tuple(Left(what, why, found[what, why].evidence) for what, why in sorted(found))


def _data(name: str, deeds: Deeds) -> dict[tuple[DataTarget, bool], Seen]:
    """What a container is to be granted. Its own layer it has anyway."""
    own = ObjectId(Kind.LAYER, name)
    found = {(_pattern(name, o), bool(seen.asked & _CHANGES)): seen for o, seen in deeds.data.items() if o != own}
    return found


def _pattern(name: str, target: ObjectId) -> DataTarget:
    """The object, said by the container's name where that stands in it as a word."""
    if target.kind is Kind.LAYER:
        return DataTarget(target.kind, target.name)
    word = rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"
    return DataTarget(target.kind, re.sub(word, PLACEHOLDER.replace("\\", r"\\"), target.name))


def _protected(objects: Iterable[ObjectId], groups: Iterable[Group], base: Policy | None) -> tuple[DataTarget, ...]:
    """What ``base`` protects, and what else was seen: all of a group's by one glob."""
    found = dict.fromkeys(base.protected if base else ())
    left = sorted(o for o in objects if not any(_covers(target, o) for target in found))
    for group in groups:
        for member in group.members if group.name != group.key else ():
            for o in left:
                pattern = PLACEHOLDER if o == ObjectId(Kind.LAYER, member) else _pattern(member, o).pattern
                if PLACEHOLDER in pattern and o.kind is not Kind.PATH:
                    found.setdefault(DataTarget(o.kind, pattern.replace(PLACEHOLDER, group.name)))
    found.update(dict.fromkeys(DataTarget(o.kind, o.name) for o in left if not any(_covers(t, o) for t in found)))
    return tuple(found)


def _covers(target: DataTarget, o: ObjectId) -> bool:
    return target.kind is o.kind and glob_match(target.pattern, o.name)


def _data_rules(
    groups: Iterable[Group], data: Mapping[str, Mapping[tuple[DataTarget, bool], Seen]]
) -> tuple[LearntData, ...]:
    keys: dict[_Data, list[Group]] = defaultdict(list)
    for group in groups:
        if found := frozenset(data[group.members[0]]):
            keys[found].append(group)
    return tuple(
        LearntData(
            tuple(g.key for g in who),
            tuple(
                DataGrant(target, writes, _all(who, data, (target, writes)).evidence)
                for target, writes in sorted(grants, key=_order)
            ),
        )
        for grants, who in keys.items()
    )


def _order(grant: tuple[DataTarget, bool]) -> tuple[object, ...]:
    return not grant[1], grant[0].kind, grant[0].pattern


def _all(who: Iterable[Group], of: Mapping[str, Mapping[_Key, Seen]], grant: _Key) -> Seen:
    """The evidence of all members for one grant."""
    found = Seen()
    for group in who:
        for member in group.members:
            found.join(of[member][grant])
    return found


def _net_rules(
    groups: Iterable[Group], net: Mapping[str, Mapping[tuple[NetTarget, str], Seen]]
) -> tuple[LearntNet, ...]:
    keys: dict[_Reach, list[Group]] = defaultdict(list)
    for group in groups:
        keys[frozenset(net[group.members[0]])].append(group)
    return tuple(
        LearntNet(
            tuple(g.key for g in who),
            tuple(
                NetGrant(target, _all(who, net, (target, note)).evidence, note)
                for target, note in sorted(grants, key=lambda grant: repr(grant[0]))
            ),
        )
        for grants, who in keys.items()
    )


def _net(deeds: Deeds, wary: _Wary) -> dict[tuple[NetTarget, str], Seen]:
    """Where a container is to be granted to connect, and how its ports differ from those that were seen."""
    places: dict[Destination, dict[Service, Seen]] = defaultdict(dict)
    for (to, service), seen in deeds.net.items():
        places[to][service] = seen
    found: dict[tuple[NetTarget, str], Seen] = defaultdict(Seen)
    for target, services in (*_near(places, wary), *_far(places)):
        ranges, note = _ranges(services, exactly=len(services) >= MOST_RANGES and wary.of(target))
        for seen in services.values():
            found[replace(target, ports=ranges), note].join(seen)
    return dict(found)


def _near(
    places: Mapping[Destination, Mapping[Service, Seen]], wary: _Wary
) -> Iterator[tuple[NetTarget, dict[Service, Seen]]]:
    """Containers by name, or the network if it is many of them; and the host."""
    named = {to: services for to, services in places.items() if to.peer}
    many: dict[tuple[str, frozenset[Service]], list[Destination]] = defaultdict(list)
    for to, services in named.items():
        many[to.network, frozenset(services)].append(to)
    by_name: dict[str, dict[Service, Seen]] = defaultdict(dict)
    for (network, _), there in many.items():
        if len(there) >= FEW and not wary.of(ToNetwork(network)):
            yield ToNetwork(network), _joined(places[to] for to in there)
            continue
        for to in there:
            by_name[to.peer] = _joined((by_name[to.peer], places[to]))
    yield from ((ToContainer(peer), services) for peer, services in by_name.items())
    if host := _joined(services for to, services in places.items() if to.host):
        yield ToHost(()), host


def _far(places: Mapping[Destination, Mapping[Service, Seen]]) -> Iterator[tuple[NetTarget, dict[Service, Seen]]]:
    """Addresses, those with the same ports joined to the prefixes that they fill."""
    alike: dict[frozenset[Service], dict[Prefix, Mapping[Service, Seen]]] = defaultdict(dict)
    for to, services in places.items():
        if to.address:
            alike[frozenset(services)][unmapped(ip_network(to.address))] = services
    for there in alike.values():
        fours = [a for a in there if isinstance(a, IPv4Network)]
        sixes = [a for a in there if isinstance(a, IPv6Network)]
        for prefixes in (list(collapse_addresses(fours)), list(collapse_addresses(sixes))):
            yield from ((ToCidr(prefix), _joined(found)) for prefix, found in _gathered(prefixes, there))


def _gathered(
    prefixes: Sequence[Prefix], there: Mapping[Prefix, Mapping[Service, Seen]]
) -> Iterator[tuple[Prefix, list[Mapping[Service, Seen]]]]:
    """Each prefix with what was seen at its addresses. ``prefixes`` are of one family, sorted, and do not overlap."""
    versions = {prefix.version for prefix in prefixes}
    addresses = sorted((int(a.network_address), n) for n, a in enumerate(there) if a.version in versions)
    evidence = list(there.values())
    for prefix in prefixes:
        first = bisect_left(addresses, (int(prefix.network_address), 0))
        beyond = bisect_left(addresses, (int(prefix.broadcast_address) + 1, 0))
        yield prefix, [evidence[n] for _, n in addresses[first:beyond]]


def _within(address: Prefix, prefix: Prefix) -> bool:
    return address.version == prefix.version and address.network_address in prefix


def _joined(several: Iterable[Mapping[Service, Seen]]) -> dict[Service, Seen]:
    found: dict[Service, Seen] = defaultdict(Seen)
    for services in several:
        for service, seen in services.items():
            found[service].join(seen)
    return dict(found)


def _ranges(services: Iterable[Service], *, exactly: bool) -> tuple[tuple[PortRange, ...], str]:
    """The ports as a grant holds them, and a word if they had to be widened to fit, or left out since they must not be."""
    ports: dict[int, set[int]] = defaultdict(set)
    for service in services:
        ports[service.protocol].add(service.port)
    icmp = tuple(PortRange(0, 65535, n) for n in (ICMP, ICMPV6)) if ports.pop(ICMP, None) else ()
    exact = (*icmp, *(r for protocol, found in sorted(ports.items()) for r in _runs(protocol, sorted(found))))
    if len(exact) <= MOST_RANGES:
        return exact, ""
    if exactly:
        return exact[:MOST_RANGES], FEWER
    return (*icmp, *(PortRange(min(found), max(found), protocol) for protocol, found in sorted(ports.items()))), WIDER


def _runs(protocol: int, ports: list[int]) -> Iterator[PortRange]:
    first = ports[0]
    for port, following in zip(ports, [*ports[1:], -1], strict=True):
        if following != port + 1:
            yield PortRange(first, port, protocol)
            first = following
