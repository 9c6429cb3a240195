"""Trying from inside a container: a child of ours enters its network namespace by pid, so that it needs no shell and no tools.

The child then enters the container's cgroup as well: only there do the enforcer's hooks judge it as they judge the
container. It is in there for the length of one round of calls, leaves at once when the container ends, and is killed if it stays.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from typing import Any

from enforcer.core.explain import Destination
from enforcer.core.model import Container
from enforcer.core.outcome import Outcome, Tried
from enforcer.edges import calls
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.procfs import PROC
from enforcer.errors import ContainerGone, EdgeError, HostError

SPARE_S = 10.0
"""What a loaded machine may need beyond the calls themselves, to start the child and to end it."""

NOT_BACK = "the process did not come back: is the container paused?"


@dataclass(frozen=True)
class Place:
    """A way into a container: a pidfd of its first process, its namespace, and its cgroup's list of processes; -1 for none."""

    container: int = -1
    namespace: int = -1
    cgroup: int = -1


class Inside:
    """Makes calls from inside containers. ``seconds``: how long one may take to be answered. Threads may share it.

    The child is killed ``spare`` seconds after the last of its calls must have ended.
    """

    def __init__(self, cgroups: Cgroups, *, seconds: float, spare: float = SPARE_S) -> None:
        self._cgroups, self._seconds, self._spare = cgroups, seconds, spare

    def call(self, container: Container, targets: Sequence[Destination]) -> dict[Destination, Tried]:
        """Try each target from inside a running container. ContainerGone if it ends; EdgeError, HostError."""
        with entrance(container, self._cgroups, "net") as place:
            found = self._calls(targets, place)
            if select.select([place.container], [], [], 0)[0]:  # a pidfd is readable once its process has ended
                raise ContainerGone(f"container {container.name} ended")
        return found

    def from_here(self, targets: Sequence[Destination]) -> dict[Destination, Outcome]:
        """Try each target from the network namespace of this process."""
        return {target: tried.namespace for target, tried in self._calls(targets, Place()).items()}

    def _calls(self, targets: Sequence[Destination], place: Place) -> dict[Destination, Tried]:
        rounds = 1 if place.cgroup < 0 else 2
        batches = -(-len(targets) // calls.AT_ONCE)
        bound = rounds * batches * self._seconds + self._spare
        asked = {
            **asdict(place),
            "targets": [(t.host, t.port, t.protocol) for t in targets],
            "seconds": self._seconds,
            "bound": bound,
        }
        said = said_by(calls.__file__, asked, place, bound)
        return _found(targets, [*said, *[{"why": NOT_BACK}] * (2 - len(said))])


@contextmanager
def entrance(container: Container, cgroups: Cgroups, namespace: str) -> Iterator[Place]:
    """A way into a running container, for the length of a ``with``. ``namespace``: ``net`` or ``mnt``.

    Raises ContainerGone, EdgeError, HostError.
    """
    opened: list[int] = []
    try:
        try:
            opened.append(os.pidfd_open(container.pid))
            opened.append(os.open(PROC / str(container.pid) / "ns" / namespace, os.O_RDONLY | os.O_CLOEXEC))
            procs = cgroups.root / _path(container, cgroups).lstrip("/") / "cgroup.procs"
            opened.append(os.open(procs, os.O_WRONLY | os.O_CLOEXEC))
        except (FileNotFoundError, ProcessLookupError) as e:
            raise ContainerGone(f"container {container.name} ended") from e
        except PermissionError as e:
            raise HostError(f"cannot enter container {container.name}: this needs root in the host's namespaces") from e
        except OSError as e:
            raise EdgeError(f"cannot enter container {container.name}: {e.strerror}") from e
        yield Place(*opened)
    finally:
        for fd in opened:
            os.close(fd)


def _path(container: Container, cgroups: Cgroups) -> str:
    path = cgroups.of_pid(container.pid)
    if container.id not in path:  # the pid is another process's by now
        raise ContainerGone(f"container {container.name} ended")
    return path


def said_by(program: str, asked: Mapping[str, object], place: Place, bound: float) -> list[dict[str, Any]]:
    """What a child of ours that runs ``program`` said, line by line, as far as it came before it was killed."""
    command = [sys.executable, "-I", "-S", program]
    kept = tuple(fd for fd in astuple(place) if fd >= 0)
    with subprocess.Popen(  # noqa: S603 -- our own interpreter and program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=kept
    ) as child:
        try:
            out, _ = child.communicate(json.dumps(asked).encode(), timeout=bound)
        except subprocess.TimeoutExpired:
            child.kill()
            out, _ = child.communicate()
    lines = []
    for line in out.splitlines():
        with suppress(json.JSONDecodeError):  # it was killed in the middle of a line
            lines.append(json.loads(line))
    return lines


def _found(targets: Sequence[Destination], said: Sequence[Mapping[str, Any]]) -> dict[Destination, Tried]:
    first, second = (s.get("found", ["untried"] * len(targets)) for s in said[:2])
    why = next((str(s["why"]) for s in said[:2] if "why" in s), "")
    return {
        target: Tried(Outcome(namespace), Outcome(container), why)
        for target, namespace, container in zip(targets, first, second, strict=True)
    }
