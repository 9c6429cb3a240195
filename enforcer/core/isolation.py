"""Which of the host's devices have to be shut, so that no packet socket of a quarantined container sends or hears a frame.

The hooks of its cgroup stop all else that it sends and gets. A device is a whole network namespace's, and those who share it with
the container and are free must not suffer: then it stays open, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a running container is on the network. ``namespace`` is the inode of its network namespace.

    ``devices`` are the host's ends of its cables, ``interfaces`` how many it has itself, loopback aside.
    """

    name: str
    namespace: int
    quarantined: bool
    devices: tuple[str, ...] = ()
    interfaces: int = 0


@dataclass(frozen=True)
class Isolation:
    """``devices`` to shut; ``open``: quarantined container whose packet sockets are not stopped → why."""

    devices: frozenset[str] = frozenset()
    open: tuple[tuple[str, str], ...] = ()


def isolate(places: Sequence[Place], host: int) -> Isolation:
    """What to shut for the quarantined among ``places``. ``host`` is the host's network namespace."""
    devices: set[str] = set()
    unheld: list[tuple[str, str]] = []
    for place in sorted((p for p in places if p.quarantined), key=lambda p: p.name):
        free = sorted(p.name for p in places if p.namespace == place.namespace and not p.quarantined)
        if place.namespace == host:
            unheld.append((place.name, "it is on the host's own network, which is not cut: stop it if it may have one"))
        elif free:
            unheld.append((place.name, f"it shares its network with {', '.join(free)}: quarantine that as well"))
        else:
            devices.update(place.devices)
            if missing := place.interfaces - len(place.devices):
                why = f"{missing} of its interfaces are no cables to this host (macvlan, ipvlan, or made by itself)"
                unheld.append((place.name, why))
    return Isolation(frozenset(devices), tuple(unheld))
