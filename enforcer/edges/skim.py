"""Equal lines of a journal, counted without looking into them: three times as fast as decoding what an answer depends on.

The agent writes first what every line has anew, its time at a fixed place, and from ``ecs`` on what many lines have in common
(``enforcer.edges.ecs_line``). A line whose common part has been decoded before stands for the same attempt. Every other line,
and one that stands for several attempts, is somebody else's to decode. Of what a known line has before its common part only the
time is taken; that it is JSON at all is looked at for many lines together. Whether somebody has changed it, `log verify` tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

import msgspec

from enforcer.core.event import Event
from enforcer.core.timestamp import from_rfc3339

KNOWN = 1 << 14
"""Common parts that are kept, some 1 KB each."""

AFTER = b"~"
"""Later than any time that is written."""

_HEAD = b'{"@timestamp":"'
_TIME = len(_HEAD)
_COMMON = b'"},"timestamp_desc":"Access attempt","ecs":{'
_ONCE = b'"count":1}}'
_WHERE, _BEYOND, _CHAIN = b',"destination":{', b'},"network":{', b',"chain":{'


class _Event(msgspec.Struct, gc=False):
    """``event``, of what stands before a common part."""

    sequence: int


class _Process(msgspec.Struct, gc=False):
    """``process``, likewise."""

    pid: int


class _Head(msgspec.Struct, gc=False):
    """What stands before a common part. The rest of it has to be JSON, and no more."""

    timestamp: datetime = msgspec.field(name="@timestamp")
    event: _Event
    process: _Process


_HEADS = msgspec.json.Decoder(_Head)
_CLOSED = b'"}}\n'  # a string, its section and the line


def are_sound(heads: Iterable[bytes] | None, block: bytes) -> bool:
    """Whether what known lines have before their common parts is as we write it, and all of the block is UTF-8.

    ``heads`` is None where every line is known to be a record (``enforcer.edges.index.holds_records_only``). If it is not so,
    or if a time is one that only we write, who reads line by line says more.
    """
    try:
        if heads is not None:
            _HEADS.decode_lines(_CLOSED.join([*heads, b""]))
        return block.isascii() or bool(block.decode())
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


class Sum:
    """Equal attempts: the first ``event`` of them, how many, their first and last time as written, in the times' order."""

    __slots__ = ("attempts", "event", "first", "last")

    def __init__(self, event: Event) -> None:
        self.event, self.attempts, self.first, self.last = event, 0, AFTER, AFTER

    def add(self, count: int, first: bytes, last: bytes) -> None:
        """So many more of them."""
        self.first, self.last = min(first, self.first), max(last, self.last) if self.attempts else last
        self.attempts += count

    def merged(self) -> Event:
        """One event for all. Raises ``ValueError`` for a time that no journal of ours has."""
        last, first = from_rfc3339(self.last.decode()), from_rfc3339(self.first.decode())
        return replace(self.event, count=self.attempts, time_ns=last, first_ns=first)


class Skim:
    """Knows common parts and what they count for."""

    def __init__(self) -> None:
        self._known: dict[bytes, Sum] = {}

    def learn(self, line: bytes, total: Sum, *, anywhere: bool) -> None:
        """Lines like this one, which is decoded, count for ``total``; ``anywhere``: whatever their destination."""
        begin = line.find(_COMMON)
        if len(self._known) >= KNOWN or begin < 0 or not line.startswith(_HEAD) or not line.endswith(_ONCE):
            return
        self._known[_without_destination(line[begin:]) if anywhere else line[begin:]] = total

    def unknown(self, block: bytes, heads: list[bytes] | None) -> Iterator[tuple[int, bytes]]:
        """Count the lines of a block that are known; the others, each with its place among all.

        ``heads`` takes what the known ones have before their common parts, for ``are_sound``, if it has to be looked at.
        """
        known, find, head = self._known.get, block.find, block.startswith
        start = number = 0
        while (end := find(b"\n", start)) >= 0:
            begin = find(_COMMON, start, end)
            total = known(block[begin:end]) or self._varied(block[begin:end])
            if total is None or not head(_HEAD, start):
                yield number, block[start:end]
            else:
                if heads is not None:
                    heads.append(block[start:begin])
                time = block[start + _TIME : start + _TIME + 30]
                if time < total.last:
                    total.add(1, time, time)
                else:  # the last one so far: nearly always
                    total.attempts += 1
                    total.last = time
            start = end + 1
            number += 1

    def _varied(self, common: bytes) -> Sum | None:
        """What it counts for but for where it went, or for what the end of a batch adds to it."""
        plain = common if common.endswith(_ONCE) else _without_chain(common)
        return self._known.get(_without_destination(plain)) or self._known.get(plain)


def _without_destination(common: bytes) -> bytes:
    """A common part without ``destination``. Only that section's name stands before a brace, a label's never does."""
    where = common.find(_WHERE)
    beyond = common.find(_BEYOND, where)
    return common[:where] + common[beyond:] if 0 <= where < beyond else common


def _without_chain(common: bytes) -> bytes:
    """A common part without the ``enforcer.chain`` that ends the last line of a batch."""
    chain = common.rfind(_CHAIN)
    ends = chain > 0 and common.endswith(b"}}}") and common.find(b"{", chain + len(_CHAIN)) < 0
    return common[:chain] + b"}}" if ends else common
