"""A record as one flat row of typed columns: what tables, spreadsheets and data frames want.

Texts are escaped as in the journal, so that no control character and nothing that is no Unicode is in a row; ``unescape``
gives back what was there. What a record does not have is ``None``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice
from enforcer.core.query import kind_of
from enforcer.core.words import access_words, escape, event_words, protocol_word

Value = int | str | bool | tuple[str, ...] | None


class Type(enum.Enum):
    """What stands in a column. ``TIME``: ns since 1970; ``UNSIGNED``: up to 64 bits, others are signed."""

    TIME = enum.auto()
    INT = enum.auto()
    UNSIGNED = enum.auto()
    FLAG = enum.auto()
    TEXT = enum.auto()
    TEXTS = enum.auto()


class Column(NamedTuple):
    """A column and how its value is found in an attempt and in a notice; without ``notice`` a notice has none."""

    name: str
    type: Type
    event: Callable[[Event], Value]
    notice: Callable[[Notice], Value] = lambda _: None


def row(item: Event | Notice) -> tuple[Value, ...]:
    """The values of ``COLUMNS``, in their order."""
    if isinstance(item, Event):
        return tuple(column.event(item) for column in COLUMNS)
    return tuple(column.notice(item) for column in COLUMNS)


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(escape, texts))


def pairs(found: Iterable[tuple[str, str | int]]) -> tuple[str, ...]:
    """``key=value``, sorted. An equals sign in the key is written ``\\x3d``, for ``unescape``: the first one parts them."""
    return tuple(sorted(f"{escape(key).replace('=', chr(92) + 'x3d')}={escape(str(value))}" for key, value in found))


def _file(get: Callable[[FileAttempt], Value]) -> Callable[[Event], Value]:
    return lambda event: get(event.attempt) if isinstance(event.attempt, FileAttempt) else None


def _net(get: Callable[[NetAttempt], Value]) -> Callable[[Event], Value]:
    return lambda event: get(event.attempt) if isinstance(event.attempt, NetAttempt) else None


def _field(notice: Notice, key: str) -> str | None:
    return escape(str(notice.fields[key])) if key in notice.fields else None


COLUMNS: tuple[Column, ...] = (
    Column("sequence", Type.UNSIGNED, lambda e: e.sequence, lambda n: n.sequence),
    Column("time", Type.TIME, lambda e: e.time_ns, lambda n: n.time_ns),
    Column("first_time", Type.TIME, lambda e: e.first_ns or e.time_ns, lambda n: n.time_ns),
    Column("kind", Type.TEXT, kind_of, kind_of),
    Column("action", Type.TEXT, lambda _: None, lambda n: escape(n.action)),
    Column("message", Type.TEXT, event_words, lambda n: escape(n.message)),
    Column("verdict", Type.TEXT, lambda e: e.verdict.name.lower()),
    Column("mechanism", Type.TEXT, lambda e: e.mechanism.name.lower()),
    Column("hook", Type.TEXT, lambda e: e.hook.name.lower()),
    Column("mode", Type.TEXT, lambda e: e.mode.name.lower()),
    Column("count", Type.UNSIGNED, lambda e: e.count),
    Column("container", Type.TEXT, lambda e: escape(e.who.name), lambda n: _field(n, "container")),
    Column("container_id", Type.TEXT, lambda e: escape(e.who.id)),
    Column("image", Type.TEXT, lambda e: escape(e.who.image)),
    Column("labels", Type.TEXTS, lambda e: pairs(e.who.labels.items())),
    Column("labels_cut", Type.UNSIGNED, lambda e: e.who.labels_cut),
    Column("networks", Type.TEXTS, lambda e: _texts(e.who.networks)),
    Column("internal_networks", Type.TEXTS, lambda e: _texts(e.who.internal)),
    Column("process", Type.TEXT, lambda e: escape(e.process.name)),
    Column("pid", Type.INT, lambda e: e.process.pid),
    Column("tid", Type.INT, lambda e: e.process.tid),
    Column("uid", Type.INT, lambda e: e.process.uid),
    Column("access", Type.TEXTS, lambda e: access_words(e.asked)),
    Column("granted", Type.TEXTS, lambda e: access_words(e.granted)),
    Column("rules", Type.TEXTS, lambda e: _texts(e.rule)),
    Column("object_kind", Type.TEXT, _file(lambda f: f.object.kind.value)),
    Column("object_name", Type.TEXT, _file(lambda f: escape(f.object.name))),
    Column("path", Type.TEXT, _file(lambda f: escape(f.path))),
    Column("path_cut", Type.FLAG, _file(lambda f: f.cut)),
    Column("inode", Type.UNSIGNED, _file(lambda f: f.inode)),
    Column("device", Type.UNSIGNED, _file(lambda f: f.device)),
    Column("address", Type.TEXT, _net(lambda t: escape(t.address))),
    Column("port", Type.INT, _net(lambda t: t.port)),
    Column("protocol", Type.TEXT, _net(lambda t: protocol_word(t.protocol))),
    Column("network", Type.TEXT, _net(lambda t: escape(t.network)), lambda n: _field(n, "network")),
    Column("external", Type.FLAG, _net(lambda t: t.external)),
    Column("peer", Type.TEXT, _net(lambda t: escape(t.peer))),
    Column("host", Type.FLAG, _net(lambda t: t.host)),
    Column("socket", Type.TEXT, _net(lambda t: escape(t.socket))),
    Column("resolver", Type.FLAG, _net(lambda t: t.resolver)),
    Column("name_asked", Type.TEXT, _net(lambda t: escape(t.name))),
    Column("errno", Type.INT, lambda e: e.errno),
    Column("policy", Type.TEXT, lambda e: escape(e.policy)),
    Column("generation", Type.INT, lambda e: e.generation),
    Column("outcome", Type.TEXT, lambda _: None, lambda n: escape(n.outcome)),
    Column("fields", Type.TEXTS, lambda _: None, lambda n: pairs(n.fields.items())),
)
"""Every fact of a record, each once; ``message`` says them again for people."""
