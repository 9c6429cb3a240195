"""The journal read for what it comes to: equal attempts are one event with their sum, so that each is judged once, not each line.

Of a line only that is looked at which an answer depends on, as the bytes that it is: the first line of a kind is decoded in full,
and strictly; for the others the kind is looked up. That each line is a record at all is looked at, too, or was when it was
sealed. Kinds differ in container, verdict, rules, object and all that is under ``enforcer``, the count aside; in a process, a path
or a time they do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import msgspec

from enforcer.core.event import Event, NetAttempt, Notice
from enforcer.core.query import Query
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import escape
from enforcer.edges.ecs import decode
from enforcer.edges.index import holds_records_only
from enforcer.edges.segments import blocks, is_complete, is_gone, read, segments_of
from enforcer.edges.skim import AFTER, Skim, Sum, are_sound
from enforcer.edges.tail import tail_of
from enforcer.errors import AbiError, EdgeError, HostError

ROOM = 1 << 16
"""Sums that are kept at a time, some 50 MB of distinct destinations; then they are handed on and begun anew."""

BLOCK = 1 << 16
"""Bytes that are looked at together: few enough to stay in the cache."""

_SPELLINGS = 1 << 14  # of kinds, that are kept; a count or a chain makes a new one

_COUNT = re.compile(rb'"count":(\d+)')
_CHAIN = re.compile(rb',"chain":\{[^{}]*\}\}')  # ends the last line of a batch
_NOTHING = msgspec.Raw()


class _Line(msgspec.Struct, gc=False):
    """What is looked at, most of it undecoded. Whatever has no ``container`` is no attempt."""

    timestamp: str = msgspec.field(name="@timestamp")
    event: msgspec.Raw
    enforcer: msgspec.Raw
    container: msgspec.Raw = _NOTHING
    destination: msgspec.Raw = _NOTHING
    network: msgspec.Raw = _NOTHING
    dns: msgspec.Raw = _NOTHING
    rule: msgspec.Raw = _NOTHING


class _Span(msgspec.Struct, gc=False):
    """``event.start``: when the first of several identical attempts happened."""

    start: str = ""


class _Where(msgspec.Struct, gc=False):
    """``destination``, of which the rest says nothing more."""

    port: int
    ip: str


class _Kind:
    """Lines that differ in what no answer depends on, and in their destination: one sum for all of those, or one for each."""

    __slots__ = ("event", "somewhere", "whole")

    def __init__(self, event: Event, whole: Sum | None) -> None:
        self.event, self.whole = event, whole
        self.somewhere: dict[bytes, Sum] = {}


_LINES = msgspec.json.Decoder(_Line)
_SPANS = msgspec.json.Decoder(_Span)
_WHERE = msgspec.json.Decoder(_Where)
_Decode = Callable[[], Event | Notice]


class Condensed:
    """Reads journals for the attempts that ``query`` asks for.

    ``alike``: whether it makes no difference to the caller where outside its networks an attempt went; then one event stands for
    all such of its kind.
    """

    def __init__(self, query: Query, alike: Callable[[Event], bool]) -> None:
        self._query, self._alike = query, alike
        self._since = b"" if query.since is None else to_rfc3339(query.since).encode()
        self._until = AFTER if query.until is None else to_rfc3339(query.until).encode()
        self._timed = query.since is not None or query.until is not None
        self._timeless = replace(query, since=None, until=None)
        self._begin()

    def events(self, paths: Iterable[Path]) -> Iterator[Event]:
        """The attempts of the files and directories, condensed, in no order. Errors as of ``segments.read``."""
        for path in paths:
            segments = segments_of(path)
            for segment in segments:
                if segment != path and is_gone(segment):
                    continue  # retention has removed it since it was listed
                number, whole = 0, segment == path or is_complete(segment, segments)
                sound = holds_records_only(segment)
                found = blocks(segment, size=BLOCK)
                for block in found if whole else _until(_committed_end(segment), found):
                    yield from self._block(block, segment, number, sound=sound)
                    number += len(block) - len(block.replace(b"\n", b""))  # a tenth of what bytes.count takes
                    if self._room <= 0:
                        yield from self._handed_on(segment)
                yield from self._handed_on(segment)

    def _begin(self) -> None:
        self._spellings: dict[bytes, tuple[_Kind, int]] = {}
        self._kinds: dict[bytes, _Kind] = {}
        self._asked: list[Sum] = []
        self._skim = Skim()
        self._room = ROOM

    def _handed_on(self, segment: Path) -> Iterator[Event]:
        sums = [found for found in self._asked if found.attempts]
        self._begin()
        try:
            yield from (found.merged() for found in sums)
        except ValueError as e:
            for _ in read([segment]):  # which raises, and tells the line
                pass
            raise AbiError(f"{escape(str(segment))}: {e}") from e

    def _block(self, block: bytes, segment: Path, number: int, *, sound: bool) -> Iterator[Event]:
        heads: list[bytes] | None = None if sound else []
        left = list(enumerate(block.split(b"\n")[:-1]) if self._timed else self._skim.unknown(block, heads))
        if not are_sound(heads, block):
            for at, raw in enumerate(block.split(b"\n")[:-1]):
                _decoded(raw, segment, number + at + 1)  # which raises, and tells the line
        try:
            lines = _LINES.decode_lines(b"\n".join(raw for _, raw in left))
        except msgspec.DecodeError:
            lines = []
        if len(lines) == len(left) and all(raw[:1] == b"{" and raw[-1:] == b"}" for _, raw in left):
            for line, (at, raw) in zip(lines, left, strict=True):
                self._add(line, raw, partial(_decoded, raw, segment, number + at + 1))
            return
        for at, raw in left:  # not one document to a line: who reads line by line says where
            item = _decoded(raw, segment, number + at + 1)
            if isinstance(item, Event) and self._query.matches(item):
                yield item

    def _add(self, line: _Line, raw: bytes, decode_it: _Decode) -> None:
        """Count a line, and know its like from now on."""
        enforcer = bytes(line.enforcer)
        found = self._spellings.get(_joined(line, enforcer)) or self._find(line, enforcer, decode_it)
        if found is None:
            return
        kind, count = found
        total = kind.whole or self._there(kind, bytes(line.destination), decode_it)
        last = line.timestamp.encode()
        first = last if count == 1 else _SPANS.decode(line.event).start.encode() or last
        if self._since <= last < self._until:
            total.add(count, first, last)
        self._skim.learn(raw, total, anywhere=bool(kind.whole) and bool(line.destination))

    def _there(self, kind: _Kind, where: bytes, decode_it: _Decode) -> Sum:
        """The sum of a kind and a destination."""
        if where not in kind.somewhere:
            kind.somewhere[where] = self._sum(_elsewhere(kind.event, where) or _event(decode_it))
        return kind.somewhere[where]

    def _find(self, line: _Line, spelled: bytes, decode_it: _Decode) -> tuple[_Kind, int] | None:
        """The kind of a line and its count, whatever count and chain it has; None for what is no attempt."""
        spelling = _joined(line, spelled)
        enforcer, chained = _CHAIN.subn(b"}", spelled)
        counts = _COUNT.findall(enforcer)
        key = _joined(line, _COUNT.sub(b"", enforcer))
        if len(counts) != 1 or key not in self._kinds:
            item = decode_it()
            if isinstance(item, Notice):
                return None
            counts, key = [item.count], key if counts == [b"%d" % item.count] else spelling
            self._kinds[key] = self._new_kind(item)
        found = self._kinds[key], int(counts[0])
        if not chained:
            self._spellings[spelling] = found
            self._room -= ROOM // _SPELLINGS
        return found

    def _new_kind(self, event: Event) -> _Kind:
        one = not isinstance(event.attempt, NetAttempt) or (not self._query.objects and self._alike(event))
        return _Kind(event, self._sum(event) if one else None)

    def _sum(self, event: Event) -> Sum:
        made = Sum(event)
        self._room -= 1
        if self._timeless.matches(event):
            self._asked.append(made)
        return made


def _joined(line: _Line, enforcer: bytes) -> bytes:
    return b"\n".join((line.container, enforcer, line.network, line.dns, line.rule))


def _elsewhere(event: Event, where: bytes) -> Event | None:
    """The event with another destination, if that can be told from it alone."""
    to = event.attempt
    if not isinstance(to, NetAttempt) or to.socket or to.resolver:
        return None
    try:
        found = _WHERE.decode(where)
        ip_address(found.ip)
    except ValueError:
        return None
    return replace(event, attempt=replace(to, address=found.ip, port=found.port))


def _event(decode_it: _Decode) -> Event:
    item = decode_it()
    if isinstance(item, Notice):
        raise AssertionError("an attempt has become a notice")
    return item


def _decoded(line: bytes, segment: Path, number: int) -> Event | Notice:
    try:
        return decode(line)
    except EdgeError as e:
        raise EdgeError(f"{escape(str(segment))}:{number}: {e}") from e


def _committed_end(segment: Path) -> int | None:
    """Where the last whole batch ends: the disk may still refuse what stands behind it. None: who reads it says why."""
    try:
        with segment.open("rb") as file:
            return tail_of(segment, file.fileno()).end
    except (OSError, HostError):
        return None


def _until(end: int | None, found: Iterable[bytes]) -> Iterator[bytes]:
    """The same blocks, up to an offset."""
    position = 0
    for block in found:
        position += len(block)
        yield block if end is None or position <= end else block[: max(0, len(block) - (position - end))]
