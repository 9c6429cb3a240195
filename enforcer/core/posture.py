"""What the policy's ``posture`` section says of containers: how they are to be made, beside what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from enforcer.core.checks import Check


@dataclass(frozen=True)
class PurposeVolume:
    """A volume that a container is to have, at ``destination``; it is called ``{name}-{purpose}``."""

    purpose: str
    destination: str
    read_only: bool = False


@dataclass(frozen=True)
class Limits:
    """The highest limits that a container may have: bytes, processors, processes; 0 where any limit will do."""

    memory: int = 0
    cpus: float = 0.0
    pids: int = 0


NO_LIMITS = Limits()
"""Any limit will do."""


@dataclass(frozen=True)
class PostureRule:
    """How some containers are to be made. ``id`` is its path in the document: ``posture.rules[0]``.

    What is None or empty it leaves to other rules, or to what follows from the rest of the policy. ``names`` are the
    containers that must run, ``count`` how many. ``publish``: ports as Docker writes them, ``3000/tcp``.
    """

    id: str
    who: tuple[str, ...]
    names: tuple[str, ...] = ()
    count: int | None = None
    user: str = ""
    networks: tuple[str, ...] | None = None
    volumes: tuple[PurposeVolume, ...] = ()
    limits: Limits = NO_LIMITS
    health: bool | None = None
    capabilities: tuple[str, ...] = ()
    publish: tuple[str, ...] | None = None
    accept: frozenset[Check] = frozenset()
