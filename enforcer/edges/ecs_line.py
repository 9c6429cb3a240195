"""The format of the journal: one line is one ``AttemptLine`` or one ``NoticeLine``, in JSON.

What the Elastic Common Schema has a field for is there (https://www.elastic.co/guide/en/ecs/current/ecs-field-reference.html);
what only we know is under ``enforcer``; ``datetime`` and ``timestamp_desc`` are what Timesketch wants beside ``message``.
``enforcer.edges.ecs`` fills and reads these.

The order of the fields is part of the format: what every line has anew comes first, then, from ``ecs`` to ``enforcer.count``,
what many attempts have in common, and ``enforcer.chain``, if there is one, ends the line (``enforcer.core.chain``).
"""

from __future__ import annotations

from enum import Enum, Flag
from typing import Annotated, Literal

import msgspec

from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, Verdict

SCHEMA: Literal[2] = 2
"""Raised when a line's meaning changes. A reader refuses a schema that it does not know."""


def _words(members: type[Enum]) -> msgspec.Meta:
    """For the JSON Schema only, as all of these: reading tells by itself what is none of them, in words of our own."""
    return msgspec.Meta(
        extra_json_schema={"enum": [str(m.name).lower() for m in members if m.value or not issubclass(members, Flag)]}
    )


AccessWord = Annotated[str, _words(Access)]
ModeWord = Annotated[str, _words(Mode)]
VerdictWord = Annotated[str, _words(Verdict)]
MechanismWord = Annotated[str, _words(Mechanism)]
HookWord = Annotated[str, _words(Hook)]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
Digest = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[0-9a-f]{64}$"})]
Decimal = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": "^[0-9]{1,20}$"})]


class _Section(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One object of a document; what has its default is left out of the line."""


class Ecs(_Section, frozen=True, kw_only=True):
    """``ecs.*``"""

    version: str


class EventSection(_Section, frozen=True, kw_only=True):
    """``event.*``, common to both kinds of line; ``dataset`` tells them apart. ``start`` and ``end`` of several attempts."""

    sequence: int
    start: Time | None = None
    end: Time | None = None
    kind: str
    category: tuple[str, ...]
    type: tuple[str, ...]
    action: str
    outcome: str
    module: Literal["enforcer"]


class AttemptEventSection(EventSection, frozen=True, kw_only=True):
    """``event.*`` of an attempt."""

    dataset: Literal["enforcer.attempt"]


class NoticeEventSection(EventSection, frozen=True, kw_only=True):
    """``event.*`` of a notice."""

    dataset: Literal["enforcer.notice"]


class ImageSection(_Section, frozen=True, kw_only=True):
    """``container.image.*``"""

    name: str


class ContainerSection(_Section, frozen=True, kw_only=True):
    """``container.*``"""

    id: str
    name: str
    image: ImageSection
    labels: dict[str, str] = {}


class ThreadSection(_Section, frozen=True, kw_only=True):
    """``process.thread.*``"""

    id: int


class ProcessSection(_Section, frozen=True, kw_only=True):
    """``process.*``; ids as the host sees them."""

    pid: int
    thread: ThreadSection
    name: str


class UserSection(_Section, frozen=True, kw_only=True):
    """``user.*``; the uid in decimal, a keyword in ECS."""

    id: Decimal


class FileSection(_Section, frozen=True, kw_only=True):
    """``file.*``; ``path`` is relative to the object's root. Numbers in decimal: JSON readers lose bits over 2**53."""

    path: str
    inode: Decimal
    device: Decimal


class DestinationSection(_Section, frozen=True, kw_only=True):
    """``destination.*``; ``domain`` repeats the peer's name, under which Docker resolves it. A raw socket has no ``ip``."""

    port: int
    ip: str | None = None
    domain: str = ""


class NetworkSection(_Section, frozen=True, kw_only=True):
    """``network.*``; ``name`` is the Docker network, ``iana_number`` the protocol's."""

    transport: str
    iana_number: Decimal
    type: str = ""
    name: str = ""


class QuestionSection(_Section, frozen=True, kw_only=True):
    """``dns.question.*``"""

    name: str


class DnsSection(_Section, frozen=True, kw_only=True):
    """``dns.*``: what Docker's resolver was asked for."""

    question: QuestionSection


def dns(name: str) -> DnsSection:
    """The section of one question."""
    return DnsSection(question=QuestionSection(name=name))


class RuleSection(_Section, frozen=True, kw_only=True):
    """``rule.*``; the rules that the answering row comes from."""

    id: tuple[str, ...]


class ObjectSection(_Section, frozen=True, kw_only=True):
    """``enforcer.object.*``"""

    kind: Kind
    name: str


class ChainSection(msgspec.Struct, frozen=True):
    """``enforcer.chain.*`` of the last line of a batch: ``records`` lines with this one, chained by ``enforcer.core.chain``."""

    records: int
    mark: str
    previous: Digest
    sha256: Digest


class AttemptSection(_Section, frozen=True, kw_only=True):
    """``enforcer.*`` of an attempt."""

    schema: Literal[2]
    access: tuple[AccessWord, ...]
    granted: tuple[AccessWord, ...]
    mode: ModeWord
    verdict: VerdictWord
    mechanism: MechanismWord
    hook: HookWord
    generation: int
    policy: str
    errno: int = 0
    networks: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()
    labels_cut: int = 0
    object: ObjectSection | None = None
    cut: bool = False
    external: bool = False
    peer: str = ""
    host: bool = False
    socket: str = ""
    count: int
    chain: ChainSection | None = None


class NoticeSection(_Section, frozen=True, kw_only=True):
    """``enforcer.*`` of a notice."""

    schema: Literal[2]
    fields: dict[str, str | int] = {}
    chain: ChainSection | None = None


class AttemptLine(_Section, frozen=True, kw_only=True):
    """A journal line that holds an ``Event``."""

    timestamp: Time = msgspec.field(name="@timestamp")
    datetime: Time
    message: str
    event: AttemptEventSection
    process: ProcessSection
    user: UserSection
    file: FileSection | None = None
    timestamp_desc: Literal["Access attempt"]
    ecs: Ecs
    container: ContainerSection
    destination: DestinationSection | None = None
    network: NetworkSection | None = None
    dns: DnsSection | None = None
    rule: RuleSection | None = None
    enforcer: AttemptSection


class NoticeLine(_Section, frozen=True, kw_only=True):
    """A journal line that holds a ``Notice``."""

    timestamp: Time = msgspec.field(name="@timestamp")
    datetime: Time
    message: str
    event: NoticeEventSection
    timestamp_desc: Literal["Enforcer notice"]
    ecs: Ecs
    enforcer: NoticeSection


class HeaderEvent(msgspec.Struct):
    """``event.*`` as far as the kind of line needs it."""

    dataset: str


class HeaderOurs(msgspec.Struct):
    """``enforcer.*`` as far as the schema needs it."""

    schema: int


class Header(msgspec.Struct):
    """The part of a line that every schema of ours has and will have."""

    event: HeaderEvent
    enforcer: HeaderOurs
