"""One rule of the egress guard as nftables expressions, and the comments by which what is ours is known again.

Registers and fields are those of linux/netfilter/nf_tables.h; a comparison is of bytes in network order.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from enforcer.core.egress import Chain, Opening, Pass, Rule
from enforcer.edges.pyroute import genex, nf, verdict

IFNAMSIZ = 16
NETWORK_HEADER, TRANSPORT_HEADER = 1, 2
CT_DIRECTION, REPLY = 1, 1
NF_DROP, NF_ACCEPT = 0, 1
NFPROTO = {4: 2, 6: 10}
ADDRESSES = {4: (12, 16), 6: (8, 24)}
"""IP version → where source and destination stand in the header (RFC 791, RFC 8200)."""

HOP_LIMIT_AT, HOP_LIMIT = 7, 255
SOLICITATION, ADVERTISEMENT = 135, 136
"""Neighbour discovery is believed only with that hop limit, which no router has lowered (RFC 4861 section 7.1)."""

EVERY_PORT = (0, 65535)
DESTINATION_PORT_AT = 2

UDATA_COMMENT = 0
"""The type under which `nft` keeps a comment, and shows it (libnftnl, udata.h)."""

Expression = dict[str, Any]


def expressions(rule: Rule, packets: int) -> list[Expression]:
    """The rule in the kernel's words; its counter begins at ``packets``."""
    return [
        *_meta(nf.Meta.NFT_META_IIFNAME, _interface(rule.bridge)),
        *(
            _meta(nf.Meta.NFT_META_OIFNAME, _interface(rule.bridge), nf.Cmp.NFT_CMP_NEQ)
            if rule.chain is Chain.FORWARD
            else ()
        ),
        *_passing(rule.passes),
        genex("counter", {"bytes": 0, "packets": packets}),
        *verdict(NF_ACCEPT if rule.passes else NF_DROP),
    ]


def comment(text: str) -> bytes:
    """A comment as user data: type, length, text, NUL. It is cut after 253 bytes."""
    raw = text.encode()[:253] + b"\0"
    return bytes((UDATA_COMMENT, len(raw))) + raw


def comment_of(raw: bytes | None) -> str:
    """The comment in user data that anybody may have written; "" if there is none."""
    if not raw or len(raw) < 2 or raw[0] != UDATA_COMMENT:
        return ""
    return raw[2 : 2 + raw[1]].rstrip(b"\0").decode(errors="replace")


def _passing(passes: Pass | Opening | None) -> Iterator[Expression]:
    match passes:
        case Pass.REPLIES:
            yield genex("ct", {"key": CT_DIRECTION, "dreg": nf.Regs.NFT_REG_1})
            yield _compare(bytes((REPLY,)))
        case Pass.NEIGHBOURS:
            yield from _meta(nf.Meta.NFT_META_NFPROTO, bytes((NFPROTO[6],)))
            yield from _meta(nf.Meta.NFT_META_L4PROTO, bytes((socket.IPPROTO_ICMPV6,)))
            yield from _payload(NETWORK_HEADER, HOP_LIMIT_AT, bytes((HOP_LIMIT,)), bytes((HOP_LIMIT,)))
            yield from _payload(TRANSPORT_HEADER, 0, bytes((SOLICITATION,)), bytes((ADVERTISEMENT,)))
        case Opening():
            yield from _opening(passes)


def _opening(opening: Opening) -> Iterator[Expression]:
    source, destination = ip_address(opening.source), ip_address(opening.destination)
    source_at, destination_at = ADDRESSES[source.version]
    yield from _meta(nf.Meta.NFT_META_NFPROTO, bytes((NFPROTO[source.version],)))
    yield from _payload(NETWORK_HEADER, source_at, source.packed, source.packed)
    yield from _payload(NETWORK_HEADER, destination_at, destination.packed, destination.packed)
    first, last, protocol = opening.ports
    if protocol:
        yield from _meta(nf.Meta.NFT_META_L4PROTO, bytes((protocol,)))
    if (first, last) != EVERY_PORT:
        yield from _payload(TRANSPORT_HEADER, DESTINATION_PORT_AT, first.to_bytes(2), last.to_bytes(2))


def _meta(key: int, value: bytes, comparison: int = nf.Cmp.NFT_CMP_EQ) -> Iterator[Expression]:
    yield genex("meta", {"key": key, "dreg": nf.Regs.NFT_REG_1})
    yield _compare(value, comparison)


def _payload(header: int, offset: int, first: bytes, last: bytes) -> Iterator[Expression]:
    """The bytes at ``offset`` lie between ``first`` and ``last``, both included."""
    yield genex("payload", {"dreg": nf.Regs.NFT_REG_1, "base": header, "offset": offset, "len": len(first)})
    if first == last:
        yield _compare(first)
    else:
        yield _compare(first, nf.Cmp.NFT_CMP_GTE)
        yield _compare(last, nf.Cmp.NFT_CMP_LTE)


def _compare(value: bytes, comparison: int = nf.Cmp.NFT_CMP_EQ) -> Expression:
    data = {"attrs": [("NFTA_DATA_VALUE", value)]}
    expression: Expression = genex("cmp", {"sreg": nf.Regs.NFT_REG_1, "op": comparison, "data": data})
    return expression


def _interface(name: str) -> bytes:
    return name.encode().ljust(IFNAMSIZ, b"\0")
