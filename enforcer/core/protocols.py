"""The protocols that have a word, with their numbers (IANA protocol numbers)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

WITH_PORTS: Mapping[str, int] = MappingProxyType({"tcp": 6, "udp": 17, "sctp": 132})
"""What a policy can open ports of."""

ICMP, ICMPV6 = 1, 58

NUMBERS: Mapping[str, int] = MappingProxyType({**WITH_PORTS, "icmp": ICMP, "icmpv6": ICMPV6})
"""Every word for a protocol, with its number."""

WORDS: Mapping[int, str] = MappingProxyType({number: word for word, number in NUMBERS.items()})
"""The way back."""
