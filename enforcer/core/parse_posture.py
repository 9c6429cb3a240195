"""The ``posture`` section: how containers are to be made, so that `verify` knows what to expect."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from enforcer.core.checks import Check
from enforcer.core.cursor import Cursor, Fields, shown, suggestion
from enforcer.core.model import Selector
from enforcer.core.parse_text import exact_name, who_of
from enforcer.core.posture import Limits, PostureRule, PurposeVolume
from enforcer.core.protocols import WITH_PORTS
from enforcer.core.select import glob_match

T = TypeVar("T", bound=Hashable)

_HEALTH = {"required": True, "optional": False}
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_MEMORY = re.compile(r"([0-9]{1,15})([bkmg]?)", re.IGNORECASE)
_CPUS = re.compile(r"[0-9]{1,5}(\.[0-9]{1,3})?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_CAPABILITY = re.compile(r"[A-Z_]+")
_PURPOSE = re.compile(r"[A-Za-z0-9_.-]+")
_PORT = re.compile(r"([1-9][0-9]{0,4})/(\w+)")
_LAST_PORT = 65535
_READ_ONLY = ":ro"


def posture_of(cursors: Iterable[Cursor], *, containers: Mapping[str, Selector | None]) -> tuple[PostureRule, ...]:
    """The rules of ``posture.rules``."""
    return tuple(r for c in cursors if (r := _rule(c, containers)))


def _rule(cursor: Cursor, containers: Mapping[str, Selector | None]) -> PostureRule | None:
    fields = cursor.fields("posture rule")
    if fields is None:
        return None
    who_cursor = fields.need("who", hint='name one or more of "containers"')
    who = who_of(who_cursor, containers) if who_cursor else ()
    names, count = fields.get("names"), fields.get("count")
    if names and count:
        count.refuse('stands beside "names", which are counted already; keep one')
    networks, publish, health = fields.get("networks"), fields.get("publish"), fields.get("health")
    return PostureRule(
        id=cursor.path,
        who=who,
        names=each_of(names, lambda c: _name(c, [containers.get(w) for w in who])),
        count=_number(count) if count else None,
        user=(user_of(user) or "") if (user := fields.get("user")) else "",
        networks=each_of(networks, _network) if networks else None,
        volumes=volumes_of(fields.get("volumes")),
        limits=_limits(fields.get("limits")),
        health=_health(health) if health else None,
        capabilities=each_of(fields.get("capabilities"), capability_of),
        publish=each_of(publish, _port) if publish else None,
        accept=frozenset(each_of(fields.get("accept"), _check)),
    )


def each_of(section: Cursor | None, read: Callable[[Cursor], T | None]) -> tuple[T, ...]:
    """The elements of a list, each as ``read`` has it. One that is listed twice is refused."""
    found: list[T] = []
    for item in (section.items() if section else None) or []:
        value = read(item)
        if value in found:
            item.refuse("is listed twice; keep one")
        elif value is not None:
            found.append(value)
    return tuple(found)


def _name(cursor: Cursor, selectors: Collection[Selector | None]) -> str | None:
    """A container's name that the rule's ``who`` can stand for: a slip would be a container that is missed for ever."""
    name = exact_name(cursor, hint="name each container exactly")
    if name is not None and selectors and None not in selectors and not any(_may_be(s, name) for s in selectors if s):
        cursor.refuse(f'no selector of "who" matches "{shown(name)}"; correct the name, or the rule\'s who')
    return name


def _may_be(selector: Selector, name: str) -> bool:
    fits = selector.name is None or glob_match(selector.name, name)
    return fits and not any(glob_match(e, name) for e in selector.excluded)


def _network(cursor: Cursor) -> str | None:
    return exact_name(cursor, hint="a network is named exactly, as `docker network ls` shows it")


def _matched(cursor: Cursor, pattern: re.Pattern[str], hint: str) -> str | None:
    text = cursor.text()
    if text is None or pattern.fullmatch(text):
        return text
    cursor.refuse(f'"{shown(text)}" is not understood; write {hint}')
    return None


def _number(cursor: Cursor) -> int | None:
    text = _matched(cursor, _NUMBER, "a number, such as 20")
    return int(text) if text else None


def user_of(cursor: Cursor) -> str | None:
    """``1001:1001``, or names in their place."""
    return _matched(cursor, _USER, 'a user, or user and group: "1001:1001"')


def capability_of(cursor: Cursor) -> str | None:
    """``NET_BIND_SERVICE``, with or without ``CAP_``."""
    text = _matched(cursor, _CAPABILITY, "a capability, such as NET_BIND_SERVICE")
    return text.removeprefix("CAP_") if text else None


def _port(cursor: Cursor) -> str | None:
    text = _matched(cursor, _PORT, "a port of the container, such as 3000/tcp")
    if text is None:
        return None
    port, _, protocol = text.partition("/")
    if protocol not in WITH_PORTS:
        cursor.refuse(f'unknown protocol "{shown(protocol)}"; {suggestion(protocol.lower(), WITH_PORTS)}')
    elif int(port) > _LAST_PORT:
        cursor.refuse(f"{port} is past the last port, {_LAST_PORT}")
    return text


def chosen(cursor: Cursor, known: Mapping[str, T], what: str) -> T | None:
    """What stands for one of the ``known`` words; another is refused, the nearest named."""
    text = cursor.text()
    if text is not None and text not in known:
        cursor.refuse(f'unknown {what} "{shown(text)}"; {suggestion(text, known)}')
    return None if text is None else known.get(text)


def _health(cursor: Cursor) -> bool | None:
    return chosen(cursor, _HEALTH, "word")


def _check(cursor: Cursor) -> Check | None:
    """Any but the one that looks at all containers together: what need not be there is left out of ``names``."""
    return chosen(cursor, {str(check): check for check in Check if check is not Check.EXISTENCE}, "check")


def _limits(cursor: Cursor | None) -> Limits:
    fields = cursor.fields("limits") if cursor else None
    if fields is None:
        return Limits()
    memory, cpus, pids = (_limit(fields, key) for key in ("memory", "cpus", "pids"))
    return Limits(memory=int(memory), cpus=cpus, pids=int(pids))


def _limit(fields: Fields, key: str) -> float:
    """The limit in bytes, processors or processes; 0 for one that is not given. A limit of nothing is refused."""
    cursor = fields.get(key)
    patterns = {"memory": (_MEMORY, "512M or 1G"), "cpus": (_CPUS, "0.5 or 2"), "pids": (_NUMBER, "a number")}
    text = _matched(cursor, *patterns[key]) if cursor else None
    if cursor is None or text is None:
        return 0
    size = _MEMORY.fullmatch(text) if key == "memory" else None
    value = int(size[1]) * _UNITS[size[2].lower()] if size else float(text)
    if not value:
        cursor.refuse("is a limit of nothing, which Docker takes for no limit; leave it out if any will do")
    return value


def volumes_of(cursor: Cursor | None) -> tuple[PurposeVolume, ...]:
    """``{data: /app/data, config: "/app/config:ro"}``."""
    found = []
    for purpose, place in ((cursor.entries() if cursor else None) or {}).items():
        text = place.text()
        if text is None:
            continue
        if not _PURPOSE.fullmatch(purpose):
            place.refuse(f'"{shown(purpose)}" cannot end a volume\'s name; use letters, digits, "_", "." and "-"')
        destination = text.removesuffix(_READ_ONLY)
        parts = destination.split("/")[1:]
        if not destination.startswith("/") or not all(parts) or {".", ".."} & set(parts):
            place.refuse(f'"{shown(text)}" is no place in a container; write /app/data, or /app/config:ro')
        found.append(PurposeVolume(purpose, destination, read_only=text.endswith(_READ_ONLY)))
    return tuple(found)
