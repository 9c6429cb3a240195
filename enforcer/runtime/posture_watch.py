"""Keeps looking at how containers are made, while the agent runs: what `verify` finds by looking, as a metric.

Nothing is tried in a container: attempts are an operator's to order. So ``data-write`` is no part of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from enforcer.edges.dockerd import Dockerd
from enforcer.errors import EnforcerError
from enforcer.runtime.reconcile import Snapshot
from enforcer.sinks.posture_metrics import PostureMetrics, PostureReading

if TYPE_CHECKING:
    from enforcer.core.model import Facts, Policy
    from enforcer.posture.finding import Finding
    from enforcer.runtime.posture import Seen

log = logging.getLogger(__name__)

PERIOD_S = 60.0
"""The longest time between two looks: health, limits and owners change without an event that the agent follows."""

SHARE = 10
"""A look is followed by a pause of so many times its own length: on a host of thousands of containers it takes a tenth at most."""


def seen_of(facts: Facts, dockerd: Dockerd, address: str) -> Seen:
    """As ``runtime.posture`` does it, which a start need not wait for."""
    from enforcer.runtime import posture  # noqa: PLC0415 -- a tenth of what a start imports

    return posture.seen_of(facts, dockerd, address)


def judge(policy: Policy, facts: Facts, seen: Seen) -> Iterable[Finding]:
    """The same."""
    from enforcer.runtime import posture  # noqa: PLC0415 -- as above

    return posture.judge(policy, facts, seen)


class PostureWatch:
    """Looks again when the agent's picture of the host has changed (``wake``), and once a minute. One thread runs it."""

    def __init__(self, dockerd: Dockerd, address: str, snapshot: Callable[[], Snapshot | None]) -> None:
        self._dockerd, self._address, self._snapshot = dockerd, address, snapshot
        self._seen: Snapshot | None = None
        self._at = self._not_before = 0.0
        self._woken = threading.Event()
        self._judged: Seen | None = None
        self._judged_for: Snapshot | None = None
        self._checks: Counter[tuple[str, str, str]] = Counter()
        self.reading = PostureReading()
        self.metrics = PostureMetrics(lambda: self.reading)

    def wake(self) -> None:
        """The agent's picture may have changed. Any thread may call it; it returns at once."""
        self._woken.set()

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Look whenever it is due, until ``stopped`` (and ``wake``)."""
        while not stopped(0):
            self._woken.clear()
            self.look()
            self._woken.wait(self._patience())

    def _patience(self) -> float:
        snapshot, now = self._snapshot(), time.monotonic()
        due = self._at + PERIOD_S if snapshot is self._seen else now
        return PERIOD_S if snapshot is None else max(0.0, due - now, self._not_before - now)

    def look(self) -> None:
        """Look if it is due. What fails is said, the last reading stays, and its time says how old it is."""
        now, snapshot = time.monotonic(), self._snapshot()
        due = snapshot is not self._seen or now >= self._at + PERIOD_S
        if snapshot is None or now < self._not_before or not due:
            return
        self._seen, self._at = snapshot, now
        try:
            seen = seen_of(snapshot.facts, self._dockerd, self._address)
        except EnforcerError as e:
            log.warning("the containers' posture could not be looked at: %s", e)
        else:
            if snapshot is not self._judged_for or seen != self._judged:  # what has not changed is judged as it was
                self._checks = Counter(
                    (f.check, f.container, str(f.result)) for f in judge(snapshot.policy, snapshot.facts, seen)
                )
                self._judged_for, self._judged = snapshot, seen
            self.reading = PostureReading(self._checks, time.time())
        self._not_before = time.monotonic() + SHARE * (time.monotonic() - now)
