"""From an event or a notice to its document (``enforcer.edges.ecs_line``), section by section."""

from __future__ import annotations

from collections.abc import Iterable

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Who
from enforcer.core.model import Access, Verdict
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import access_words, escape, event_words, protocol_word
from enforcer.edges import ecs_line as ecs

_ECS = ecs.Ecs(version="8.17.0")


def line_of(item: Event | Notice, sequence: int) -> ecs.AttemptLine | ecs.NoticeLine:
    """The document of ``item``, numbered ``sequence``."""
    return _attempt_line(item, sequence) if isinstance(item, Event) else _notice_line(item, sequence)


def _attempt_line(event: Event, sequence: int) -> ecs.AttemptLine:
    file, net = event.attempt, event.attempt
    time = to_rfc3339(event.time_ns)
    return ecs.AttemptLine(
        timestamp=time,
        datetime=time,
        timestamp_desc="Access attempt",
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
        labels_cut=event.who.labels_cut,
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
    time = to_rfc3339(notice.time_ns)
    return ecs.NoticeLine(
        timestamp=time,
        datetime=time,
        timestamp_desc="Enforcer notice",
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


def _escaped(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(escape(text) for text in texts)
