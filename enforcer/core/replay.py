"""What would another policy have done? Recorded attempts judged again, and what comes out differently, grouped for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from enforcer.core.compile_net import QUARANTINE
from enforcer.core.decide import decide
from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Who
from enforcer.core.hindsight import Answer, Hindsight
from enforcer.core.model import Access, Mechanism, Mode, Policy, Verdict
from enforcer.core.words import escape, target_words

GROUPS = 4096
"""Groups with a target of their own; what comes after them is grouped by network or kind, so that a scan fills no memory."""

_ONLY_OBSERVE = (Mechanism.AUDIT,)


@dataclass(frozen=True)
class Judged:
    """A recorded event and what the policy makes of it. ``rule``: the ids of the rules that answer, if any does.

    ``was`` and ``was_rule`` are what it is compared with: what was recorded, or what another policy makes of it.
    """

    event: Event
    verdict: Verdict
    granted: Access
    mode: Mode
    rule: tuple[str, ...]
    was: Verdict
    was_rule: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Would it have gone another way? A kill is the denial of a mechanism that can only kill: these two are one."""
        return _decision(self.verdict) is not _decision(self.was)


@dataclass(frozen=True)
class Change:
    """Attempts that all go the same new way. ``count`` in attempts, ``first`` and ``last`` in ns since 1970.

    ``rule`` is what answers now, ``was_rule`` what answered when they were recorded; ``target`` is escaped text.
    """

    container: str
    target: str
    asked: Access
    was: Verdict
    now: Verdict
    was_rule: tuple[str, ...]
    rule: tuple[str, ...]
    count: int
    first: int
    last: int


class Comparison:
    """How a policy differs from what was recorded: ``attempts`` judged, ``changed`` of them. An entry per group."""

    def __init__(self) -> None:
        self.attempts = 0
        self.changed = 0
        self._groups: dict[tuple[object, ...], Change] = {}

    def add(self, judged: Judged) -> None:
        """Count one judgement, and group it if it changed."""
        self.attempts += judged.event.count
        if judged.changed:
            self.changed += judged.event.count
            change = _change(judged)
            if len(self._groups) >= GROUPS and _key(change) not in self._groups:
                change = replace(change, target=_broad(judged.event.attempt))
            found = self._groups.get(_key(change))
            self._groups[_key(change)] = _merged(found, change) if found else change

    @property
    def changes(self) -> tuple[Change, ...]:
        """The groups, those with most attempts first."""
        return tuple(sorted(self._groups.values(), key=lambda c: (-c.count, c.container, c.target, c.asked)))


class Replay:
    """Judges recorded events by ``policy``, and compares with what ``against`` makes of them: None for what was recorded."""

    def __init__(self, policy: Policy, against: Policy | None = None) -> None:
        self._policy = Hindsight(policy)
        self._against = Hindsight(against) if against else None

    def judge(self, event: Event) -> Judged:
        """One event, judged. What an operator's quarantine refused is not the policy's doing: no policy changes it."""
        if event.rule == (QUARANTINE,):
            return Judged(event, event.verdict, event.granted, event.mode, event.rule, event.verdict, event.rule)
        now = self._policy.answer(event)
        verdict, was, was_rule = _verdict(event, now), event.verdict, event.rule
        if self._against:
            then = self._against.answer(event)
            was, was_rule = _verdict(event, then), then.rule
        return Judged(event, verdict, now.granted, now.mode, now.rule, was, was_rule)

    def alike(self, event: Event) -> bool:
        """Whether no change comes of it, wherever outside the container's networks the attempt had gone."""
        by = (self._policy, self._against) if self._against else (self._policy,)
        return all(hindsight.wherever(event) for hindsight in by) and not self.judge(event).changed


def replay(policy: Policy, events: Iterable[Event | Notice], against: Policy | None = None) -> Iterator[Judged]:
    """Each event judged by ``policy``, in order. Notices are passed over."""
    judge = Replay(policy, against).judge
    return (judge(event) for event in events if isinstance(event, Event))


def _verdict(event: Event, answer: Answer) -> Verdict:
    return _by(event, decide(answer.granted, event.asked, answer.mode))


def _by(event: Event, verdict: Verdict) -> Verdict:
    """What the mechanism that saw the attempt would have made of ``verdict``."""
    if verdict is not Verdict.DENIED:
        return verdict
    observed_only = event.verdict is Verdict.OBSERVED and event.mode is Mode.ENFORCE
    # what is open already can be cut if it is a connection, never if it is a file
    open_file = event.mechanism is Mechanism.SWEEP and isinstance(event.attempt, FileAttempt)
    if observed_only or open_file or event.mechanism in _ONLY_OBSERVE:
        return Verdict.OBSERVED
    return Verdict.KILLED if event.mechanism is Mechanism.TRACEPOINT else Verdict.DENIED


def _decision(verdict: Verdict) -> Verdict:
    return Verdict.DENIED if verdict is Verdict.KILLED else verdict


def _change(judged: Judged) -> Change:
    event, who = judged.event, judged.event.who
    return Change(
        container=_called(who),
        target=target_words(event.attempt),
        asked=event.asked,
        was=judged.was,
        now=judged.verdict,
        was_rule=judged.was_rule,
        rule=judged.rule,
        count=event.count,
        first=event.first_ns or event.time_ns,
        last=event.time_ns,
    )


def _key(change: Change) -> tuple[object, ...]:
    return change.container, change.target, change.asked, change.was, change.now, change.was_rule, change.rule


def _broad(attempt: FileAttempt | NetAttempt) -> str:
    """The target by its kind or network only."""
    if isinstance(attempt, FileAttempt):
        return f"other objects: {attempt.object.kind}"
    return f"other addresses {'outside' if attempt.external else 'on'} {escape(attempt.network) or 'no network'}"


def _called(who: Who) -> str:
    return who.name or who.id


def _merged(one: Change, other: Change) -> Change:
    return replace(
        one, count=one.count + other.count, first=min(one.first, other.first), last=max(one.last, other.last)
    )
