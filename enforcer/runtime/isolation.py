"""Keeps the host's ends of quarantined containers' cables shut: a packet socket passes no hook of a cgroup, but every device."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

from enforcer.core.isolation import Isolation, Place, isolate
from enforcer.core.model import Container, Facts
from enforcer.edges.procfs import Procfs
from enforcer.errors import EdgeError, HostError

if TYPE_CHECKING:
    from enforcer.edges.nft_netdev import NetdevTable

log = logging.getLogger(__name__)

DEAF = "this kernel cannot shut a device outwards (CONFIG_NETFILTER_EGRESS, Linux 5.17)"


class Cordon:
    """The table ``name`` on devices, of the agent ``owner``. ``follow`` and ``check`` are for one thread, the rest for any.

    What cannot be done is not raised but told by ``degraded``, and every look tries again.
    """

    def __init__(self, name: str, owner: str) -> None:
        self._name, self._owner = name, owner
        self._procfs = Procfs()
        self._facts = Facts()
        self._made = Isolation()
        self._trouble = ""

    @cached_property
    def table(self) -> NetdevTable:
        """The table, to be written."""
        from enforcer.edges.nft_netdev import NetdevTable  # noqa: PLC0415 -- carries pyroute2, as in runtime.guard

        return NetdevTable(self._name, self._owner)

    def follow(self, facts: Facts) -> None:
        """Make it what it has to be now; nothing is asked of the kernel while nobody is quarantined and nobody was."""
        self._facts = facts
        if facts.quarantined or self._made != Isolation() or self._trouble:
            self.check()

    def check(self) -> bool:
        """Look whether the devices are as they have to be, and make it so; whether somebody else had changed that."""
        try:
            wanted = isolate(self._places(), self._procfs.network())
            changed = self.table.keep(wanted.devices)
        except (HostError, EdgeError) as e:
            why = str(e) if self._quarantined() or self._made.devices else ""
            if why and why != self._trouble:
                log.error("packet sockets of quarantined containers are not stopped: %s", why)
            self._trouble = why
            return False
        tampered = changed and wanted.devices == self._made.devices and bool(wanted.devices) and not self._trouble
        self._made, self._trouble = wanted, ""
        return tampered

    def degraded(self) -> dict[str, str]:
        """What is not held although it should be → why."""
        if self._trouble:
            names = ", ".join(sorted(c.name for c in self._quarantined()))
            return {f"packet sockets of {names or 'quarantined containers'} are not stopped": self._trouble}
        found = {f"packet sockets of quarantined {name} are not stopped": why for name, why in self._made.open}
        if self._made.devices and not self.table.both:
            found["packet sockets of quarantined containers go on hearing"] = DEAF
        return found

    def _quarantined(self) -> list[Container]:
        containers = self._facts.containers
        return [containers[i] for i in self._facts.quarantined if i in containers and containers[i].pid]

    def _places(self) -> list[Place]:
        """Every running container that is quarantined, and every one that shares a network namespace with one of them."""
        cut = [c for c in self._quarantined() if self._runs(c)]
        if not cut:
            return []
        from enforcer.edges.cables import cables  # noqa: PLC0415 -- carries pyroute2

        devices = cables(c.pid for c in cut)
        concerned = {self._procfs.network(c.pid) for c in cut} - {0}
        running = [(c, self._procfs.network(c.pid)) for c in self._facts.containers.values() if c.pid]
        return [
            Place(
                c.name,
                namespace,
                c.id in self._facts.quarantined,
                devices.get(c.pid, ()),
                # it may have moved one to a namespace of its own making
                max(self._procfs.interfaces(c.pid), len(c.attachments)),
            )
            for c, namespace in running
            if namespace in concerned
        ]

    def _runs(self, container: Container) -> bool:
        """Is the process still the container's? Its number may have gone to another one, which must not be cut off."""
        try:
            return container.id in self._procfs.cgroup(container.pid)
        except EdgeError:
            return False
