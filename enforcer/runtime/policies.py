"""The policy's files: read at the start, watched, and read again when they change. Files that do not load change nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable

from enforcer.core.model import Policy
from enforcer.edges.inotify import News, around
from enforcer.edges.policyfile import fingerprint, load
from enforcer.errors import PolicyError
from enforcer.runtime.guard import Tell
from enforcer.settings import WATCH_S, Settings

log = logging.getLogger(__name__)


class PolicyFiles:
    """What ``settings`` name as the policy. ``policy`` is the one to compare with, ``failures`` how often none loaded.

    Raises ``PolicyError`` if there is none to begin with.
    """

    def __init__(self, settings: Settings) -> None:
        self.path, self._mode = settings.policy, settings.mode
        self._fingerprint = fingerprint(self.path)  # before it is read: a change in between is not missed
        self.policy = load(self.path, self._mode)
        self.failures = 0
        self._news = News()

    def run(self, stopped: Callable[[float], bool], changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever the files are others, until ``stopped`` (and ``wake``)."""
        while not stopped(0):
            if self.changed():
                changed()
            self._news.wait(around(self.path), WATCH_S)

    def wake(self) -> None:
        """End the wait of ``run``."""
        self._news.wake()

    def changed(self) -> bool:
        """Whether the files are others than when this was last asked."""
        before, self._fingerprint = self._fingerprint, fingerprint(self.path)
        return before != self._fingerprint

    def again(self, tell: Tell) -> Policy | None:
        """The policy if it is another one now. A bad file is None, and is put on record."""
        try:
            policy = load(self.path, self._mode)
        except PolicyError as e:
            self.failures += 1
            for line in str(e).splitlines():
                log.error("the policy does not load, the running one stays: %s", line)
            tell("policy-refused", str(e.problems[0]), outcome="failure", problems=len(e.problems))
            return None
        return None if policy == self.policy else policy
