"""The declaration of agents: ``enforcer compose render``'s own small language, as strict as the policy's.

It is no section of the policy: the agent that runs as root reloads the policy whenever it changes, and images, ports and
environment are not its business. What both name (containers, networks, volumes) a test holds together for the shipped files.
What is refused here is what ``enforcer compose lint`` would find in the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from enforcer.core.compose import (
    DATABASE,
    DOCKERS,
    GATEWAY,
    KEEPERS,
    SIZES,
    TMPFS,
    TYPES,
    VOLUMES,
    ComposeNetwork,
    ComposeService,
    Composition,
    takes_every_answer,
)
from enforcer.core.cursor import Cursor, Fields, shown, suggestion
from enforcer.core.document import Document
from enforcer.core.model import Prefix
from enforcer.core.parse_address import prefix_of
from enforcer.core.parse_posture import chosen, each_of, user_of, volumes_of
from enforcer.core.parse_text import exact_name, host_path
from enforcer.core.posture import PurposeVolume
from enforcer.errors import PolicyError, Problem

_SERVICE = (
    *("type", "class", "version", "build", "image", "user", "networks", "port"),
    *("publish", "volumes", "health", "capabilities", "environment"),
)
DECLARATION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "declaration": ("version", "data", "networks", "defaults", "services"),
        "network": ("subnet", "internal"),
        "defaults": tuple(key for key in _SERVICE if key not in ("publish", "port")),
        "service": _SERVICE,
    }
)
"""Every key of the language, by the mapping that it stands in."""

CAPABILITY = "NET_BIND_SERVICE"
"""The one that the guide adds, "only if needed"."""

_VERSION = "1"
_BOOLEANS = {"true": True, "false": False}
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PUBLISHED = re.compile(r"(?:(?:[0-9]{1,3}\.){3}[0-9]{1,3}:)?([1-9][0-9]{0,4}):([1-9][0-9]{0,4})(?:/(?:tcp|udp))?")
_DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_PLACE = re.compile(r"[A-Za-z0-9_./+-]+")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ROOT = re.compile(r"(0+|root)(:.*)?|.*:(0+|root)")
_LAST_PORT = 65535
_NAME = "{name}"


def parse_declaration(document: Document) -> Composition:
    """What a declaration says. Raises ``PolicyError`` with every mistake, in the order of the file."""
    found = list(document.problems)
    composed = _composed(Cursor(document.roots[0], "", found))
    for root in document.roots[1:]:
        Cursor(root, "", found).refuse("is a second file; a declaration is one file")
    if found or composed is None:
        raise declared_wrong(found)
    return composed


def declared_wrong(problems: Iterable[Problem]) -> PolicyError:
    """The same mistakes, each once (a wrong default is met by every service), none of them called the policy's."""
    return PolicyError(
        tuple(dict.fromkeys(replace(p, path="declaration") if p.path == "policy" else p for p in problems))
    )


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
        if service := _service(name, each, known.known if known else {}, networks):
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
        _plain(name, each, "network")
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


def _service(
    name: str, cursor: Cursor, defaults: Mapping[str, Cursor], networks: Mapping[str, ComposeNetwork | None]
) -> ComposeService | None:
    own = cursor.fields("service", DECLARATION)
    if own is None:
        return None
    _plain(name, cursor, "container")
    inherited = {k: c for k, c in defaults.items() if not ({k} & own.known.keys() or _instead(k, own))}
    fields = Fields(cursor, {**inherited, **own.known}, own.meant)
    kind_, size, user = (fields.get(key) for key in ("type", "class", "user"))
    kind = (chosen(kind_, {t: t for t in TYPES}, "type") if kind_ else None) or ComposeService.type
    service = ComposeService(
        name=name,
        networks=_attached(fields, networks, kind),
        port=_port(fields.need("port", hint="where it listens, such as 8081; its health check asks there")),
        build=_build(fields, name),
        image=_matched(fields.get("image"), _DIGEST, "NAME@sha256:…: a tag may mean another image tomorrow"),
        type=kind,
        size=(chosen(size, {s: s for s in SIZES}, "class") if size else None) or ComposeService.size,
        version=_matched(fields.get("version"), _LABEL, "a version, such as 1.0.0") or ComposeService.version,
        user=(_user(user) if user else None) or ComposeService.user,
        publish=_publish(fields.get("publish"), kind, networks, fields.get("networks")),
        volumes=_volumes(fields.get("volumes"), kind),
        health=_health(fields.get("health")),
        capabilities=each_of(fields.get("capabilities"), _capability),
        environment=_environment(fields.get("environment")),
    )
    fields.choose(("build", "image"))
    return service


def _instead(key: str, own: Fields) -> bool:
    """A service with an image of its own is not built as well, though that is the default."""
    return key in ("build", "image") and not own.known.keys().isdisjoint(("build", "image"))


def _plain(name: str, cursor: Cursor, what: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]+", name):
        cursor.refuse(f'"{shown(name)}" cannot name a {what}; use letters, digits, "_", "." and "-", two at least')


def _matched(cursor: Cursor | None, pattern: re.Pattern[str], hint: str) -> str:
    text = cursor.text() if cursor else None
    if cursor and text is not None and not pattern.fullmatch(text):
        cursor.refuse(f'"{shown(text)}" is not understood; write {hint}')
    return text or ""


def _port(cursor: Cursor | None) -> int:
    text = _matched(cursor, _PORT, "a port, such as 8081")
    if cursor and text.isdecimal() and int(text) > _LAST_PORT:
        cursor.refuse(f"{text} is past the last port, {_LAST_PORT}")
    return int(text) if text.isdecimal() else 0


def _build(fields: Fields, name: str) -> str:
    cursor = fields.get("build")
    text = (cursor.text() if cursor else None) or ""
    if cursor and set("{}") & set(text.replace(_NAME, "")):
        cursor.refuse(f'"{shown(text)}" holds an unknown placeholder; the only one is {_NAME}')
    return text.replace(_NAME, name)


def _user(cursor: Cursor) -> str | None:
    text = user_of(cursor)
    if text and _ROOT.fullmatch(text):
        cursor.refuse(f'"{shown(text)}" is root; write another, such as "1001:1001"')
    return text


def _capability(cursor: Cursor) -> str | None:
    return chosen(cursor, {CAPABILITY: CAPABILITY}, "capability, or one that the guide does not add,")


def _attached(fields: Fields, networks: Mapping[str, ComposeNetwork | None], kind: str) -> tuple[str, ...]:
    cursor = fields.need("networks", hint="list the networks that it is on")
    found = each_of(cursor, lambda c: exact_name(c, hint="a network is named exactly"))
    if cursor and not found and not cursor.found:
        cursor.refuse("is empty: Docker would put it on a network of its own choice; name one")
    for name in found if cursor else ():
        network = networks.get(name)
        if name not in networks and cursor:
            cursor.refuse(f'unknown network "{shown(name)}"; {suggestion(name, networks)}')
        elif network and not network.internal and kind != GATEWAY and cursor:
            cursor.refuse(
                f"{name} leads outside (internal: false), where only a gateway may be; this is of type {kind}"
            )
    return found


def _publish(
    cursor: Cursor | None, kind: str, networks: Mapping[str, ComposeNetwork | None], own: Cursor | None
) -> tuple[str, ...]:
    if cursor is None:
        return ()
    found = each_of(cursor, _published)
    if found and kind != GATEWAY:
        cursor.refuse(f"is for a gateway; others on its networks reach a container of type {kind} without")
    names = [c.text() for c in (own.items() if own else None) or []]
    if found and own and all(n.internal for name in names if name and (n := networks.get(name))):
        cursor.refuse("publishes nothing: every network of it is internal; put it on one that is not")
    return found


def _published(cursor: Cursor) -> str | None:
    text = cursor.text()
    match = _PUBLISHED.fullmatch(text) if text else None
    if text and not (match and all(int(p) <= _LAST_PORT for p in match.groups())):
        cursor.refuse(f'"{shown(text)}" is not understood; write HOST:CONTAINER, such as "3000:3000"')
    return text


def _volumes(cursor: Cursor | None, kind: str) -> tuple[PurposeVolume, ...]:
    """The guide's three, or those given. A gateway may have none, and only it; a database keeps no logs or config of ours."""
    if cursor is None:
        return () if kind == GATEWAY else VOLUMES[:1] if kind == DATABASE else VOLUMES
    found = volumes_of(cursor)
    purposes = {v.purpose: v for v in found}
    for volume in found:
        if not _PLACE.fullmatch(volume.destination):
            cursor.refuse(
                f'"{shown(volume.destination)}" cannot stand in a Compose file; use letters, digits and "_./+-"'
            )
    if kind != GATEWAY and ("data" not in purposes or purposes["data"].read_only):
        cursor.refuse("has no data volume that can be written; add data: /app/data")
    if kind in KEEPERS and (lacking := [v.purpose for v in VOLUMES[1:] if v.purpose not in purposes]):
        cursor.refuse(f"lacks {' and '.join(lacking)}, which every {kind} has")
    if any(_configures(v) and not v.read_only for v in found):
        cursor.refuse('the configuration is for reading only; write config: "/app/config:ro"')
    places = [v.destination for v in found]
    for place in sorted({p for p in places if places.count(p) > 1 or p in TMPFS}):
        cursor.refuse(f"{shown(place)} is taken already; give each volume a place of its own")
    return found


def _configures(volume: PurposeVolume) -> bool:
    config = VOLUMES[2]
    named = volume.purpose == config.purpose or volume.purpose.endswith(f"-{config.purpose}")
    return named or volume.destination == config.destination


def _health(cursor: Cursor | None) -> tuple[str, ...]:
    found = [c.text() for c in (cursor.items() if cursor else None) or []]
    if cursor and not found and not cursor.found:
        cursor.refuse("is empty; write the command as a list, or leave it out for the guide's")
    words = tuple(word for word in found if word is not None)
    if cursor and takes_every_answer(words):
        cursor.refuse("is a curl without -f, which takes every answer for health; add -f")
    return words


def _environment(cursor: Cursor | None) -> dict[str, str]:
    found = {}
    for name, value in ((cursor.entries() if cursor else None) or {}).items():
        if not _VARIABLE.fullmatch(name):
            value.refuse(f'"{shown(name)}" cannot name a variable')
        elif (text := value.text()) is not None:
            found[name] = text
    return found


def _refuse_shared(services: Iterable[tuple[Cursor, ComposeService]]) -> None:
    """``a`` with purpose ``b-data`` and ``a-b`` with purpose ``data`` would have one volume: each is to have its own."""
    first: dict[str, str] = {}
    for cursor, service in services:
        for name in _names(service):
            if first.setdefault(name, service.name) != service.name:
                cursor.refuse(f"its volume {name} is {first[name]}'s already; rename one")


def _names(service: ComposeService) -> Iterator[str]:
    return (f"{service.name}-{volume.purpose}" for volume in service.volumes)
