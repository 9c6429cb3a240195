"""Questions to a journal: which records match, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from enforcer.core.event import Event, FileAttempt, Notice
from enforcer.core.model import Hook, Mechanism, Verdict
from enforcer.core.select import glob_match

KINDS = ("file", "network", "notice")
"""What a record can be about: an access to data, a connection, or the agent itself."""

_LIKE_ID = re.compile(r"[0-9a-f]*|.*[*?[].*", re.DOTALL)

SHORT_ID = 12
"""How much of a container's id Docker shows."""


@dataclass(frozen=True)
class Query:
    """Which records are asked for. Empty criteria hold for all; several values of one criterion are alternatives.

    ``since`` (inclusive) and ``until`` (exclusive) in ns since 1970. ``containers``, ``objects``, ``rules`` and
    ``processes`` are globs, or a text as it stands: ``data.rules[0]``. A container is matched by its name, its id or the
    twelve characters that Docker shows of it; an object by its name or ``kind:name``; a destination by its address, its
    network, the container there or the name that was asked for, a socket by its kind.
    """

    since: int | None = None
    until: int | None = None
    containers: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    kinds: tuple[str, ...] = ()
    mechanisms: tuple[Mechanism, ...] = ()
    hooks: tuple[Hook, ...] = ()
    rules: tuple[str, ...] = ()
    processes: tuple[str, ...] = ()

    def matches(self, item: Event | Notice) -> bool:
        """Does ``item`` meet every criterion? A notice has no facts of an attempt, but may name a container or a network."""
        return (
            (self.since is None or item.time_ns >= self.since)
            and (self.until is None or item.time_ns < self.until)
            and (not self.kinds or kind_of(item) in self.kinds)
            and (not self.containers or _any_match(self.containers, _containers(item)))
            and (not self.objects or _any_match(self.objects, _targets(item)))
            and (not self._of_attempts or (isinstance(item, Event) and self._fits(item)))
        )

    @property
    def names(self) -> tuple[str, ...]:
        """``containers``, if they can only be names; empty where one of them may be an id, or match one."""
        return () if any(_LIKE_ID.fullmatch(pattern) for pattern in self.containers) else self.containers

    @property
    def _of_attempts(self) -> bool:
        """Is something asked for that only an attempt has?"""
        return any((self.verdicts, self.mechanisms, self.hooks, self.rules, self.processes))

    def _fits(self, event: Event) -> bool:
        return (
            (not self.verdicts or event.verdict in self.verdicts)
            and (not self.mechanisms or event.mechanism in self.mechanisms)
            and (not self.hooks or event.hook in self.hooks)
            and (not self.rules or _any_match(self.rules, event.rule))
            and (not self.processes or _any_match(self.processes, (event.process.name,)))
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


def kind_of(item: Event | Notice) -> str:
    """Which of ``KINDS`` a record is of."""
    if isinstance(item, Notice):
        return "notice"
    return "file" if isinstance(item.attempt, FileAttempt) else "network"


def containers_of(item: Event | Notice) -> tuple[str, str]:
    """The name and the id of the container that a record is about; a notice that is about none has neither."""
    if isinstance(item, Event):
        return item.who.name, item.who.id
    name = str(item.fields.get("container", ""))
    return name, str(item.fields.get("id", "")) if name else ""


def _containers(item: Event | Notice) -> tuple[str, ...]:
    """What a container is asked for by. An attempt by one without a name is matched by ``*``, too; other notices are not."""
    name, id_ = containers_of(item)
    found = (name, id_, id_[:SHORT_ID])
    return found if isinstance(item, Event) else tuple(filter(None, found))


def _targets(item: Event | Notice) -> tuple[str, ...]:
    if isinstance(item, Notice):
        return tuple(filter(None, (str(item.fields.get("network", "")),)))
    attempt = item.attempt
    if isinstance(attempt, FileAttempt):
        return attempt.object.name, f"{attempt.object.kind}:{attempt.object.name}"
    texts = (attempt.address, attempt.network, attempt.peer, attempt.name, attempt.socket)
    return tuple(filter(None, texts))


def _any_match(patterns: Iterable[str], texts: Iterable[str]) -> bool:
    found = tuple(texts)
    return any(pattern == text or glob_match(pattern, text) for pattern in patterns for text in found)
