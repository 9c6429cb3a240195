"""What a policy says to a recorded attempt, on a host that is rebuilt from the record alone, through ``compile`` and ``decide``.

An event carries the facts that judging it needs. From them a host is made that holds just the container, the object or the
place of the destination, and the policy is compiled for that host: nothing is decided here. What an event does not carry:
who holds an address outside the container's networks, labels and image of a peer, and other names of the same object. A grant
that only these would show is not seen.

Compiling is the dear part. It is done once for a container and a place: all addresses of a network, and all beyond them, are
judged by one image.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_network
from typing import NamedTuple

from enforcer.core.address import packed
from enforcer.core.compile import compile
from enforcer.core.compile_net import FORESEEN
from enforcer.core.decide import Flow, NetJudgement, judge_flow, judge_name, judge_object, judge_socket
from enforcer.core.event import Event, NetAttempt
from enforcer.core.ids import SPECIAL, Ids, Reserved, allocate
from enforcer.core.image import NET, Endpoint, Image
from enforcer.core.model import (
    Access,
    Attachment,
    Container,
    DataObject,
    Facts,
    Inode,
    Kind,
    Mode,
    Network,
    ObjectId,
    Policy,
)
from enforcer.core.objects import protect

CACHED = 1 << 16
"""Distinct questions whose answers are kept: a flood over many destinations must not fill the memory."""

IMAGES = 1 << 12
"""Hosts whose images are kept: some 10 KB each."""

_GENERATION = 1
_SUBJECT, _PEER = "0" * 63 + "1", "0" * 63 + "2"
_ANY_ACCESS = Access.READ | Access.WRITE | Access.EXEC | Access.CONNECT
_EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


class Answer(NamedTuple):
    """What is granted, what becomes of the rest, and the ids of the rules that say so."""

    granted: Access
    mode: Mode
    rule: tuple[str, ...]


class _Place(NamedTuple):
    """Where a destination is: on a network, held by a container, by the host or by nobody; without a network: outside."""

    network: str = ""
    peer: str = ""
    host: bool = False


class _Setting(NamedTuple):
    """What an image depends on; equal for all events of one container and one object or place."""

    id: str
    name: str
    image: str
    labels: frozenset[tuple[str, str]]
    networks: tuple[str, ...]
    internal: tuple[str, ...]
    place: ObjectId | _Place
    foreseen: bool


class _Stage(NamedTuple):
    """A host rebuilt: its image, the container's number, and who holds a destination there."""

    image: Image
    subject: int
    holder: Endpoint | None = None


class Hindsight:
    """Puts recorded attempts before ``policy``. The memory it takes does not grow with their number."""

    def __init__(self, policy: Policy) -> None:
        self._object = lru_cache(maxsize=CACHED)(lambda setting: _object_answer(policy, setting))
        self._stage = lru_cache(maxsize=IMAGES)(lambda setting: _stage(policy, setting))
        self._flow = lru_cache(maxsize=CACHED)(lambda setting, to: _flow_answer(self._stage(setting), to))

    def answer(self, event: Event) -> Answer:
        """What the policy says to an attempt."""
        setting = _setting(event)
        return self._flow(setting, event.attempt) if isinstance(event.attempt, NetAttempt) else self._object(setting)

    def wherever(self, event: Event) -> bool:
        """Whether it is the same answer for every address outside the container's networks, and the attempt was to one."""
        to = event.attempt
        if not isinstance(to, NetAttempt) or not to.external or to.socket or to.resolver:
            return False
        return not self._stage(_setting(event)).image.cidrs  # nobody there is known by name


def _setting(event: Event) -> _Setting:
    who, to = event.who, event.attempt
    place = _place(to) if isinstance(to, NetAttempt) else to.object
    labels, foreseen = frozenset(who.labels.items()), event.rule == (FORESEEN,)
    return _Setting(who.id, who.name, who.image, labels, who.networks, who.internal, place, foreseen)


def _place(to: NetAttempt) -> _Place:
    inside = not to.external and not to.socket and not to.resolver
    return _Place(to.network, to.peer, to.host) if inside else _Place()


def _object_answer(policy: Policy, setting: _Setting) -> Answer:
    if not isinstance(setting.place, ObjectId):
        raise AssertionError("a destination is no object")
    target = setting.place
    objects = {target: DataObject(target, (Inode(0, 1),))} if _placed(target) else {}
    facts = Facts(_containers(_container(setting)), _networks(setting), objects)
    ids = allocate(Ids(), policy, facts)
    image, subject = compile(policy, facts, ids, _GENERATION), _subject(ids, facts)
    if not _placed(target):
        number = next((number for number, name in SPECIAL.items() if name == target), int(Reserved.NOBODY))
    elif target in protect(policy, facts).objects:
        number = ids.object(target)
    else:
        return Answer(_ANY_ACCESS, Mode.MONITOR, ())
    judged = judge_object(image, subject=subject, number=number, asked=_ANY_ACCESS)
    return Answer(judged.granted, judged.mode, image.reasons.get((subject, number), ()))


def _placed(target: ObjectId) -> bool:
    """Is it a data object? Paths are absolute; a name that is none stands for what could not be placed: nothing grants that."""
    if target.kind is Kind.PATH:
        return target.name.startswith("/")
    return target.kind in (Kind.VOLUME, Kind.LAYER)


def _stage(policy: Policy, setting: _Setting) -> _Stage:
    """The smallest host on which the destination can be reached."""
    if isinstance(setting.place, ObjectId):
        raise AssertionError("an object is no destination")
    place = setting.place
    there = (Attachment(place.network),) if place.peer else ()
    itself = place.peer == setting.name
    peer = Container(_PEER, place.peer, pid=1, attachments=there) if place.peer and not itself else None
    container = _container(setting, there if itself else ())
    facts = Facts(_containers(container, peer), _networks(setting, place))
    ids = allocate(Ids(), policy, facts)
    subject = _subject(ids, facts)
    holder = ids.subject(_PEER) if peer else subject if place.peer else int(Reserved.HOST) if place.host else None
    endpoint = None if holder is None else Endpoint(holder, ids.network(place.network))
    return _Stage(compile(policy, facts, ids, _GENERATION), subject, endpoint)


def _flow_answer(stage: _Stage, to: NetAttempt) -> Answer:
    judged = _judged(stage, to)
    return Answer(judged.granted, judged.mode, stage.image.reasons.get((stage.subject, NET), ()))


def _judged(stage: _Stage, to: NetAttempt) -> NetJudgement:
    if to.resolver:
        return judge_name(stage.image, subject=stage.subject)
    if to.socket:
        return judge_socket(stage.image, subject=stage.subject, socket=to.socket, protocol=to.protocol)
    flow = Flow(packed(to.address), to.protocol, to.port, stage.holder)
    return judge_flow(stage.image, subject=stage.subject, attempt=flow)


def _subject(ids: Ids, facts: Facts) -> int:
    return ids.subject(_SUBJECT) if _SUBJECT in facts.containers else int(Reserved.UNNAMED)


def _containers(*found: Container | None) -> dict[str, Container]:
    return {container.id: container for container in found if container}


def _container(setting: _Setting, own: tuple[Attachment, ...] = ()) -> Container | None:
    """A container that was unnamed is on no host."""
    if not setting.id:
        return None
    attachments = own + tuple(Attachment(n) for n in setting.networks if n not in {a.network for a in own})
    labels = dict(setting.labels)
    found = Container(_SUBJECT, setting.name, setting.image, labels=labels, attachments=attachments, pid=1)
    return replace(found, foreseen=setting.foreseen)


def _networks(setting: _Setting, place: _Place | None = None) -> dict[str, Network]:
    """The container's networks. The one that the destination is on is everywhere: what is judged with it lies there."""
    networks = {n: Network(n, n, internal=n in setting.internal) for n in setting.networks}
    if place and place.network:
        networks[place.network] = Network(place.network, place.network, place.network in setting.internal, _EVERYWHERE)
    return networks
