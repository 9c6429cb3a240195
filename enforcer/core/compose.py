"""The guide's containers as a deployment wants them: what a Compose file is rendered from. No text and no YAML yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from enforcer.core.model import Prefix
from enforcer.core.posture import PurposeVolume

UID = 1001
"""Of the guide's user, and of its group."""

PIDS = 100
"""Of every class: the guide's "Container Security Configuration"."""


class Size(NamedTuple):
    """A class of the guide's "Resource Allocation Guidelines": processors, memory in MiB."""

    cpus: str
    memory: int


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "lightweight": Size("0.25", 256),
        "standard": Size("0.5", 512),
        "heavy": Size("1.0", 1024),
        "critical": Size("2.0", 2048),
    }
)
"""The guide's table, by the class's first word."""

AGENT, GATEWAY, DATABASE, ORCHESTRATOR = TYPES = ("agent", "gateway", "database", "orchestrator")
"""Values of the label ``mcp.type``. The guide has "agent"; the others are its topology's."""

KEEPERS = (AGENT, ORCHESTRATOR)
"""The types that have logs and a configuration of their own."""

VOLUMES = (
    PurposeVolume("data", "/app/data"),
    PurposeVolume("logs", "/app/logs"),
    PurposeVolume("config", "/app/config", read_only=True),
)
"""The guide's "Filesystem Permissions"."""

TMPFS = MappingProxyType({"/tmp": 100, "/run": 50})  # noqa: S108 -- a place in a container
"""What can be written of a read-only root: its place, with its size in MiB ("Container Security Configuration")."""

TMPFS_OPTIONS = ("noexec", "nosuid")
"""Of each; ``size`` besides."""

HEALTH: Mapping[str, str | int] = MappingProxyType(
    {"interval": "30s", "timeout": "10s", "retries": 3, "start_period": "40s"}
)
"""The guide's "Health Check Standards"."""

LOG_DRIVER = "json-file"
LOG_OPTIONS = MappingProxyType({"max-size": "10m", "max-file": "3", "labels": "mcp.id,mcp.type"})
"""The guide's "Logging Configuration"."""

LABELS = ("mcp.id", "mcp.type", "mcp.version")
"""What every container says of itself."""

RESTART = "unless-stopped"


DOCKERS = ("host", "bridge", "none")
"""Networks of Docker's own: what has such a name is no network of ours."""

_FAILS = re.compile(r"--fail(-with-body)?|-[a-zA-Z]*f[a-zA-Z]*")


def takes_every_answer(words: Iterable[str]) -> bool:
    """Would this health check never fail? To curl an error of the server is an answer, unless it is told otherwise."""
    each = [part for word in words for part in word.split()]
    return "curl" in each and not any(_FAILS.fullmatch(part) for part in each)


@dataclass(frozen=True)
class ComposeNetwork:
    """A network: nothing leaves it unless it is declared ``internal: false``."""

    name: str
    subnet: Prefix
    internal: bool = True


@dataclass(frozen=True)
class ComposeService:
    """One container. ``build`` is a directory, ``image`` a name with a digest: one of them is given.

    ``health`` is the command that tells whether it is well; empty: the guide's, which asks ``/health`` at ``port``.
    """

    name: str
    networks: tuple[str, ...]
    port: int
    build: str = ""
    image: str = ""
    type: str = AGENT
    size: str = "standard"
    version: str = "1.0.0"
    user: str = f"{UID}:{UID}"
    publish: tuple[str, ...] = ()
    volumes: tuple[PurposeVolume, ...] = VOLUMES
    health: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The guide's MCP_ID: the name without "mcp-"."""
        return self.name.removeprefix("mcp-")


@dataclass(frozen=True)
class Composition:
    """A whole declaration. ``data`` is the directory of the host below which each container's data lies."""

    data: str
    networks: tuple[ComposeNetwork, ...]
    services: tuple[ComposeService, ...]
