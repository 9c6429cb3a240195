"""Follows Docker and the policy's files, and has reconcile act: the loops that turn what happens into rows."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from dataclasses import dataclass

from enforcer.edges.dockerd import Dockerd, DockerEvent, Events
from enforcer.errors import EdgeError, EnforcerError
from enforcer.runtime.reconcile import Reconcile

log = logging.getLogger(__name__)

RECONNECT_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between attempts to reach the engine; the last one repeats: an engine may be down for hours."""

RETRIES = 5


@dataclass(frozen=True)
class Resync:
    """Read everything again."""


@dataclass(frozen=True)
class Reload:
    """Read the policy's files again and put them in force."""


Message = DockerEvent | Resync | Reload


class DockerFollower:
    """Reads Docker's events into ``messages``; when the engine goes away, waits for it and asks for a resync."""

    def __init__(
        self, dockerd: Dockerd, messages: queue.SimpleQueue[Message], stopped: Callable[[float], bool]
    ) -> None:
        self._dockerd, self._messages, self._stopped = dockerd, messages, stopped
        self._events: Events | None = None
        self._since: int | None = None
        self.connected = False

    def open(self) -> None:
        """Subscribe. What happens from now on is not missed, so the full reading comes after this. Raises EdgeError."""
        self._events = self._dockerd.events(self._since)
        self.connected = True

    def run(self) -> None:
        """Read until the end of the agent."""
        while not self._stopped(0):
            try:
                self._read()
            except EdgeError as e:
                self.connected = False
                if self._stopped(0):
                    return
                log.warning("%s", e)
                self._reconnect()

    def close(self) -> None:
        """End a wait for the next event."""
        if self._events:
            self._events.close()

    def _read(self) -> None:
        if self._events is None:
            self.open()
        for event in self._events or ():
            self._since = event.time_ns
            self._messages.put(event)

    def _reconnect(self) -> None:
        for attempt in range(1 << 30):
            if self._stopped(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)]):
                return
            try:
                self.open()
            except EdgeError:
                continue  # said once, by the caller; the state is in `status` and in the metrics
            log.warning("docker answers again: everything is read anew")
            self._messages.put(Resync())
            return


class Follower:
    """The reconcile loop: takes messages together, acts once. ``reload`` puts the policy's files in force."""

    def __init__(
        self,
        reconcile: Reconcile,
        messages: queue.SimpleQueue[Message | None],
        *,
        reload: Callable[[], None],
        published: Callable[[], None],
    ) -> None:
        self._reconcile, self._messages = reconcile, messages
        self._reload, self._published = reload, published
        self._failures = 0

    def run(self) -> None:
        """Act until ``None`` comes."""
        while (first := self._messages.get()) is not None:
            batch: list[Message] = [first]
            while not self._messages.empty():
                following = self._messages.get()
                if following is None:
                    return
                batch.append(following)
            self._act(batch)

    def _act(self, batch: list[Message]) -> None:
        """A failure is followed by a full reading, a bounded number of times in a row; then the next event tries again."""
        try:
            if Reload() in batch:
                self._reload()
            if Resync() in batch:
                self._reconcile.resync()
            elif events := [m for m in batch if isinstance(m, DockerEvent)]:
                self._reconcile.refresh(events)
            self._published()
            self._failures = 0
        except EnforcerError as e:
            self._failures += 1
            log.error("cannot follow the host: %s", e)
            if self._failures <= RETRIES:
                self._messages.put(Resync())
