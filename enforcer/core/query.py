"""Questions to a journal: which records match, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice
from enforcer.core.model import Verdict
from enforcer.core.select import glob_match

KINDS = ("file", "network", "notice")
"""What a record can be about: an access to data, a connection, or the agent itself."""


@dataclass(frozen=True)
class Query:
    """Which records are asked for. Empty criteria hold for all; several values of one criterion are alternatives.

    ``since`` (inclusive) and ``until`` (exclusive) in ns since 1970. ``containers`` and ``objects`` are globs. An
    object is matched by its name or ``kind:name``, a destination by its address, its network or the container there.
    """

    since: int | None = None
    until: int | None = None
    containers: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    kinds: tuple[str, ...] = ()

    def matches(self, item: Event | Notice) -> bool:
        """Does ``item`` meet every criterion? A notice has no verdict and no object; it may name a container."""
        return (
            (self.since is None or item.time_ns >= self.since)
            and (self.until is None or item.time_ns < self.until)
            and (not self.kinds or _kind(item) in self.kinds)
            and (not self.verdicts or (isinstance(item, Event) and item.verdict in self.verdicts))
            and (not self.containers or _any_match(self.containers, [_container(item)]))
            and (not self.objects or (isinstance(item, Event) and _any_match(self.objects, _targets(item.attempt))))
        )


@dataclass(frozen=True)
class Total:
    """What one container's attempts with one verdict come to. ``first`` and ``last`` in ns since 1970."""

    container: str
    verdict: Verdict
    attempts: int
    first: int
    last: int


class Tally:
    """Totals, fed record by record; notices are passed over."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, Verdict], Total] = {}

    def add(self, item: Event | Notice) -> None:
        """Count one record."""
        if isinstance(item, Notice):
            return
        key = (item.who.name or item.who.id, item.verdict)
        found = self._totals.get(key, Total(*key, attempts=0, first=item.time_ns, last=item.time_ns))
        first, last = min(found.first, item.time_ns), max(found.last, item.time_ns)
        self._totals[key] = replace(found, attempts=found.attempts + item.count, first=first, last=last)

    @property
    def totals(self) -> tuple[Total, ...]:
        """By container and verdict."""
        return tuple(self._totals[key] for key in sorted(self._totals))


def _kind(item: Event | Notice) -> str:
    if isinstance(item, Notice):
        return "notice"
    return "file" if isinstance(item.attempt, FileAttempt) else "network"


def _container(item: Event | Notice) -> str:
    return item.who.name if isinstance(item, Event) else str(item.fields.get("container", ""))


def _targets(attempt: FileAttempt | NetAttempt) -> tuple[str, ...]:
    if isinstance(attempt, FileAttempt):
        return attempt.object.name, f"{attempt.object.kind}:{attempt.object.name}"
    return tuple(name for name in (attempt.address, attempt.network, attempt.peer) if name)


def _any_match(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    found = tuple(texts)
    return any(glob_match(pattern, text) for pattern in patterns for text in found)
