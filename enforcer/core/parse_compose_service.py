"""One container of a declaration, field by field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from enforcer.core.compose import (
    DATABASE,
    GATEWAY,
    KEEPERS,
    SIZES,
    TMPFS,
    TYPES,
    VOLUMES,
    ComposeNetwork,
    ComposeService,
    takes_every_answer,
)
from enforcer.core.cursor import Cursor, Fields, shown, suggestion
from enforcer.core.parse_posture import chosen, each_of, user_of, volumes_of
from enforcer.core.parse_text import exact_name
from enforcer.core.posture import PurposeVolume

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

_PORT = re.compile(r"[1-9][0-9]{0,4}")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PUBLISHED = re.compile(rf"(?:(?:{_OCTET}\.){{3}}{_OCTET}:)?([1-9][0-9]{{0,4}}):([1-9][0-9]{{0,4}})(?:/(?:tcp|udp))?")
_DIGEST = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_PLACE = re.compile(r"[A-Za-z0-9_./+-]+")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ROOT = re.compile(r"(0+|root)(:.*)?|.*:(0+|root)")
_LAST_PORT = 65535
_NAME = "{name}"


def service_of(
    name: str, cursor: Cursor, defaults: Mapping[str, Cursor], networks: Mapping[str, ComposeNetwork | None]
) -> ComposeService | None:
    """A service; what it does not say, ``defaults`` say. Goes on behind a mistake, to find the others."""
    own = cursor.fields("service", DECLARATION)
    if own is None:
        return None
    refuse_name(name, cursor, "container")
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


def refuse_name(name: str, cursor: Cursor, what: str) -> None:
    """Names that Docker takes, and no others."""
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
