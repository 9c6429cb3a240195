"""Grants by CIDR as a longest-prefix table: grants add up although only the longest prefix answers.

Each prefix that a grant or an exception mentions gets the ports of every grant that holds there. One pass over the
sorted prefixes with the stack of those that enclose the current one; n prefixes cost a sort and n steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import NamedTuple

from enforcer.core.address import MAPPED, MAPPED_BITS, bits_of
from enforcer.core.image import Range
from enforcer.core.model import Prefix
from enforcer.core.ports import merge

_BITS = 128


class CidrGrant(NamedTuple):
    """``ranges`` are granted in ``cidr``, but nowhere in ``excluded``."""

    cidr: Prefix
    excluded: tuple[Prefix, ...]
    ranges: tuple[Range, ...]


class Slot(NamedTuple):
    """One prefix in the 128-bit space that holds both families (IPv4 as ``::ffff:a.b.c.d``), by its first address."""

    start: int
    bits: int


@dataclass(frozen=True)
class _Node:
    starting: set[int] = field(default_factory=set)
    stopping: set[int] = field(default_factory=set)


class _Enclosing(NamedTuple):
    end: int
    active: frozenset[int]
    stopped: frozenset[int]
    ranges: tuple[Range, ...]


_NOTHING = _Enclosing((1 << _BITS) - 1, frozenset(), frozenset(), ())
_IPV4 = Slot(int.from_bytes(MAPPED + bytes(4)), MAPPED_BITS)


def slot_of(prefix: Prefix) -> Slot:
    """Where a prefix lies in the common space."""
    if isinstance(prefix, IPv4Network):
        return Slot(_IPV4.start | int(prefix.network_address), bits_of(prefix))
    return Slot(int(prefix.network_address), prefix.prefixlen)


def spread(grants: Sequence[CidrGrant]) -> dict[Slot, tuple[Range, ...]]:
    """What the longest matching prefix must answer for the grants to add up, without prefixes that change nothing."""
    nodes = _nodes(grants)
    table: dict[Slot, tuple[Range, ...]] = {}
    stack = [_NOTHING]
    for slot in sorted(nodes):
        while stack[-1].end < slot.start:
            stack.pop()
        # A wide IPv6 prefix such as ::/0 encloses the mapped IPv4 addresses by number only: it grants none of them.
        outer = _NOTHING if slot == _IPV4 else stack[-1]
        stopped = outer.stopped | nodes[slot].stopping
        active = (outer.active | nodes[slot].starting) - stopped
        ranges = outer.ranges if active == outer.active else _union(grants[i] for i in active)
        if ranges != stack[-1].ranges:
            table[slot] = ranges
        stack.append(_Enclosing(slot.start | ((1 << (_BITS - slot.bits)) - 1), active, stopped, ranges))
    return table


def _nodes(grants: Sequence[CidrGrant]) -> dict[Slot, _Node]:
    nodes: dict[Slot, _Node] = {_IPV4: _Node()}
    for number, grant in enumerate(grants):
        nodes.setdefault(slot_of(grant.cidr), _Node()).starting.add(number)
        for prefix in grant.excluded:
            nodes.setdefault(slot_of(prefix), _Node()).stopping.add(number)
    return nodes


def _union(grants: Iterable[CidrGrant]) -> tuple[Range, ...]:
    return merge(frozenset(r for grant in grants for r in grant.ranges))
