"""CIDRs and ports as a policy writes them: ``172.20.0.0/16``, ``5432/tcp``, ``8000-8099/tcp``, ``53/udp``, ``icmp``."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from enforcer.core.address import unmapped
from enforcer.core.cursor import Cursor, shown, suggestion
from enforcer.core.model import ANY_PORT, PortRange, Prefix
from enforcer.core.protocols import ICMP, ICMPV6, WITH_PORTS

MAX_RANGES = 15
"""Port ranges of one grant: ENF_MAX_RANGES of ``probes/contract.h``. ``icmp`` takes two of them."""

_ICMP = (PortRange(0, 65535, ICMP), PortRange(0, 65535, ICMPV6))  # a rule holds for both families
_PORTS = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:/(\w+))?")
_LAST_PORT = 65535


def ports_of(cursor: Cursor) -> tuple[PortRange, ...]:
    """The ranges of a ``ports`` list; ``ANY_PORT`` if all are refused, since the policy does not load then."""
    items = cursor.items()
    if items == []:
        cursor.refuse("opens no port; list the ports, or leave it out for all")
    ranges: list[PortRange] = []
    for item in items or []:
        for one in _ranges(item):
            if one in ranges:
                item.refuse("is listed twice; keep one")
                break
            ranges.append(one)
    if len(ranges) > MAX_RANGES:
        cursor.refuse(
            f"has {len(ranges)} port ranges (icmp counts as two), at most {MAX_RANGES} fit; join or split them"
        )
    return tuple(ranges) or (ANY_PORT,)


def _ranges(cursor: Cursor) -> tuple[PortRange, ...]:
    text = cursor.text()
    if text is None:
        return ()
    if text == "icmp":
        return _ICMP
    match = _PORTS.fullmatch(text)
    if match is None:
        cursor.refuse(f'"{shown(text)}" is no port; write 5432/tcp, 8000-8099/tcp, 53/udp or icmp')
        return ()
    first, last, protocol = match.groups()
    if protocol is None:
        cursor.refuse(f'"{shown(text)}" lacks the protocol; write {shown(text)}/tcp or {shown(text)}/udp')
    elif protocol == "icmp":
        cursor.refuse(f'"{shown(text)}": icmp has no ports; write icmp')
    elif protocol not in WITH_PORTS:
        cursor.refuse(f'unknown protocol "{shown(protocol)}"; {suggestion(protocol.lower(), WITH_PORTS)}')
    elif fault := _fault(first, last or first):
        cursor.refuse(f'"{shown(text)}": {fault}')
    else:
        return (PortRange(int(first), int(last or first), WITH_PORTS[protocol]),)
    return ()


def _fault(first: str, last: str) -> str | None:
    for port in (first, last):
        if port.startswith("0"):
            return "a port begins at 1 and has no leading zero"
        if len(port) > len(str(_LAST_PORT)) or int(port) > _LAST_PORT:
            return f"{shown(port)} is past the last port, {_LAST_PORT}"
    return f"the range is reversed; write {last}-{first}" if int(first) > int(last) else None


def prefix_of(cursor: Cursor) -> Prefix | None:
    """A CIDR. IPv4-mapped IPv6 becomes the IPv4 that it means (DESIGN section 4)."""
    text = cursor.text()
    if text is None:
        return None
    address, slash, bits = text.partition("/")
    try:
        network = ip_network(text, strict=False)
        below = ip_address(address) != network.network_address
    except ValueError:
        network = None
    if network is None or "%" in text:
        cursor.refuse(f'"{shown(text)}" is no CIDR; write 172.20.0.0/16 or fd00:20::/64')
    elif not slash or not re.fullmatch(r"[0-9]+", bits):
        cursor.refuse(f'"{text}" lacks a prefix length; write {network}')
    elif below:
        cursor.refuse(f'"{text}" has host bits set; write {network}')
    else:
        return unmapped(network)
    return None
