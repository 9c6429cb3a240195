"""In whose cgroup a process is, or was: asked of /proc while it lives, and remembered from its birth for when it does not.

An audit record names a process, and by the time it is read a short-lived one has ended. So forks and execs are followed: a
child is where its parent was, and a new program is looked up when it starts. Nothing is guessed beyond that.
"""

from __future__ import annotations

import logging
import re
import select
from collections import OrderedDict

from enforcer.edges.cgroup import Cgroups
from enforcer.edges.procevents import ProcEvent, ProcEvents, What
from enforcer.edges.procfs import Procfs
from enforcer.errors import ContainerGone, EdgeError, HostError

log = logging.getLogger(__name__)

KEPT = 65_536
"""Processes remembered, those that ended first go first: twice what a host with Linux's default pid_max can have."""

KEPT_KEEPERS = 8192

CONTAINER = re.compile(r"(?:^|/)(?:docker-)?([0-9a-f]{64})(?:\.scope)?(?=/|$)")
"""Docker's id in the path of a cgroup, by either cgroup driver (probes/subject.h reads the same)."""

KEEPER = re.compile(rb"(?:[^\0]*/)?(?:runc|containerd-shim[^\0/]*)\0(?:[^\0]*\0)*?([0-9a-f]{64})\0")
"""The command of a process of the host that begets a container's first program, or that of a `docker exec`, and whose it is."""

_BATCH = 512


class Lineage:
    """pid → path of its cgroup. ``missing`` says why births are not followed, "" if they are. One thread uses it."""

    def __init__(self, cgroups: Cgroups, *, procfs: Procfs | None = None) -> None:
        self._cgroups = cgroups
        self._procfs = procfs or Procfs()
        self._places: OrderedDict[int, str] = OrderedDict()
        self._keepers: OrderedDict[int, str] = OrderedDict()
        self.missing = ""
        self.events: ProcEvents | None = None
        self._overruns = 0
        try:
            self.events = ProcEvents()
        except HostError as e:
            self.missing = str(e)
            log.warning("what ends before it is looked at may not be placed: %s", e)
        self._look_around()  # after the stream has begun, so that nobody is missed in between

    def close(self) -> None:
        """Follow no longer."""
        if self.events:
            self.events.close()

    def follow(self) -> None:
        """Take in what has happened to processes since."""
        while self.events and select.select([self.events], [], [], 0)[0]:
            for event in self.events.read(_BATCH):
                self._take(event)
            if self.events.overruns != self._overruns:
                self._overruns = self.events.overruns
                self._look_around()

    def _look_around(self) -> None:
        """Forget what may be stale, since events are missing, and meet whoever is there."""
        self._places.clear()
        self._keepers.clear()
        for pid in self._procfs.pids():
            self._meet(pid)

    def _take(self, event: ProcEvent) -> None:
        if event.what is What.FORK:
            place = self._places.get(event.parent)
            self._keepers.pop(event.pid, None)
            if event.parent in self._keepers and not CONTAINER.search(place or ""):
                self._note(
                    event.pid, self._keepers[event.parent]
                )  # runc, which a shim begets to beget a container's program
            if place is None:
                self._places.pop(event.pid, None)  # the number was another's before
            else:
                self._keep(event.pid, place)
        elif event.what is What.EXEC:
            if self._meet(event.pid) is None:
                self._places.pop(event.pid, None)  # it may have been moved before it started the program
        elif event.pid in self._places:
            self._places.move_to_end(event.pid, last=False)

    def place(self, pid: int) -> str | None:
        """The path of the cgroup of a process that did something a moment ago; None if it cannot be told any more."""
        return self._look(pid) or self._places.get(pid)

    def heir(self, pid: int, parent: int) -> str | None:
        """Where a process is of which nothing else can be told: with a parent in a container, or in the one that the engine's
        processes which begot it are there for. None for a child of any other.
        """
        if pid in self._keepers:
            return self._keepers[pid]
        if parent not in self._keepers:
            place = self.place(parent)
            if place is None or CONTAINER.search(place):
                return place
            self._meet(parent)
        return self._keepers.get(parent)

    def _meet(self, pid: int) -> str | None:
        """Where a process is; and remember which container one of the engine's, which is in none, is there for."""
        place = self._look(pid)
        if place is not None and not CONTAINER.search(place):
            found = KEEPER.match(self._procfs.command(pid))
            if found:
                self._note(pid, f"/{found[1].decode('ascii')}")
        return place

    def _note(self, pid: int, container: str) -> None:
        self._keepers[pid] = container
        if len(self._keepers) > KEPT_KEEPERS:
            self._keepers.popitem(last=False)

    def _look(self, pid: int) -> str | None:
        try:
            place = self._cgroups.of_pid(pid)
        except (ContainerGone, EdgeError):
            return None
        self._keep(pid, place)
        return place

    def _keep(self, pid: int, place: str) -> None:
        self._places[pid] = place
        self._places.move_to_end(pid)
        if len(self._places) > KEPT:
            self._places.popitem(last=False)
