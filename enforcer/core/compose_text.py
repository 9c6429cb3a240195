"""A composition as the text of a Compose file: the same text for the same declaration, whatever its names hold.

Every string is quoted unless no reader of YAML 1.1 or 1.2 can take it for anything else, and ``$`` is doubled, since Compose
replaces variables in quoted text, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from enforcer.core import compose as guide
from enforcer.core.compose import ComposeNetwork, ComposeService, Composition

Tree = str | bool | int | Sequence["Tree"] | Mapping[str, "Tree"]

HEAD = """\
# Rendered by `enforcer compose render`: change the declaration, not this file.
#
# Where the guide contradicts itself, this file has the safe reading:
#   - seccomp: "Container Security Configuration" has seccomp:unconfined. It is left out: the engine's own profile filters
#     system calls (and its AppArmor profile, docker-default, confines where the host has AppArmor).
#   - networks: "Container Specifications" has internal: false, "Network Topology" has internal: true for the same network.
#     It is internal: true, wherever the declaration does not say otherwise.
#   - data: the guide's device: ./data/... is relative. The engine reads it, not Compose, so it is absolute here; make the
#     directories with `enforcer volumes create --base`.
#   - NET_BIND_SERVICE is added only where the declaration asks for it ("only if needed").
#   - limits stand as mem_limit, cpus and pids_limit: the guide's place for them, deploy, is one where Compose 1 refuses pids;
#     the current one takes both for the same. memswap_limit is the memory limit: swap would double it.
"""

IPV6 = 6

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_ESCAPES = {'"': '\\"', "\\": "\\\\"}


def text_of_composition(composition: Composition) -> str:
    """The whole file, with a newline at its end."""
    tree: dict[str, Tree] = {
        "services": {s.name: _service(s) for s in composition.services},
        "networks": {n.name: _network(n) for n in composition.networks},
    }
    if volumes := {name: v for s in composition.services for name, v in _volumes(s, composition.data)}:
        tree["volumes"] = volumes
    return HEAD + "".join(f"\n{line}\n" if not line.startswith(" ") else f"{line}\n" for line in lines_of(tree))


def lines_of(tree: Mapping[str, Tree], indent: str = "") -> Iterator[str]:
    """A mapping as YAML: mappings in blocks, lists on one line."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{quoted(key)}:"
            yield from lines_of(value, indent + "  ")
        else:
            yield f"{indent}{quoted(key)}: {_inline(value)}"


def quoted(text: str) -> str:
    """``text`` as one YAML scalar that every reader takes for this text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_ESCAPES.get(c) or (c if _shows(c) else _escaped(c)) for c in text) + '"'


def _shows(character: str) -> bool:
    return character.isprintable() and ord(character) <= 0xFFFF  # beyond, libraries differ in what they take


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _inline(value: Tree) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {_inline(each)}" for key, each in value.items()) + "}"
    return "[" + ", ".join(_inline(each) for each in value) + "]"


def literal(text: str) -> str:
    """``text`` with its dollars doubled: Compose replaces variables, and this has none."""
    return text.replace("$", "$$")


def _service(it: ComposeService) -> Tree:
    size = guide.SIZES[it.size]
    memory = f"{size.memory}m"
    tree: dict[str, Tree] = {"container_name": it.name, "restart": guide.RESTART}
    tree |= {"build": {"context": literal(it.build)}} if it.build else {"image": it.image}
    tree |= {"labels": {"mcp.id": it.id, "mcp.type": it.type, "mcp.version": it.version}, "user": it.user}
    tree |= {"read_only": True, "security_opt": ["no-new-privileges:true"], "cap_drop": ["ALL"]}
    if it.capabilities:
        tree["cap_add"] = it.capabilities
    tree |= {
        "tmpfs": [f"{place}:{','.join(guide.TMPFS_OPTIONS)},size={most}M" for place, most in guide.TMPFS.items()],
        "cpus": size.cpus,
        "mem_limit": memory,
        "memswap_limit": memory,
        "mem_reservation": f"{size.memory // 2}m",
        "pids_limit": guide.PIDS,
        "environment": {key: literal(value) for key, value in _environment(it).items()},
    }
    if it.volumes:
        tree["volumes"] = [f"{it.name}-{v.purpose}:{v.destination}:{'ro' if v.read_only else 'rw'}" for v in it.volumes]
    tree["networks"] = it.networks
    if it.publish:
        tree["ports"] = it.publish
    tree["healthcheck"] = {"test": _health(it), **guide.HEALTH}
    tree["logging"] = {"driver": guide.LOG_DRIVER, "options": guide.LOG_OPTIONS}
    return tree


def _environment(it: ComposeService) -> dict[str, str]:
    """The guide's, where the declaration says nothing else."""
    own = {"NODE_ENV": "production", "MCP_ID": it.id, "MCP_PORT": str(it.port), "LOG_LEVEL": "info"}
    return own | dict(it.environment)


def _health(it: ComposeService) -> list[Tree]:
    if it.health:
        return ["CMD", *(literal(word) for word in it.health)]
    return ["CMD", "curl", "-f", f"http://localhost:{it.port}/health"]


def _network(it: ComposeNetwork) -> Tree:
    """``name``: else Compose puts its project's name before it, and the policy would not know the network."""
    tree: dict[str, Tree] = {"name": it.name, "driver": "bridge", "internal": it.internal}
    if it.subnet.version == IPV6:
        tree["enable_ipv6"] = True
    tree["ipam"] = {"config": [{"subnet": str(it.subnet)}]}
    return tree


def _volumes(it: ComposeService, data: str) -> Iterator[tuple[str, Tree]]:
    for volume in it.volumes:
        name = f"{it.name}-{volume.purpose}"
        tree: dict[str, Tree] = {"name": name, "driver": "local"}
        if volume.purpose == "data":
            tree["driver_opts"] = {"type": "none", "o": "bind", "device": literal(f"{data}/{it.name}")}
        yield name, tree
