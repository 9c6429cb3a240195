"""What the engine says of one container, as far as the checks of its posture look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NO_HEALTH_CHECK = "none"


@dataclass(frozen=True)
class Owner:
    """Whose a directory is: numeric owner and group, and the bits of its mode."""

    uid: int
    gid: int
    mode: int


@dataclass(frozen=True)
class Mounted:
    """One mount of a container. ``kind`` is ``volume``, ``bind`` or ``tmpfs``; ``name`` is a volume's.

    ``path`` is where its data lies on the host, without symbolic links: a bind-backed volume's device. ``owner`` is None where
    it cannot be seen.
    """

    kind: str
    destination: str
    name: str = ""
    path: str = ""
    writable: bool = True
    owner: Owner | None = None


@dataclass(frozen=True)
class Inspection:
    """One container. ``mode`` has the namespace modes (``net``, ``pid``, ``ipc``, ``uts``, ``userns``) as the engine writes them.

    ``health`` is ``none`` without a health check. ``memory`` in bytes, ``cpus`` in processors; 0 is no limit. ``uid`` is what
    its first process runs as, None where it does not run. ``published``: container port → the host's addresses and ports.
    """

    id: str
    name: str
    image: str = ""
    status: str = ""
    running: bool = False
    health: str = NO_HEALTH_CHECK
    health_said: str = ""
    user: str = ""
    uid: int | None = None
    networks: tuple[str, ...] = ()
    memory: int = 0
    cpus: float = 0.0
    pids: int = 0
    read_only: bool = False
    privileged: bool = False
    mode: Mapping[str, str] = field(default_factory=dict)
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    apparmor: str = ""
    mounts: tuple[Mounted, ...] = ()
    published: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineSecurity:
    """What confines the engine's containers beside namespaces. ``sockets``: where the engine itself listens, without links."""

    seccomp: bool = True
    labels: bool = True
    """AppArmor or SELinux."""
    sockets: frozenset[str] = frozenset()
