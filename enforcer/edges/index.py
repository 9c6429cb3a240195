"""What a sealed segment holds, in a small file beside it, so that a reader may pass it over. It can be made again at any time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from enforcer.core.chain import link_of
from enforcer.core.select import glob_match
from enforcer.core.timestamp import from_rfc3339, to_rfc3339
from enforcer.core.words import unescape
from enforcer.edges.segments import SEALED, is_named

_MOST_ROWS = 4096
"""Beyond so many kinds of attempt nothing is counted apart any more: an index is small."""


class _Part(msgspec.Struct, frozen=True):
    """A section of a line, as far as it is counted."""

    name: str = ""
    kind: str = ""


class _Event(msgspec.Struct, frozen=True):
    sequence: int


class _Process(msgspec.Struct, frozen=True):
    pid: int = 0


class _Ours(msgspec.Struct, frozen=True):
    verdict: str = ""
    count: int = 0
    object: _Part = _Part()
    fields: dict[str, str | int] = {}


class _Line(msgspec.Struct, frozen=True):
    """A line of any schema of ours, as far as an index tells of it."""

    event: _Event
    enforcer: _Ours
    timestamp: str = msgspec.field(name="@timestamp")
    container: _Part = _Part()
    network: _Part = _Part()
    process: _Process = _Process()


class Count(msgspec.Struct):
    """What one container tried with one object (or on one network), with one verdict: records, and the attempts in them."""

    container: str
    object: str
    verdict: str
    records: int
    attempts: int
    since: str
    until: str


class Index(msgspec.Struct, frozen=True):
    """Of one segment: its records' numbers and times, the digest of its last batch, its size, plain and sealed, and counts.

    ``rest`` is how many records are in no count, because they were too many, or are no records of ours.
    """

    schema: Literal[1]
    first: int
    last: int
    since: str
    until: str
    sha256: str
    size: int
    sealed: int
    rest: int
    counts: list[Count]

    def may_hold(self, *, since: int | None, until: int | None, containers: Sequence[str]) -> bool:
        """As of ``may_hold`` beside this class."""
        first, last = from_rfc3339(self.since), from_rfc3339(self.until)
        names = {unescape(count.container) for count in self.counts}
        in_time = (since is None or last >= since) and (until is None or first < until)
        return self.rest > 0 or (
            in_time and (not containers or any(glob_match(glob, name) for glob in containers for name in names))
        )


class Indexing:
    """Makes an index, fed line by line."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Count] = {}
        self._decode = msgspec.json.Decoder(_Line).decode
        self._first = self._last = self._size = self._rest = 0
        self._since = self._until = self._digest = ""

    def add(self, line: bytes) -> None:
        """The next line, newline included."""
        self._size += len(line)
        try:
            found = self._decode(line)
            from_rfc3339(found.timestamp)
        except (ValueError, RecursionError):
            self._rest += 1
            return
        time, ours = found.timestamp, found.enforcer
        self._first, self._last = self._first or found.event.sequence, found.event.sequence
        self._since, self._until = min(self._since or time, time), max(self._until, time)
        link = link_of(line)
        self._digest = link.sha256 if link else self._digest
        container = found.container.name or str(ours.fields.get("container", ""))
        target = f"{ours.object.kind}:{ours.object.name}" if ours.object.kind else f"network:{found.network.name}"
        self._count((container, target if ours.verdict else "", ours.verdict), ours.count, time)

    def made(self, sealed: int) -> Index:
        """The index of what was added; the sealed segment has ``sealed`` bytes."""
        counts = [self._counts[key] for key in sorted(self._counts)]
        when = self._since or to_rfc3339(0), self._until or to_rfc3339(0)
        ends = self._first, self._last, *when, self._digest
        return Index(1, *ends, self._size, sealed, self._rest, counts)

    def _count(self, key: tuple[str, str, str], attempts: int, time: str) -> None:
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) == _MOST_ROWS:
                self._rest += 1
                return
            count = self._counts[key] = Count(*key, records=0, attempts=0, since=time, until=time)
        count.records += 1
        count.attempts += attempts
        count.since, count.until = min(count.since, time), max(count.until, time)


def index_path(segment: Path) -> Path:
    """Where the index of a segment is; its name is none that a log shipper would take for a segment."""
    return segment.with_name(segment.name.removesuffix(SEALED).removesuffix(".jsonl") + ".index.json")


def indexed(directory: Path) -> list[Path]:
    """The segments, as they were before they were sealed, that have an index in the directory, oldest first."""
    found = (
        path.with_name(path.name.replace(".index.json", ".jsonl")) for path in directory.glob("events-*.index.json")
    )
    return sorted(segment for segment in found if is_named(segment))


def unfinished(path: Path) -> Path:
    """Where a file is made that is to be ``path``; its name is none that a reader would take."""
    return path.with_name(f"{path.name}.tmp")


def index_of(segment: Path) -> Index | None:
    """The index of a sealed segment; None if there is none, or if it is not of this very file."""
    with suppress(OSError, ValueError, RecursionError):
        index = msgspec.json.decode(index_path(segment).read_bytes(), type=Index)
        index.may_hold(since=0, until=0, containers=("",))  # raises ValueError where times and names are none
        if segment.name.endswith(SEALED) and index.sealed == segment.stat().st_size:
            return index
    return None


def holds_records_only(segment: Path) -> bool:
    """Was every line of a sealed segment found to be a record when it was sealed? Its checksum says that it still is the same."""
    index = index_of(segment)
    return index is not None and not index.rest


def may_hold(segment: Path, *, since: int | None, until: int | None, containers: Sequence[str]) -> bool:
    """Can a record from ``since`` on and before ``until``, of a container that one of the globs means, be in the segment?

    Without an index it can.
    """
    index = index_of(segment)
    return index is None or index.may_hold(since=since, until=until, containers=containers)


def write_index(segment: Path, index: Index) -> None:
    """Put the index beside its segment."""
    path = index_path(segment)
    new = unfinished(path)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(index), indent=1))
    new.rename(path)
