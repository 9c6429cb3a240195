"""The names that Docker's resolver answers by itself, as they stand in a DNS query (RFC 1035, section 3.1)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from enforcer.core.address import KEPT
from enforcer.core.enums import NameKind
from enforcer.core.model import Attachment, Container, Facts

LONGEST = 128
_LENGTH = tuple(bytes((n,)) for n in range(64))
"""ENF_DNS_NAME: bytes of a name that the kernel looks at; nobody can ask for a label of more than 63."""

_SHORT_ID = 12


@dataclass(frozen=True)
class Link:
    """What one container alone calls another on a network (Docker's id of it): ``docker run --link container:alias``."""

    network: str
    container: str
    alias: str


@dataclass(frozen=True)
class Scope:
    """What a container may ask for: the names on these networks (Docker's ids) and the aliases of its own links there."""

    networks: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()

    @property
    def content(self) -> str:
        """What its number is kept under: containers with the same scope share one."""
        return f"names {' '.join((*self.networks, *(repr((n.network, n.container, n.alias)) for n in self.links)))}"


Names = Mapping[bytes, NameKind]
"""A name as in a query → what kind it is."""


def names_on(facts: Facts) -> Mapping[str, Names]:
    """Docker's network id → all that can be asked for there: names of containers, their aliases, and their addresses backwards."""
    found: defaultdict[str, dict[bytes, NameKind]] = defaultdict(dict)
    for container in facts.containers.values():
        for attachment in container.attachments:
            network = facts.networks.get(attachment.network)
            if (
                network and attachment.addresses
            ):  # Docker asks others for a container that does not run, or that joins another
                _add(found[network.id], _said(container, attachment))
    return found


def names_of(scope: Scope, facts: Facts, on: Mapping[str, Names]) -> Names:
    """All that is answered to those of ``scope``; ``on`` is ``names_on`` the same host. A link to nobody is no name."""
    found: dict[bytes, NameKind] = {}
    for network in scope.networks:
        _add(found, on.get(network, {}).items())
    called = {network.id: network.name for network in facts.networks.values()}
    for link in scope.links:
        if encoded(link.container.lower()) in on.get(link.network, {}):
            _add(found, _as_written(link.alias, called[link.network]))
    return found


@lru_cache(maxsize=KEPT)
def encoded(name: str) -> bytes:
    """A name as in a query, filled up with zeros; empty for what is too long or no name at all."""
    if not name.isascii():
        return b""
    wire = b""
    for label in name.encode().split(b"."):
        if not 0 < len(label) < 64:
            return b""
        wire += _LENGTH[len(label)] + label
    wire += b"\0"
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


def _add(found: dict[bytes, NameKind], names: Iterable[tuple[bytes, NameKind]]) -> None:
    """What is compared by any case includes what is compared as it is written."""
    for name, kind in names:
        if name:
            found[name] = max(kind, found.get(name, kind))


def _said(container: Container, attachment: Attachment) -> Iterator[tuple[bytes, NameKind]]:
    """Docker (sandbox and network of its libnetwork) folds what may be a name, and neither networks nor addresses backwards."""
    for name in {container.name, container.id[:_SHORT_ID], *attachment.names}:
        yield encoded(name.lower()), NameKind.ANY_CASE
        for written in {name, name.lower()}:
            yield encoded(f"{written}.{attachment.network}"), NameKind.AS_WRITTEN
    for address in attachment.addresses:
        yield _backwards(address), NameKind.BACKWARDS


@lru_cache(maxsize=KEPT)
def _backwards(address: str) -> bytes:
    return encoded(ip_address(address).reverse_pointer)


def _as_written(alias: str, network: str) -> Iterator[tuple[bytes, NameKind]]:
    for name in (alias, f"{alias}.{network}"):
        yield encoded(name), NameKind.AS_WRITTEN
