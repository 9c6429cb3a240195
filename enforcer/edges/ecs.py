"""Events as documents of the Elastic Common Schema, and back, without a bit lost.

``enforcer.edges.ecs_line`` declares the documents. Every text that a container or an operator chose is escaped
(``enforcer.core.words.escape``), so no control character is in a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from ipaddress import ip_address
from operator import or_
from typing import Any, TypeVar

import msgspec

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.model import Access, Hook, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.timestamp import from_rfc3339, to_rfc3339
from enforcer.core.words import access_words, escape, event_words, protocol_word, unescape
from enforcer.edges import ecs_line as ecs
from enforcer.errors import EdgeError

_Member = TypeVar("_Member")

_ECS = ecs.Ecs(version="8.17.0")
_ACCESS = {str(bit.name).lower(): bit for bit in Access if bit}
_MODES = {mode.name.lower(): mode for mode in Mode}
_VERDICTS = {verdict.name.lower(): verdict for verdict in Verdict}
_MECHANISMS = {mechanism.name.lower(): mechanism for mechanism in Mechanism}
_HOOKS = {hook.name.lower(): hook for hook in Hook}
_ENCODER = msgspec.json.Encoder()
_ATTEMPT_LINES = msgspec.json.Decoder(ecs.AttemptLine)
_HEADERS = msgspec.json.Decoder(ecs.Header)
_NOTICE_LINES = msgspec.json.Decoder(ecs.NoticeLine)


def to_ecs(item: Event | Notice) -> dict[str, Any]:
    """The ECS document of ``item``, made of plain JSON types."""
    document: dict[str, Any] = msgspec.json.decode(encode(item, item.sequence))
    return document


def from_ecs(document: dict[str, Any]) -> Event | Notice:
    """The inverse of ``to_ecs``. Raises ``EdgeError`` for a document that is not ours or of an unknown schema."""
    try:
        return decode(msgspec.json.encode(document))
    except (TypeError, UnicodeEncodeError, RecursionError) as e:
        raise EdgeError(f"not a record of this journal: {escape(str(e))}") from e


def encode(item: Event | Notice, sequence: int) -> bytes:
    """One journal line, newline included, numbered ``sequence``."""
    return _ENCODER.encode(_line_of(item, sequence)) + b"\n"


def decode(line: bytes) -> Event | Notice:
    """The inverse of ``encode``. Raises ``EdgeError`` that says why the line is none of ours."""
    try:
        return _item_of(line)
    except (ValueError, RecursionError) as e:  # msgspec's errors and unescape's are ValueErrors
        raise EdgeError(_reason(line, e)) from e


def _line_of(item: Event | Notice, sequence: int) -> ecs.AttemptLine | ecs.NoticeLine:
    return _attempt_line(item, sequence) if isinstance(item, Event) else _notice_line(item, sequence)


def _item_of(line: bytes) -> Event | Notice:
    try:
        return _event_of(_ATTEMPT_LINES.decode(line))
    except msgspec.ValidationError:
        if _HEADERS.decode(line).event.dataset != "enforcer.notice":
            raise
        return _notice_of(_NOTICE_LINES.decode(line))


def _reason(line: bytes, error: Exception) -> str:
    try:
        schema = _HEADERS.decode(line).enforcer.schema
    except msgspec.ValidationError:
        return "JSON, but not a record of this journal"
    except (ValueError, RecursionError):
        return "not JSON"
    if schema != ecs.SCHEMA:
        return f"schema {schema} is unknown to this version, which reads schema {ecs.SCHEMA}: use the one that wrote it"
    return f"not a record of schema {ecs.SCHEMA}: {escape(str(error))}"


def _attempt_line(event: Event, sequence: int) -> ecs.AttemptLine:
    file, net = event.attempt, event.attempt
    return ecs.AttemptLine(
        timestamp=to_rfc3339(event.time_ns),
        message=event_words(event),
        ecs=_ECS,
        event=_event_section(event, sequence),
        container=_container(event.who),
        process=ecs.ProcessSection(
            pid=event.process.pid, thread=ecs.ThreadSection(id=event.process.tid), name=escape(event.process.name)
        ),
        user=ecs.UserSection(id=str(event.process.uid)),
        enforcer=_attempt_section(event),
        file=_file(file) if isinstance(file, FileAttempt) else None,
        dns=ecs.dns(escape(net.name)) if isinstance(net, NetAttempt) and net.resolver else None,
        destination=_destination(net) if isinstance(net, NetAttempt) else None,
        network=_network(net) if isinstance(net, NetAttempt) else None,
        rule=ecs.RuleSection(id=_escaped(event.rule)) if event.rule else None,
    )


def _event_section(event: Event, sequence: int) -> ecs.AttemptEventSection:
    """``kind``, ``category``, ``type`` and ``outcome`` from ECS's lists of allowed values; nothing reads them back."""
    refused = event.verdict in (Verdict.DENIED, Verdict.KILLED)
    changes = ("change",) if event.asked & Access.WRITE else ()
    place = "file" if isinstance(event.attempt, FileAttempt) else "network"
    return ecs.AttemptEventSection(
        kind="event" if event.verdict is Verdict.ALLOWED else "alert",
        category=(place,) if event.verdict is Verdict.ALLOWED else (place, "intrusion_detection"),
        type=("access" if place == "file" else "connection", *changes, "denied" if refused else "allowed"),
        action=f"{place}-{event.hook.name.lower()}",
        outcome="failure" if refused or event.errno else "success",
        sequence=sequence,
        start=to_rfc3339(event.first_ns) if event.first_ns else None,
        end=to_rfc3339(event.time_ns) if event.first_ns else None,
        module="enforcer",
        dataset="enforcer.attempt",
    )


def _attempt_section(event: Event) -> ecs.AttemptSection:
    net = event.attempt if isinstance(event.attempt, NetAttempt) else None
    file = event.attempt if isinstance(event.attempt, FileAttempt) else None
    return ecs.AttemptSection(
        schema=ecs.SCHEMA,
        access=access_words(event.asked),
        granted=access_words(event.granted),
        mode=event.mode.name.lower(),
        verdict=event.verdict.name.lower(),
        mechanism=event.mechanism.name.lower(),
        hook=event.hook.name.lower(),
        generation=event.generation,
        policy=escape(event.policy),
        count=event.count,
        errno=event.errno,
        networks=_escaped(event.who.networks),
        internal=_escaped(event.who.internal),
        object=ecs.ObjectSection(kind=file.object.kind, name=escape(file.object.name)) if file else None,
        cut=file.cut if file else False,
        external=net.external if net else False,
        peer=escape(net.peer) if net else "",
        host=net.host if net else False,
        socket=net.socket if net else "",
    )


def _container(who: Who) -> ecs.ContainerSection:
    return ecs.ContainerSection(
        id=escape(who.id),
        name=escape(who.name),
        image=ecs.ImageSection(name=escape(who.image)),
        labels={escape(key): escape(value) for key, value in who.labels.items()},
    )


def _file(attempt: FileAttempt) -> ecs.FileSection:
    return ecs.FileSection(path=escape(attempt.path), inode=str(attempt.inode), device=str(attempt.device))


def _destination(attempt: NetAttempt) -> ecs.DestinationSection:
    return ecs.DestinationSection(ip=attempt.address or None, port=attempt.port, domain=escape(attempt.peer))


def _network(attempt: NetAttempt) -> ecs.NetworkSection:
    return ecs.NetworkSection(
        transport=protocol_word(attempt.protocol),
        iana_number=str(attempt.protocol),
        type="ipv6" if ":" in attempt.address else "ipv4" if attempt.address else "",
        name=escape(attempt.network),
    )


def _notice_line(notice: Notice, sequence: int) -> ecs.NoticeLine:
    return ecs.NoticeLine(
        timestamp=to_rfc3339(notice.time_ns),
        message=escape(notice.message),
        ecs=_ECS,
        event=ecs.NoticeEventSection(
            kind="event",
            category=("host",),
            type=("info",),
            action=escape(notice.action),
            outcome=escape(notice.outcome),
            sequence=sequence,
            module="enforcer",
            dataset="enforcer.notice",
        ),
        enforcer=ecs.NoticeSection(
            schema=ecs.SCHEMA,
            fields={escape(k): escape(v) if isinstance(v, str) else v for k, v in notice.fields.items()},
        ),
    )


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


def _escaped(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(escape(text) for text in texts)


def _unescaped(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(unescape(text) for text in texts)
