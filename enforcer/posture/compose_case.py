"""One service of a Compose file as the checks of ``compose lint`` see it, and what they say of it."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from enforcer.core.compose import AGENT, GATEWAY
from enforcer.core.compose_file import BIND, ComposeFile, Entry, Mount, Said, names_of, pairs_of
from enforcer.core.document import Mark
from enforcer.posture.finding import Result

SERVICE_TYPE = "mcp.type"


@dataclass(frozen=True)
class Missing:
    """What a check found, and where in the file."""

    mark: Mark
    result: Result
    evidence: str
    fix: str


@dataclass(frozen=True)
class Source:
    """What is behind a mount: a volume's real name, or a path of the host; ``path`` is "" where that is the engine's affair."""

    name: str
    path: str


@dataclass(frozen=True)
class ServiceCase:
    """A service, and the file that it stands in."""

    it: Entry
    file: ComposeFile

    @property
    def name(self) -> str:
        """The name that its container will have, as far as the file says it."""
        return self.it.text("container_name") or self.it.name

    @cached_property
    def type(self) -> str:
        """Its label ``mcp.type``; without one it is held to what is asked of agents."""
        return pairs_of(self.it.node("labels")).get(SERVICE_TYPE) or AGENT

    @property
    def why(self) -> str:
        """Why it is held to be what ``type`` says."""
        said = pairs_of(self.it.node("labels")).get(SERVICE_TYPE)
        return f"its {SERVICE_TYPE} is {said}" if said else f"it has no label {SERVICE_TYPE}: {GATEWAY}"

    @property
    def gateway(self) -> bool:
        """May it be reached from outside?"""
        return self.type == GATEWAY

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What it mounts."""
        return self.it.mounts

    @cached_property
    def networks(self) -> tuple[Said, ...]:
        """The networks it names."""
        return names_of(self.it.node("networks"))

    def source(self, mount: Mount) -> Source:
        """What is behind one of its mounts."""
        if mount.kind == BIND:
            return Source("", _path(mount.source))
        volume = self.file.volumes.get(mount.source)
        if volume is None:
            return Source(mount.source, "")
        options = pairs_of(volume.node("driver_opts"))
        bound = "bind" in options.get("o", "").split(",") or options.get("type") == BIND
        name = real_name(volume) or mount.source
        return Source(name, _path(options["device"]) if bound and options.get("device") else "")


Check = Callable[[ServiceCase], Iterable[Missing]]
"""A check of one service: pure."""


def real_name(entry: Entry) -> str:
    """What Docker will call a network or volume of the file; "" where Compose puts its project's name before it."""
    if name := entry.text("name") or entry.text("external", "name"):
        return name
    return entry.name if external(entry) else ""


def external(entry: Entry) -> bool:
    """Was it made elsewhere?"""
    return entry.true("external") or bool(entry.text("external", "name"))


def warns(mark: Mark, evidence: str, fix: str) -> Missing:
    """For a person to look at."""
    return Missing(mark, Result.WARN, evidence, fix)


def fails(mark: Mark, evidence: str, fix: str) -> Missing:
    """It undoes what isolates the container."""
    return Missing(mark, Result.FAIL, evidence, fix)


def _path(text: str) -> str:
    return posixpath.normpath(text).replace("//", "/") if text else ""


def holds(outer: str, inner: str) -> bool:
    """Is ``inner`` the directory ``outer``, or below it? Both normalised."""
    return outer == inner or inner.startswith(outer.rstrip("/") + "/")


def cases(file: ComposeFile) -> Iterator[ServiceCase]:
    """Every service."""
    return (ServiceCase(service, file) for service in file.services)
