"""What stands in a Compose file, its short and long forms made one (https://github.com/compose-spec/compose-spec).

Everything keeps its place. A node of the wrong shape is refused: what is not understood must not look harmless.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from enforcer.core.cursor import shown
from enforcer.core.document import Document, Items, Mark, Node, Scalar, Table
from enforcer.errors import PolicyError, Problem

BIND, VOLUME, TMPFS = "bind", "volume", "tmpfs"

_TEXT, _LIST, _MAPPING = "text", "a list", "a mapping"
_SHAPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(("user", "image", "read_only", "privileged", "restart", "container_name"), (_TEXT,)),
        **dict.fromkeys(("network_mode", "pid", "ipc", "uts", "userns_mode"), (_TEXT,)),
        **dict.fromkeys(("mem_limit", "cpus", "pids_limit", "cpu_quota"), (_TEXT,)),
        **dict.fromkeys(("security_opt", "cap_drop", "cap_add", "ports", "volumes", "volumes_from"), (_LIST,)),
        **dict.fromkeys(("healthcheck", "logging", "deploy"), (_MAPPING,)),
        **dict.fromkeys(("networks", "labels"), (_LIST, _MAPPING)),
        "tmpfs": (_TEXT, _LIST),
        "build": (_TEXT, _MAPPING),
        "extends": (_TEXT, _MAPPING),
    }
)
"""Of the keys of a service that are looked at."""

_TRUE = frozenset({"true", "yes", "on", "y"})
"""The current Compose takes each for true, Compose 1 the first three."""

_FREE = frozenset({"environment", "env_file", "command", "entrypoint", "labels", "healthcheck", "build", "logging"})
"""Keys of a service in which variables decide nothing that is looked at."""


@dataclass(frozen=True)
class Said:
    """A text, and where it stands."""

    text: str
    mark: Mark


@dataclass(frozen=True)
class Mount:
    """One entry of ``volumes``. ``source`` is "" for an anonymous volume."""

    kind: str
    source: str
    target: str
    read_only: bool
    mark: Mark


@dataclass(frozen=True)
class Entry:
    """A named mapping of the file: a service, a network, a volume. ``mark`` is its name's place."""

    name: str
    mark: Mark
    keys: Mapping[str, Scalar]
    fields: Mapping[str, Node]

    @cached_property
    def mounts(self) -> tuple[Mount, ...]:
        """What a service mounts, ``tmpfs`` aside."""
        return _mounts_of(self.node("volumes"))

    def at(self, key: str) -> Mark:
        """Where ``key`` stands, or, where it is missing, the entry."""
        return self.keys[key].mark if key in self.keys else self.mark

    def text(self, *path: str) -> str:
        """The text at a path of keys; "" if there is none."""
        return text_of(self.node(*path))

    def node(self, *path: str) -> Node | None:
        """What stands at a path of keys."""
        node = self.fields.get(path[0])
        for key in path[1:]:
            node = fields_of(node).get(key)
        return node

    def true(self, *path: str) -> bool:
        """Is it switched on?"""
        return self.text(*path).lower() in _TRUE


@dataclass(frozen=True)
class ComposeFile:
    """A whole file. ``elsewhere`` are the places of what stands in other files or comes from the environment."""

    services: tuple[Entry, ...]
    networks: Mapping[str, Entry]
    volumes: Mapping[str, Entry]
    elsewhere: tuple[tuple[str, Said], ...] = ()


def compose_file_of(document: Document) -> ComposeFile:
    """The Compose file in ``document``. Raises ``PolicyError`` for what has no shape that Compose takes."""
    found: list[Problem] = []
    root = document.roots[0]
    top = fields_of(root)
    if "services" not in top:
        found.append(
            _problem(root.mark, "compose", 'lacks "services": this is no Compose file of any version from 2 on')
        )
    services, networks, volumes = (_entries(top.get(k), k, found) for k in ("services", "networks", "volumes"))
    for service in services:
        found += _misshapen(service)
    if found:
        raise PolicyError(tuple(found))
    tables = (*services, *networks, *volumes)
    elsewhere = [("", Said("include", key.mark)) for key in _keys(root) if key.text == "include"]
    elsewhere += [(entry.name, said) for entry in tables for said in _elsewhere(entry)]
    return ComposeFile(services, {n.name: n for n in networks}, {v.name: v for v in volumes}, tuple(elsewhere))


def fields_of(node: Node | None) -> dict[str, Node]:
    """The values of a mapping by their keys; nothing for any other node."""
    return {key.text: value for key, value in node.entries} if isinstance(node, Table) else {}


def text_of(node: Node | None) -> str:
    """The text of a scalar, "" for any other node and for YAML's null."""
    return node.text if isinstance(node, Scalar) and not node.empty else ""


def texts_of(node: Node | None) -> tuple[Said, ...]:
    """A list of texts, or the one that stands in its place."""
    nodes = node.nodes if isinstance(node, Items) else (node,)
    return tuple(Said(n.text, n.mark) for n in nodes if isinstance(n, Scalar) and not n.empty)


def pairs_of(node: Node | None) -> dict[str, str]:
    """``[a=b]`` or ``{a: b}``: labels, environment, options."""
    if isinstance(node, Table):
        return {key: text_of(value) for key, value in fields_of(node).items()}
    return {name: value for name, _, value in (said.text.partition("=") for said in texts_of(node))}


def names_of(node: Node | None) -> tuple[Said, ...]:
    """``[a, b]`` or ``{a: {...}, b: }``: the networks of a service."""
    return tuple(Said(key.text, key.mark) for key in _keys(node)) or texts_of(node)


def ports_of(service: Entry) -> tuple[Said, ...]:
    """What a service publishes, as ``8080:80`` however it is written."""
    node = service.node("ports")
    found = []
    for each in node.nodes if isinstance(node, Items) else ():
        if isinstance(each, Table):
            said = fields_of(each)
            ends = (text_of(said.get("published")), text_of(said.get("target")))
            found.append(Said(":".join(end for end in ends if end), each.mark))
        elif text_of(each):
            found.append(Said(text_of(each), each.mark))
    return tuple(found)


def _mounts_of(node: Node | None) -> tuple[Mount, ...]:
    each = node.nodes if isinstance(node, Items) else ()
    return tuple(_long(n) if isinstance(n, Table) else _short(text_of(n), n.mark) for n in each)


def _long(node: Table) -> Mount:
    said = fields_of(node)
    kind, source, target = (text_of(said.get(key)) for key in ("type", "source", "target"))
    sources = source or text_of(said.get("src"))
    targets = target or text_of(said.get("dst")) or text_of(said.get("destination"))
    return Mount(kind or VOLUME, sources, targets, text_of(said.get("read_only")).lower() in _TRUE, node.mark)


def _short(text: str, mark: Mark) -> Mount:
    """``TARGET``, ``SOURCE:TARGET`` or ``SOURCE:TARGET:MODES``. A source is a path if it begins as one."""
    parts = text.split(":")
    if len(parts) == 1:
        return Mount(VOLUME, "", text, read_only=False, mark=mark)
    modes = parts[2].split(",") if len(parts) > 2 else []
    kind = BIND if parts[0].startswith(("/", ".", "~", "$")) else VOLUME
    return Mount(kind, parts[0], parts[1], "ro" in modes, mark)


def _keys(node: Node | None) -> tuple[Scalar, ...]:
    return tuple(key for key, _ in node.entries) if isinstance(node, Table) else ()


def _entries(node: Node | None, section: str, found: list[Problem]) -> tuple[Entry, ...]:
    if node is None or (isinstance(node, Scalar) and node.empty):
        return ()
    if not isinstance(node, Table):
        found.append(_problem(node.mark, section, "must be a mapping"))
        return ()
    entries = []
    for key, value in node.entries:
        if isinstance(value, Table) or (isinstance(value, Scalar) and value.empty):
            keys = {k.text: k for k in _keys(value)}
            entries.append(Entry(key.text, key.mark, keys, fields_of(value)))
        else:
            found.append(_problem(value.mark, f"{section}.{shown(key.text)}", "must be a mapping"))
    return tuple(entries)


def _misshapen(service: Entry) -> Iterator[Problem]:
    for key, shapes in _SHAPES.items():
        node = service.fields.get(key)
        if node is None or (isinstance(node, Scalar) and node.empty) or _shape(node) in shapes:
            continue
        path = f"services.{shown(service.name)}.{key}"
        yield _problem(node.mark, path, f"must be {' or '.join(shapes)}, is {_shape(node)}")


def _shape(node: Node) -> str:
    if isinstance(node, Table):
        return _MAPPING
    return _LIST if isinstance(node, Items) else _TEXT


def _elsewhere(entry: Entry) -> Iterator[Said]:
    """Where an entry depends on another file or on the environment of whoever runs Compose."""
    if "extends" in entry.fields:
        yield Said("extends", entry.at("extends"))
    waiting = [node for key, node in entry.fields.items() if key not in _FREE]
    seen: set[int] = set()  # a node may stand in many places by its aliases; without recursion, for they nest
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Scalar) and "$" in node.text.replace("$$", ""):
            yield Said(node.text, node.mark)
        elif isinstance(node, Items):
            waiting.extend(node.nodes)
        elif isinstance(node, Table):
            waiting.extend(value for _, value in node.entries)


def _problem(mark: Mark, path: str, reason: str) -> Problem:
    return Problem(mark.file, mark.line, mark.column, path, reason)
