"""Whose is a connection? Containers, by the cgroups in which their sockets were made, and by the processes that hold them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import psutil

from enforcer.core.model import Container
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.flows import Flow
from enforcer.edges.procfs import Procfs
from enforcer.errors import EdgeError
from enforcer.runtime.facts import container_cgroup
from enforcer.runtime.reconcile import Snapshot


@dataclass
class Owner:
    """A container that runs: its subject id, the ids of its own cgroup and those below, and its processes."""

    container: Container
    subject: int
    cgroups: tuple[int, ...]
    pids: tuple[int, ...]
    procfs: Procfs

    def holder(self, inode: int) -> tuple[int, str]:
        """The process that holds a socket, and its name; 0 and "" if none does any more."""
        pid, _ = self.holders.get(inode, (0, 0))
        try:
            return (pid, psutil.Process(pid).name()) if pid else (0, "")
        except psutil.Error:
            return pid, ""

    @cached_property
    def holders(self) -> dict[int, tuple[int, int]]:
        """The sockets that its processes hold, by inode: which does, by which descriptor. Looked at once, when it is asked for."""
        return {inode: (pid, fd) for pid in self.pids for inode, fd in self.procfs.sockets(pid).items()}


class Owners:
    """The containers of a snapshot that run, with their cgroups and processes as they are now."""

    def __init__(self, snapshot: Snapshot, cgroups: Cgroups) -> None:
        self._cgroups, self._procfs = cgroups, Procfs()
        running = (c for c in snapshot.facts.containers.values() if c.pid)
        found = (self._owner(c, snapshot.state.ids.subject(c.id)) for c in running)
        self._owners = [owner for owner in found if owner]
        self._of = {cgroup: owner for owner in self._owners for cgroup in owner.cgroups}

    def of(self, flow: Flow) -> Owner | None:
        """The container whose connection it is, or None: the host's.

        A container may have cgroups of its own, and remove one while it keeps the sockets: those are whoever's holds them.
        """
        if found := self._of.get(flow.cgroup):
            return found
        return None if flow.cgroup in self._there else self._heirs.get(flow.inode)

    def holding(self, inode: int) -> Owner | None:
        """The container one of whose processes holds a socket, or None."""
        return self._heirs.get(inode)

    def namespaces(self) -> Collection[list[int]]:
        """The processes in each network namespace: containers may share one, also with the host, or have several."""
        found: dict[int, list[int]] = {}
        for pid in (pid for owner in self._owners for pid in owner.pids):
            if namespace := self._procfs.network(pid):
                found.setdefault(namespace, []).append(pid)
        return found.values()

    def names(self, pid: int) -> str:
        """The container that a process belongs to."""
        return ", ".join(owner.container.name for owner in self._owners if pid in owner.pids)

    def _owner(self, container: Container, subject: int) -> Owner | None:
        try:
            place = container_cgroup(self._cgroups.of_pid(container.pid), container.id)
            ids = (self._cgroups.id_of(place), *self._cgroups.below(place)) if place else ()
            return Owner(container, subject, ids, self._cgroups.processes(place), self._procfs) if ids else None
        except EdgeError:
            return None  # it has ended, and its connections with it

    @cached_property
    def _there(self) -> frozenset[int]:
        """Every cgroup that there is."""
        return frozenset((self._cgroups.id_of("/"), *self._cgroups.below("/")))

    @cached_property
    def _heirs(self) -> dict[int, Owner]:
        return {inode: owner for owner in self._owners for inode in owner.holders}
