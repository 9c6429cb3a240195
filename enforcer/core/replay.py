"""What would another policy have done? Recorded attempts judged again, through the same ``compile`` and ``decide``.

An event carries the facts that judging it needs. From them a host is made that holds just the container, the object or
the destination, and the policy is compiled for that host: replay decides nothing by itself. What an event does not
carry: who holds an address outside the container's networks, labels and image of a peer, and other names of the same
object. A grant that only these would show is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from enforcer.core.compile import compile
from enforcer.core.compile_net import FORESEEN, QUARANTINE
from enforcer.core.decide import decide, judge_name, judge_net, judge_object, judge_socket
from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Who
from enforcer.core.ids import SPECIAL, Ids, Reserved, allocate
from enforcer.core.image import NET, Image
from enforcer.core.model import (
    Access,
    Attachment,
    Container,
    DataObject,
    Facts,
    Inode,
    Kind,
    Mechanism,
    Mode,
    Network,
    ObjectId,
    Policy,
    Verdict,
)
from enforcer.core.objects import protect
from enforcer.core.words import target_words

CACHED = 1 << 16
"""Distinct questions whose answers are kept: a flood over many destinations must not fill the memory."""

_GENERATION = 1
_SUBJECT, _PEER = "0" * 63 + "1", "0" * 63 + "2"
_ANY_ACCESS = Access.READ | Access.WRITE | Access.EXEC | Access.CONNECT
_ONLY_OBSERVE = (Mechanism.AUDIT,)


@dataclass(frozen=True)
class Judged:
    """A recorded event and what the policy makes of it. ``rule``: the ids of the rules that answer, if any does."""

    event: Event
    verdict: Verdict
    granted: Access
    mode: Mode
    rule: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Would it have gone another way? A kill is the denial of a mechanism that can only kill: these two are one."""
        return _decision(self.verdict) is not _decision(self.event.verdict)


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
            key = (change.container, change.target, change.asked, change.was, change.now, change.was_rule, change.rule)
            found = self._groups.get(key)
            self._groups[key] = _merged(found, change) if found else change

    @property
    def changes(self) -> tuple[Change, ...]:
        """The groups, those with most attempts first."""
        return tuple(sorted(self._groups.values(), key=lambda c: (-c.count, c.container, c.target, c.asked)))


class _Question(NamedTuple):
    """What an answer depends on; equal for all events of one container and one target."""

    id: str
    name: str
    image: str
    labels: frozenset[tuple[str, str]]
    networks: tuple[str, ...]
    internal: tuple[str, ...]
    target: ObjectId | NetAttempt
    foreseen: bool


class _Answer(NamedTuple):
    granted: Access
    mode: Mode
    rule: tuple[str, ...]


def replay(policy: Policy, events: Iterable[Event | Notice]) -> Iterator[Judged]:
    """Each event judged by ``policy``, in order. Notices are passed over."""
    answers = lru_cache(maxsize=CACHED)(lambda question: _answer(policy, question))
    return (_judged(answers, event) for event in events if isinstance(event, Event))


def _judged(answers: Callable[[_Question], _Answer], event: Event) -> Judged:
    if event.rule == (QUARANTINE,):  # not the policy's doing: no policy changes it
        return Judged(event, event.verdict, event.granted, event.mode, event.rule)
    answer = answers(_question(event))
    verdict = _by(event, decide(answer.granted, event.asked, answer.mode))
    return Judged(event, verdict, answer.granted, answer.mode, answer.rule)


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


def _question(event: Event) -> _Question:
    who, attempt = event.who, event.attempt
    target = attempt if isinstance(attempt, NetAttempt) else attempt.object
    labels, foreseen = frozenset(who.labels.items()), event.rule == (FORESEEN,)
    return _Question(who.id, who.name, who.image, labels, who.networks, who.internal, target, foreseen)


def _answer(policy: Policy, question: _Question) -> _Answer:
    target = question.target
    facts = _facts(question)
    ids = allocate(Ids(), policy, facts)
    image = compile(policy, facts, ids, _GENERATION)
    subject = ids.subject(_SUBJECT) if _SUBJECT in facts.containers else int(Reserved.UNNAMED)
    if isinstance(target, NetAttempt):
        return _net_answer(image, subject, target)
    if not _placed(target):
        number = next((number for number, name in SPECIAL.items() if name == target), int(Reserved.NOBODY))
        return _file_answer(image, subject, number)
    if target not in protect(policy, facts).objects:
        return _Answer(_ANY_ACCESS, Mode.MONITOR, ())
    return _file_answer(image, subject, ids.object(target))


def _file_answer(image: Image, subject: int, number: int) -> _Answer:
    judged = judge_object(image, subject=subject, number=number, asked=_ANY_ACCESS)
    return _Answer(judged.granted, judged.mode, image.reasons.get((subject, number), ()))


def _net_answer(image: Image, subject: int, to: NetAttempt) -> _Answer:
    if to.resolver:
        judged = judge_name(image, subject=subject)
    elif to.socket:
        judged = judge_socket(image, subject=subject, socket=to.socket, protocol=to.protocol)
    else:
        judged = judge_net(image, subject=subject, address=to.address, protocol=to.protocol, port=to.port)
    return _Answer(judged.granted, judged.mode, image.reasons.get((subject, NET), ()))


def _placed(target: ObjectId) -> bool:
    """Is it a data object? Paths are absolute; a name that is none stands for what could not be placed: nothing grants that."""
    if target.kind is Kind.PATH:
        return target.name.startswith("/")
    return target.kind in (Kind.VOLUME, Kind.LAYER)


def _facts(question: _Question) -> Facts:
    """The smallest host on which the question can be asked. A container that was unnamed is on none."""
    if not isinstance(question.target, NetAttempt):
        objects = {question.target: DataObject(question.target, (Inode(0, 1),))} if _placed(question.target) else {}
        return Facts(_containers(_container(question)), _networks(question), objects)
    to = question.target
    there = (Attachment(to.network, (to.address,)),) if to.peer else ()
    itself = to.peer == question.name
    peer = Container(_PEER, to.peer, pid=1, attachments=there) if to.peer and not itself else None
    container = _container(question, there if itself else ())
    return Facts(_containers(container, peer), _networks(question, to))


def _containers(*found: Container | None) -> dict[str, Container]:
    return {container.id: container for container in found if container}


def _container(question: _Question, own: tuple[Attachment, ...] = ()) -> Container | None:
    if not question.id:
        return None
    attachments = own + tuple(Attachment(n) for n in question.networks if n not in {a.network for a in own})
    labels = dict(question.labels)
    found = Container(_SUBJECT, question.name, question.image, labels=labels, attachments=attachments, pid=1)
    return replace(found, foreseen=question.foreseen)


def _networks(question: _Question, to: NetAttempt | None = None) -> dict[str, Network]:
    """The container's networks; the one that the destination is on has a subnet just wide enough for it."""
    networks = {n: Network(n, n, internal=n in question.internal) for n in question.networks}
    if to is not None and not to.external and not to.socket and not to.resolver:
        internal, gateways = to.network in question.internal, (to.address,) if to.host else ()
        networks[to.network] = Network(to.network, to.network, internal, (ip_network(to.address),), gateways)
    return networks


def _change(judged: Judged) -> Change:
    event, who = judged.event, judged.event.who
    return Change(
        container=_called(who),
        target=target_words(event.attempt),
        asked=event.asked,
        was=event.verdict,
        now=judged.verdict,
        was_rule=event.rule,
        rule=judged.rule,
        count=event.count,
        first=event.time_ns,
        last=event.time_ns,
    )


def _called(who: Who) -> str:
    return who.name or who.id


def _merged(one: Change, other: Change) -> Change:
    return replace(
        one, count=one.count + other.count, first=min(one.first, other.first), last=max(one.last, other.last)
    )
