"""What many records come to: when, how many attempts with which verdict, under which policies. Constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from enforcer.core.event import Event, Who
from enforcer.core.model import Verdict

CONTAINERS = 250
"""Containers that a tally tells apart: more come and go in a year than a picture can show. The rest are one."""

POLICIES = 32
"""Policy hashes that are named; what comes after is only counted."""

OTHERS = "other containers"
"""What the rest is called. No Docker name has a space in it."""


@dataclass
class Overview:
    """The head of a picture. ``first`` and ``last`` in ns since 1970, ``None`` until there is an attempt.

    ``policies`` are hashes in the order of their first record, ``more_policies`` those that found no place.
    """

    first: int | None = None
    last: int | None = None
    attempts: Counter[Verdict] = field(default_factory=Counter)
    policies: dict[str, None] = field(default_factory=dict)
    more_policies: bool = False

    def add(self, event: Event) -> None:
        """Count one record."""
        begin = event.first_ns or event.time_ns
        self.first = begin if self.first is None else min(self.first, begin)
        self.last = event.time_ns if self.last is None else max(self.last, event.time_ns)
        self.attempts[event.verdict] += event.count
        if len(self.policies) < POLICIES or event.policy in self.policies:
            self.policies[event.policy] = None
        else:
            self.more_policies = True

    @property
    def total(self) -> int:
        """Attempts of every verdict."""
        return self.attempts.total()


class Names:
    """The containers that a tally tells apart, at most ``CONTAINERS``: those that were recorded first."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, who: Who) -> str:
        """What the container is called in the tally, raw: its name, else its id, else ``OTHERS``."""
        name = called(who)
        if name not in self._known:
            if len(self._known) >= CONTAINERS:
                return OTHERS
            self._known.add(name)
        return name


class Weight(NamedTuple):
    """By what the important is chosen where not all can be shown: the worst verdict, then how often."""

    worst: Verdict
    attempts: int


def called(who: Who) -> str:
    """How people call a container: by its name, or by its id where it has none."""
    return who.name or who.id


def weight(counts: Mapping[Verdict, int]) -> Weight:
    """Of attempts by verdict."""
    return Weight(max(counts, default=Verdict.ALLOWED), sum(counts.values()))
