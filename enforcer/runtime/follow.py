"""Follows Docker: one thread hears events, one looks at the host, one writes rows, so that none waits for another."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from enforcer.core.model import Facts
from enforcer.edges.dockerd import Dockerd, DockerEvent, Events
from enforcer.errors import EdgeError, EnforcerError
from enforcer.runtime.facts import Survey, concerned

log = logging.getLogger(__name__)

RECONNECT_S = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between attempts to reach the engine; the last one repeats: an engine may be down for hours."""

RETRY_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Waits before a failed look at the host is repeated; the last one repeats until it succeeds."""


@dataclass(frozen=True)
class Resync:
    """Read everything again."""


@dataclass(frozen=True)
class Reload:
    """Read the policy's files again and put them in force."""


Message = DockerEvent | Resync | Reload
T = TypeVar("T")

Settled = Mapping[str, int]
"""Containers (ids) that have been looked at, each with the time of the last event that led there (``DockerEvent.time_ns``)."""


class DockerFollower:
    """Hands Docker's events to ``tell``; when the engine goes away, waits for it and asks for a resync."""

    def __init__(self, dockerd: Dockerd, tell: Callable[[Message], None], stopped: Callable[[float], bool]) -> None:
        self._dockerd, self._tell, self._stopped = dockerd, tell, stopped
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
            self._tell(event)

    def _reconnect(self) -> None:
        for attempt in range(1 << 30):
            if self._stopped(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)]):
                return
            try:
                self.open()
            except EdgeError:
                continue  # said once, by the caller; the state is in `status` and in the metrics
            log.warning("docker answers again: everything is read anew")
            self._tell(Resync())
            return


class Writer:
    """The loop of the only thread that changes the kernel's maps: it does what it is given, one task after the other.

    ``failed`` is told of a task that could not be done, and what has to happen again; the loop goes on. Each of ``done`` is told
    that one was.
    """

    def __init__(self, failed: Callable[[EnforcerError, Message], None], *done: Callable[[], None]) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], object], Message] | None] = queue.SimpleQueue()
        self._failed, self._done = failed, done

    def put(self, task: Callable[[], object], again: Message) -> None:
        """Have a task done soon; ``again`` is what to do if it fails. Any thread may call it."""
        self._tasks.put((task, again))

    def do(self, task: Callable[[], T], again: Message, *, seconds: float) -> T | None:
        """Have a task done and wait for what it returns; None if it fails, or takes longer."""
        answer: queue.SimpleQueue[T] = queue.SimpleQueue()
        self.put(lambda: answer.put(task()), again)
        try:
            return answer.get(timeout=seconds)
        except queue.Empty:
            return None

    def end(self) -> None:
        """End the loop after what waits."""
        self._tasks.put(None)

    def run(self) -> None:
        """Work until the end."""
        while (item := self._tasks.get()) is not None:
            task, again = item
            try:
                task()
                for tell in self._done:
                    tell()
            except EnforcerError as e:
                self._failed(e, again)


class Heard:
    """Hands Docker's events to ``hear`` on the writer's thread, all that wait at once: what a crowd does is one change."""

    def __init__(self, writer: Writer, hear: Callable[[list[DockerEvent]], None]) -> None:
        self._writer, self._hear = writer, hear
        self._events: queue.SimpleQueue[DockerEvent] = queue.SimpleQueue()

    def put(self, event: DockerEvent) -> None:
        """Have it heard soon. Any thread may call it."""
        self._events.put(event)
        self._writer.put(self._tell, Resync())

    def _tell(self) -> None:
        if waiting := [self._events.get() for _ in range(self._events.qsize())]:
            self._hear(waiting)


class Surveyor:
    """Looks at the host when something happens and hands what it finds to the writer.

    ``reload`` is given the survey that knows the host, and returns the one that takes its place, or None if none does.

    It has a thread of its own, because the engine may take half a second for an answer while it starts a container; a new
    container must be known before that (``Reconcile.hear``).
    """

    def __init__(
        self,
        survey: Survey,
        *,
        found: Callable[[Facts, Settled], None],
        reload: Callable[[Survey], Survey | None],
        stopped: Callable[[float], bool],
    ) -> None:
        self._survey, self._found, self._reload, self._stopped = survey, found, reload, stopped
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._failures = 0
        self._waiting: dict[str, int] = {}  # what has been heard of and not been looked at yet

    @property
    def behind(self) -> bool:
        """True while what is in force may not be what the host is: a look has failed and has not yet been made good."""
        return self._failures > 0

    def put(self, message: Message | None) -> None:
        """Something happened; None ends the loop. Any thread may call it."""
        self._messages.put(message)

    def run(self) -> None:
        """Look until None comes. What has gathered meanwhile is looked at together."""
        self._look_further()
        while (first := self._messages.get()) is not None:
            batch: list[Message] = [first]
            while not self._messages.empty():
                following = self._messages.get()
                if following is None:
                    return
                batch.append(following)
            self._act(batch)
            self._look_further()

    def _look_further(self) -> None:
        """While nothing happens: the slow part of a look, one data object at a time."""
        try:
            while self._messages.empty() and (facts := self._survey.look_for_links()):
                self._found(facts, {})
        except EnforcerError as e:
            self.failed(e, Resync())

    def failed(self, error: EnforcerError, again: Message) -> None:
        """Do ``again`` after a while that grows with the failures in a row."""
        self._failures += 1
        log.error("cannot follow the host: %s", error)
        self.put(again)

    def _act(self, batch: list[Message]) -> None:
        events = [m for m in batch if isinstance(m, DockerEvent)]
        for event in events:
            if who := concerned(event):  # the latest: UTC may be set back between two
                self._waiting[who] = max(event.time_ns, self._waiting.get(who, 0))
        if self._failures and self._stopped(RETRY_S[min(self._failures, len(RETRY_S)) - 1]):
            return
        try:
            if Reload() in batch:
                self._survey = self._reload(self._survey) or self._survey
            if self._failures or Resync() in batch:
                self._settle(self._survey.full())
            elif events:
                # volumes and networks first: they must be known before the container that uses them runs
                for event in sorted(events, key=lambda e: e.kind == "container"):
                    facts = self._survey.after(event)
                self._settle(facts)
            self._failures = 0
        except EnforcerError as e:
            self.failed(e, Reload() if Reload() in batch else Resync())

    def _settle(self, facts: Facts) -> None:
        settled, self._waiting = self._waiting, {}
        self._found(facts, settled)
