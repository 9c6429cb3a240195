"""The declaration of agents: ``enforcer compose render``'s own small language, as strict as the policy's.

It is no section of the policy: the agent that runs as root reloads the policy whenever it changes, and images, ports and
environment are not its business. What both name (containers, networks, volumes) a test holds together for the shipped files.
What is refused here is what ``enforcer compose lint`` would find in the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from enforcer.core.compose import (
    DOCKERS,
    ComposeNetwork,
    ComposeService,
    Composition,
)
from enforcer.core.cursor import Cursor, shown
from enforcer.core.document import Document
from enforcer.core.model import Prefix
from enforcer.core.parse_address import prefix_of
from enforcer.core.parse_compose_service import DECLARATION, refuse_name, service_of
from enforcer.core.parse_posture import chosen
from enforcer.core.parse_text import host_path
from enforcer.errors import PolicyError, Problem

_VERSION = "1"
_BOOLEANS = {"true": True, "false": False}


def parse_declaration(document: Document) -> Composition:
    """What a declaration says. Raises ``PolicyError`` with every mistake, in the order of the file."""
    found = list(document.problems)
    composed = _composed(Cursor(document.roots[0], "", found))
    for root in document.roots[1:]:
        Cursor(root, "", found).refuse("is a second file; a declaration is one file")
    if found or composed is None:
        raise wrong(found, "declaration")
    return composed


def wrong(problems: Iterable[Problem], what: str) -> PolicyError:
    """The same mistakes, each once (a wrong default is met by every service), and none of the whole called the policy's."""
    return PolicyError(tuple(dict.fromkeys(replace(p, path=what) if p.path == "policy" else p for p in problems)))


def _composed(cursor: Cursor) -> Composition | None:
    fields = cursor.fields("declaration", DECLARATION)
    if fields is None:
        return None
    version = fields.need("version", hint=f"write version: {_VERSION}")
    if version and (text := version.text()) is not None and text != _VERSION:
        version.refuse(f'unknown version "{shown(text)}"; this enforcer reads version {_VERSION}')
    data = fields.need("data", hint="the directory of the host below which data lies, such as /srv/mcp/data")
    networks = _networks(fields.need("networks", hint="name each network, with its subnet"))
    defaults = fields.get("defaults")
    known = defaults.fields("defaults", DECLARATION) if defaults else None
    place = fields.need("services", hint="name each container")
    services = []
    for name, each in ((place.entries() if place else None) or {}).items():
        if service := service_of(name, each, known.known if known else {}, networks):
            services.append((each, service))
    if place and not services and not place.found:
        place.refuse("names no container")
    _refuse_shared(services)
    path = host_path(data) if data else None
    known_networks = tuple(n for n in networks.values() if n)
    return Composition(path or "", known_networks, tuple(service for _, service in services))


def _networks(cursor: Cursor | None) -> dict[str, ComposeNetwork | None]:
    """By name; None for one that is refused, whose name is known all the same."""
    found: dict[str, ComposeNetwork | None] = {}
    for name, each in ((cursor.entries() if cursor else None) or {}).items():
        refuse_name(name, each, "network")
        if name in DOCKERS:
            each.refuse(f"{name} is a network of Docker's own; give it another name")
        found[name] = network = _network(name, each)
        for other in found.values():
            if network and other and other.name != name and _overlap(network.subnet, other.subnet):
                each.refuse(f"{network.subnet} overlaps {other.subnet} of {other.name}; give each its own")
    return found


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _network(name: str, cursor: Cursor) -> ComposeNetwork | None:
    fields = cursor.fields("network", DECLARATION)
    place = fields.need("subnet", hint="such as 172.21.0.0/16") if fields else None
    subnet = prefix_of(place) if place else None
    said = fields.get("internal") if fields else None
    internal = chosen(said, _BOOLEANS, "word") if said else True
    return ComposeNetwork(name, subnet, internal is not False) if subnet else None


def _refuse_shared(services: Iterable[tuple[Cursor, ComposeService]]) -> None:
    """``a`` with purpose ``b-data`` and ``a-b`` with purpose ``data`` would have one volume: each is to have its own."""
    first: dict[str, str] = {}
    for cursor, service in services:
        for name in _names(service):
            if first.setdefault(name, service.name) != service.name:
                cursor.refuse(f"its volume {name} is {first[name]}'s already; rename one")


def _names(service: ComposeService) -> Iterator[str]:
    return (f"{service.name}-{volume.purpose}" for volume in service.volumes)
