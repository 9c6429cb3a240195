"""The ``network`` section: which networks are internal, and who may connect where."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from enforcer.core.cursor import Cursor, Fields, shown, suggestion
from enforcer.core.document import Scalar
from enforcer.core.model import ANY_PORT, NetRule, NetTarget, PortRange, Sockets, ToCidr, ToContainer, ToHost, ToNetwork
from enforcer.core.parse_address import ports_of, prefix_of
from enforcer.core.parse_text import exact_name, mode_of, who_of

_SOCKETS = {"raw": Sockets.RAW, "packet": Sockets.PACKET}
_PLACES = ("network", "container", "cidr", "host")
_NETWORK_HINT = "a network is named exactly, as `docker network ls` shows it"
_CONTAINER_HINT = 'for several containers declare them under "containers" and give that name'


def internal_of(cursors: Iterable[Cursor]) -> tuple[str, ...]:
    """The names of ``network.internal``, each once."""
    names = (exact_name(c, hint=_NETWORK_HINT) for c in cursors)
    return tuple(dict.fromkeys(n for n in names if n is not None))


def net_rules_of(cursors: Iterable[Cursor], *, containers: Collection[str]) -> tuple[NetRule, ...]:
    """The rules of ``network.rules``."""
    return tuple(r for c in cursors if (r := _rule(c, containers)))


def _rule(cursor: Cursor, containers: Collection[str]) -> NetRule | None:
    fields = cursor.fields("network rule")
    if fields is None:
        return None
    who = fields.need("who", hint='name one or more of "containers"')
    connect = fields.need("connect", hint="list the destinations, or write connect: [] for none")
    mode, sockets = fields.get("mode"), fields.get("sockets")
    return NetRule(
        id=cursor.path,
        who=who_of(who, containers) if who else (),
        connect=_destinations(connect) if connect else (),
        mode=mode_of(mode) if mode else None,
        sockets=_sockets(sockets) if sockets else Sockets.NONE,
    )


def _sockets(cursor: Cursor) -> Sockets:
    found = Sockets.NONE
    for item in cursor.items() or []:
        text = item.text()
        if text is None:
            continue
        if text not in _SOCKETS:
            item.refuse(f'unknown kind of socket "{shown(text)}"; {suggestion(text.lower(), _SOCKETS)}')
        elif _SOCKETS[text] in found:
            item.refuse("is listed twice; keep one")
        else:
            found |= _SOCKETS[text]
    return found


def _destinations(cursor: Cursor) -> tuple[NetTarget, ...]:
    found: dict[NetTarget, None] = {}  # a set that keeps the order: lists of CIDRs can be long
    for item in cursor.items() or []:
        target = _destination(item)
        if target in found:
            item.refuse("is listed twice; keep one")
        elif target is not None:
            found[target] = None
    return tuple(found)


def _destination(cursor: Cursor) -> NetTarget | None:
    fields = cursor.fields("destination")
    if fields is None:
        return None
    given = fields.get("ports")
    ports = ports_of(given) if given else (ANY_PORT,)
    chosen = fields.choose(_PLACES)
    if chosen is None:
        return None
    place, value = chosen
    excluded = fields.get("except")
    if excluded and place != "cidr":
        excluded.refuse(f'"except" goes with "cidr" only, not with "{place}"; remove it')
    match place:
        case "network":
            network = exact_name(value, hint=_NETWORK_HINT)
            return ToNetwork(network, ports) if network else None
        case "container":
            name = exact_name(value, hint=_CONTAINER_HINT)
            return ToContainer(name, ports) if name else None
        case "cidr":
            return _to_cidr(fields, value, ports)
        case _:
            return _to_host(fields, value, ports)


def _to_cidr(fields: Fields, value: Cursor, ports: tuple[PortRange, ...]) -> ToCidr | None:
    cidr = prefix_of(value)
    section = fields.get("except")
    excluded = []
    for item in (section.many() if section else None) or []:
        prefix = prefix_of(item)
        if prefix is None:
            continue
        if cidr is not None and (prefix.version != cidr.version or not prefix.subnet_of(cidr)):  # type: ignore[arg-type]
            item.refuse(f'"{prefix}" lies outside "{cidr}" and excepts nothing; correct or remove it')
        elif prefix == cidr:
            item.refuse(f'"{prefix}" excepts the whole cidr, so nothing is granted; remove the destination')
        elif prefix in excluded:
            item.refuse(f'"{prefix}" is listed twice; keep one')
        excluded.append(prefix)
    return None if cidr is None else ToCidr(cidr=cidr, excluded=tuple(excluded), ports=ports)


def _to_host(fields: Fields, value: Cursor, ports: tuple[PortRange, ...]) -> ToHost | None:
    if not isinstance(value.node, Scalar) or value.node.empty or value.node.text != "true":
        value.refuse("must be true; to grant nothing on the host, leave the destination out")
        return None
    if fields.need("ports", hint="say which of the host's services: ports: [9100/tcp]") is None:
        return None
    return ToHost(ports=ports)
