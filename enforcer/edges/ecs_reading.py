"""From a document (``enforcer.edges.ecs_line``) back to the event or notice that it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from ipaddress import ip_address
from operator import or_
from typing import TypeVar

import msgspec

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.model import Access, Hook, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.timestamp import from_rfc3339
from enforcer.core.words import unescape
from enforcer.edges import ecs_line as ecs

OLDER = 1
"""The schema before this one, which is still read."""

_Member = TypeVar("_Member")

_DESCRIPTIONS = {"enforcer.attempt": "Access attempt", "enforcer.notice": "Enforcer notice"}
_ACCESS = {str(bit.name).lower(): bit for bit in Access if bit}
_MODES = {mode.name.lower(): mode for mode in Mode}
_VERDICTS = {verdict.name.lower(): verdict for verdict in Verdict}
_MECHANISMS = {mechanism.name.lower(): mechanism for mechanism in Mechanism}
_HOOKS = {hook.name.lower(): hook for hook in Hook}
_ATTEMPT_LINES = msgspec.json.Decoder(ecs.AttemptLine)
_HEADERS = msgspec.json.Decoder(ecs.Header)
_NOTICE_LINES = msgspec.json.Decoder(ecs.NoticeLine)


def item_of(line: bytes) -> Event | Notice:
    """What the line says. Raises ``ValueError``, ``RecursionError`` (msgspec's and our own) if it is none of ours."""
    try:
        return _event_of(_ATTEMPT_LINES.decode(line))
    except msgspec.ValidationError:
        header = _HEADERS.decode(line)
        if header.enforcer.schema == OLDER:
            return item_of(_upgraded(line))
        if header.event.dataset != "enforcer.notice":
            raise
        return _notice_of(_NOTICE_LINES.decode(line))


def _upgraded(line: bytes) -> bytes:
    """A line of schema 1 as one of schema 2, which has more fields and says the rest alike."""
    document = msgspec.json.decode(line)
    document["datetime"] = document.get("@timestamp")
    document["timestamp_desc"] = _DESCRIPTIONS.get(document["event"]["dataset"])
    document["enforcer"]["schema"] = ecs.SCHEMA
    return msgspec.json.encode(document)


def _event_of(line: ecs.AttemptLine) -> Event:
    ours = line.enforcer
    return Event(
        sequence=line.event.sequence,
        time_ns=from_rfc3339(line.timestamp),
        who=_who_of(line.container, ours),
        process=Process(
            pid=line.process.pid,
            tid=line.process.thread.id,
            uid=int(line.user.id),
            name=unescape(line.process.name),
        ),
        attempt=_attempt_of(line),
        asked=_access_of(ours.access),
        granted=_access_of(ours.granted),
        mode=_member(_MODES, ours.mode),
        verdict=_member(_VERDICTS, ours.verdict),
        mechanism=_member(_MECHANISMS, ours.mechanism),
        hook=_member(_HOOKS, ours.hook),
        generation=ours.generation,
        policy=unescape(ours.policy),
        rule=_unescaped(line.rule.id) if line.rule else (),
        count=ours.count,
        errno=ours.errno,
        first_ns=from_rfc3339(line.event.start) if line.event.start else 0,
    )


def _who_of(container: ecs.ContainerSection, ours: ecs.AttemptSection) -> Who:
    return Who(
        id=unescape(container.id),
        name=unescape(container.name),
        image=unescape(container.image.name),
        labels={unescape(key): unescape(value) for key, value in container.labels.items()},
        networks=_unescaped(ours.networks),
        internal=_unescaped(ours.internal),
        labels_cut=ours.labels_cut,
    )


def _attempt_of(line: ecs.AttemptLine) -> FileAttempt | NetAttempt:
    ours, file, to, network = line.enforcer, line.file, line.destination, line.network
    if file and ours.object:
        return FileAttempt(
            object=ObjectId(ours.object.kind, unescape(ours.object.name)),
            path=unescape(file.path),
            inode=int(file.inode),
            device=int(file.device),
            cut=ours.cut,
        )
    if not to or not network:
        raise ValueError("neither file and enforcer.object nor destination and network are there")
    return NetAttempt(
        address="" if ours.socket else _address(to.ip or ""),
        port=to.port,
        protocol=int(network.iana_number),
        network=unescape(network.name),
        external=ours.external,
        peer=unescape(ours.peer),
        host=ours.host,
        socket=ours.socket,
        resolver=line.dns is not None,
        name=unescape(line.dns.question.name) if line.dns else "",
    )


@lru_cache(maxsize=1024)
def _address(text: str) -> str:
    ip_address(text)
    return text


def _notice_of(line: ecs.NoticeLine) -> Notice:
    fields = line.enforcer.fields
    return Notice(
        sequence=line.event.sequence,
        time_ns=from_rfc3339(line.timestamp),
        action=unescape(line.event.action),
        message=unescape(line.message),
        outcome=unescape(line.event.outcome),
        fields={unescape(k): unescape(v) if isinstance(v, str) else v for k, v in fields.items()},
    )


def _access_of(words: Iterable[str]) -> Access:
    return reduce(or_, (_member(_ACCESS, word) for word in words), Access.NONE)


def _member(members: Mapping[str, _Member], word: str) -> _Member:
    if word not in members:
        raise ValueError(f"{word[:40]!r} is none of {', '.join(members)}")
    return members[word]


def _unescaped(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(unescape(text) for text in texts)
