"""Trying to write from inside a container, as its first process would, without needing a shell or a tool in it."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Sequence
from dataclasses import asdict

from enforcer.core.model import Container
from enforcer.core.outcome import Written
from enforcer.edges import writing
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.credentials import credentials_of
from enforcer.edges.inside import NOT_BACK, entrance, said_by
from enforcer.errors import ContainerGone

BOUND_S = 20.0
"""Within which all attempts in one container must have ended: a path that hangs (a dead NFS server) is not waited for."""


class Writes:
    """Tries to write from inside containers. Threads may share it. ``bound``: seconds for all attempts in one container."""

    def __init__(self, cgroups: Cgroups, *, bound: float = BOUND_S) -> None:
        self._cgroups, self._bound = cgroups, bound

    def attempt(self, container: Container, paths: Sequence[str]) -> dict[str, Written]:
        """Try to make a nameless file in each directory of a running container. ContainerGone; EdgeError, HostError."""
        with entrance(container, self._cgroups, "mnt") as place:
            own = credentials_of(container.pid)
            if select.select([place.container], [], [], 0)[0]:  # it has ended: these may be another process's by now
                raise ContainerGone(f"container {container.name} ended")
            if own.apart:
                return dict.fromkeys(paths, Written(tried=False, done=False, how="it has a user namespace of its own"))
            asked = {**asdict(place), **asdict(own), "paths": list(paths), "bound": self._bound}
            said = said_by(writing.__file__, asked, place, self._bound)
        found = {str(line["path"]): _written(int(line["ended"])) for line in said}
        return {path: found.get(path, Written(tried=False, done=False, how=NOT_BACK)) for path in paths}


def _written(ended: int) -> Written:
    if ended == writing.NO_ENTRY:
        return Written(tried=False, done=False, how="its namespaces or its cgroup cannot be entered")
    if ended < 0:
        return Written(tried=True, done=False, how=f"killed ({signal.Signals(-ended).name})")
    if ended:
        return Written(tried=True, done=False, how=f"{errno.errorcode.get(ended, ended)}: {os.strerror(ended)}")
    return Written(tried=True, done=True)
