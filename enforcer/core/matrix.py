"""The guide's "Data Access Matrix", and the same for the network, as the kernel would hold it on this host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Any, NamedTuple

from enforcer.core.address import unmapped
from enforcer.core.compile import compile
from enforcer.core.decide import judge_object
from enforcer.core.explain import object_number
from enforcer.core.ids import Ids, Reserved, allocate
from enforcer.core.image import CIDR_KEY_BITS, Image, NetKey, Ports, Range, Regime, Target
from enforcer.core.model import Access, Container, Facts, Mode, ObjectId, Policy
from enforcer.core.objects import protect
from enforcer.core.words import protocol_word

ANYWHERE = "anywhere"
"""The only destination of a container that no network rule concerns."""

_GENERATION = 1


@dataclass(frozen=True)
class Matrix:
    """One row for each container and one column for each protected object, both sorted.

    ``cells[row][column]``: ``-`` nothing, ``r`` read and execute, ``rw`` all; with ``?`` the rest is only watched.
    ``network[row]``: destinations: ``mcp-internal``, ``database:5432/tcp``, ``not 10.0.0.1/32``, ``anywhere``.
    """

    containers: tuple[str, ...]
    objects: tuple[ObjectId, ...]
    cells: tuple[tuple[str, ...], ...]
    network: tuple[tuple[str, ...], ...]


def matrix(policy: Policy, facts: Facts) -> Matrix:
    """What the policy means on this host."""
    ids = allocate(Ids(), policy, facts)
    image = compile(policy, facts, ids, _GENERATION)
    containers = sorted(facts.containers.values(), key=lambda c: c.name)
    objects = tuple(protect(policy, facts).objects)
    numbers = [object_number(image, facts, ids, object_id) for object_id in objects]
    destinations = _destinations(image, facts, ids)
    return Matrix(
        tuple(c.name for c in containers),
        objects,
        tuple(tuple(_cell(image, ids.subject(c.id), number) for number in numbers) for c in containers),
        tuple(_reach(image, ids, c, destinations) for c in containers),
    )


def _cell(image: Image, subject: int, number: int) -> str:
    found = judge_object(image, subject=subject, number=number, asked=Access.NONE)
    grant = "rw" if Access.WRITE in found.granted else "r" if Access.READ in found.granted else "-"
    return f"{grant}?" if found.mode is Mode.MONITOR else grant


def _reach(image: Image, ids: Ids, container: Container, by_profile: Mapping[int, list[str]]) -> tuple[str, ...]:
    entry = image.net_subjects[NetKey(image.generation, ids.subject(container.id))]
    if entry.regime == Regime.QUARANTINED:
        return ("(quarantined)",)
    if entry.regime == Regime.FREE:
        return (ANYWHERE,)
    mark = "?" if entry.mode == Mode.MONITOR else ""
    return tuple(f"{destination}{mark}" for destination in by_profile.get(entry.profile, ()))


def _destinations(image: Image, facts: Facts, ids: Ids) -> Mapping[int, list[str]]:
    """The destinations of each profile: networks, then containers, then CIDRs."""
    networks = {ids.network(n.id): n.name for n in facts.networks.values()}
    subjects = {ids.subject(c.id): c.name for c in facts.containers.values()} | {int(Reserved.HOST): "host"}
    found: dict[int, list[str]] = defaultdict(list)
    for key, ports in sorted(image.net_rows.items()):
        names = networks if key.target_kind == Target.TO_NETWORK else subjects
        found[key.profile].extend(_with_ports(names[key.target], ports))
    for cidr, ports in sorted(image.cidrs.items(), key=lambda item: (item[0].address, item[0].prefixlen)):
        prefix = unmapped(IPv6Network((IPv6Address(cidr.address), cidr.prefixlen - CIDR_KEY_BITS)))
        found[cidr.profile].extend(_with_ports(str(prefix), ports) or [f"not {prefix}"])
    return found


def _with_ports(name: str, ports: Ports) -> Iterable[str]:
    return [f"{name}{_port_words(r)}" for r in ports.ranges]


def _port_words(r: Range) -> str:
    span = "" if (r.first, r.last) == (0, 65535) else f":{r.first}" if r.first == r.last else f":{r.first}-{r.last}"
    return f"{span}/{protocol_word(r.protocol)}" if r.protocol else span


def plain(found: Matrix) -> dict[str, Any]:
    """A matrix as plain lists and dicts: container → object → cell, container → destinations."""
    names = [f"{o.kind}:{o.name}" for o in found.objects]
    return {
        "data": {
            c: dict(zip(names, cells, strict=True)) for c, cells in zip(found.containers, found.cells, strict=True)
        },
        "network": dict(zip(found.containers, found.network, strict=True)),
    }


class Change(NamedTuple):
    """One difference between two matrices. ``what``: ``kind:name`` of a data object, or ``connect``; "" where it is new or gone."""

    container: str
    what: str
    now: str
    then: str


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[Change]:
    """What differs between two matrices in plain form: ``data`` (container → object → cell), ``network`` (container → places)."""
    found = []
    for container in sorted(now["data"].keys() | then["data"].keys()):
        before, after = now["data"].get(container, {}), then["data"].get(container, {})
        for what in sorted(before.keys() | after.keys()):
            found.append(Change(container, what, before.get(what, ""), after.get(what, "")))
        places = [", ".join(m["network"].get(container, ())) for m in (now, then)]
        found.append(Change(container, "connect", *places))
    return [c for c in found if c.now != c.then]
