"""The names that Docker's resolver answers by itself, as they stand in a DNS query (RFC 1035, section 3.1)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from enforcer.core.model import Attachment, Container, Facts

LONGEST = 128
"""ENF_DNS_NAME: bytes of a name that the kernel looks at; nobody can ask for a label of more than 63."""

_SHORT_ID = 12


def names_on(facts: Facts) -> Mapping[str, frozenset[bytes]]:
    """Docker's network id → all that can be asked for there: names of containers, their aliases, and their addresses backwards."""
    found: defaultdict[str, set[bytes]] = defaultdict(set)
    for container in facts.containers.values():
        for attachment in container.attachments:
            if network := facts.networks.get(attachment.network):
                found[network.id].update(filter(None, map(encoded, _said(container, attachment))))
    return {network: frozenset(names) for network, names in found.items()}


def encoded(name: str) -> bytes:
    """A name as in a query, filled up with zeros; empty for what is too long or no name at all."""
    try:
        labels = [label.encode("ascii") for label in name.split(".")]
    except UnicodeEncodeError:
        return b""
    if not all(0 < len(label) < 64 for label in labels):
        return b""
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return wire.ljust(LONGEST, b"\0") if len(wire) <= LONGEST else b""


def decoded(wire: bytes) -> str:
    """What ``encoded`` made it from; bytes that are no ASCII come as the journal writes them elsewhere."""
    labels = []
    while wire and wire[0]:
        labels.append(wire[1 : 1 + wire[0]].decode("utf-8", "surrogateescape"))
        wire = wire[1 + wire[0] :]
    return ".".join(labels)


def leaks_names(version: str) -> bool:
    """Whether Docker of this version asks outside for containers on internal networks: CVE-2024-29018. True if it is not known.

    Mended in 23.0.11, 25.0.5 and 26.0.0; not in 24.0.
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not found:
        return True
    major, minor, patch = (int(part or 0) for part in found.groups())
    mended = {23: (0, 11), 25: (0, 5)}
    return major < 26 and (minor, patch) < mended.get(major, (1 << 30, 0))


def _said(container: Container, attachment: Attachment) -> Iterator[str]:
    for name in {container.name, container.id[:_SHORT_ID], *attachment.names}:
        yield name
        yield f"{name}.{attachment.network}"
    for address in attachment.addresses:
        yield ip_address(address).reverse_pointer
