"""Port ranges of network grants: merged, sorted, and no more than a kernel row holds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from enforcer.core.image import MAX_RANGES, Ports, Range
from enforcer.core.model import PortRange

_PROTOCOL_ANY = 0


@lru_cache(maxsize=1024)
def ranges_of(ports: tuple[PortRange, ...]) -> tuple[Range, ...]:
    """The ranges of a grant, merged."""
    return merge(frozenset(Range(p.first, p.last, p.protocol) for p in ports))


@lru_cache(maxsize=1024)
def merge(ranges: frozenset[Range]) -> tuple[Range, ...]:
    """The fewest ranges that hold the same ports, sorted by protocol: what overlaps or touches becomes one."""
    any_protocol = _joined(r for r in ranges if r.protocol == _PROTOCOL_ANY)
    rest = [r for r in ranges if r.protocol != _PROTOCOL_ANY and not any(_covers(a, r) for a in any_protocol)]
    protocols = sorted({r.protocol for r in rest})
    return (*any_protocol, *(j for p in protocols for j in _joined(r for r in rest if r.protocol == p)))


def fit(ranges: tuple[Range, ...]) -> Ports:
    """As a kernel value. What is over ``MAX_RANGES`` is not granted; the caller warns."""
    return Ports(min(len(ranges), MAX_RANGES), ranges[:MAX_RANGES])


def _covers(outer: Range, inner: Range) -> bool:
    return outer.first <= inner.first and inner.last <= outer.last


def _joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    joined: list[Range] = []
    for r in sorted(ranges):
        if joined and r.first <= joined[-1].last + 1:
            joined[-1] = joined[-1]._replace(last=max(joined[-1].last, r.last))
        else:
            joined.append(r)
    return tuple(joined)
