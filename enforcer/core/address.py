"""Addresses of both families in one space of 128 bits, IPv4 as ``::ffff:a.b.c.d``: so the kernel maps hold them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

from enforcer.core.model import Prefix

KEPT = 1 << 16
"""Answers that are remembered from one look at the host to the next: as many as a host has containers, and more."""

MAPPED = b"\x00" * 10 + b"\xff\xff"
"""What stands before the four bytes of an IPv4 address: ``::ffff:0:0/96``, RFC 4291 section 2.5.5.2."""

MAPPED_BITS = 8 * len(MAPPED)
"""The length of that prefix."""


@lru_cache(maxsize=KEPT)
def packed(address: str | bytes) -> bytes:
    """The 16 bytes by which the kernel knows an address, given as text or packed already. ValueError if malformed."""
    if isinstance(address, bytes):
        if len(address) != len(MAPPED) + 4:
            raise ValueError(f"an address has 16 bytes, this one has {len(address)}")
        return address
    found = ip_address(address.partition("%")[0])
    return MAPPED + found.packed if isinstance(found, IPv4Address) else found.packed


def unmapped(prefix: Prefix) -> Prefix:
    """The prefix in its own family: one within ``::ffff:0:0/96`` becomes the IPv4 prefix that it means."""
    mapped = prefix.network_address.ipv4_mapped if isinstance(prefix, IPv6Network) else None
    if mapped is None or prefix.prefixlen < MAPPED_BITS:
        return prefix
    return IPv4Network((mapped, prefix.prefixlen - MAPPED_BITS))


def bits_of(prefix: Prefix) -> int:
    """The length of a prefix in the space that holds both families."""
    return prefix.prefixlen + (MAPPED_BITS if isinstance(prefix, IPv4Network) else 0)
