"""``enforcer log show``: one record, and all that is known of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import click

from enforcer.cli.filters import journal_option
from enforcer.cli.log import timeline
from enforcer.cli.render import emit, format_option
from enforcer.core.event import Event, Notice
from enforcer.core.query import containers_of
from enforcer.core.told import told
from enforcer.core.words import escape
from enforcer.edges.segments import blocks, first_sequence, plain, read, segments_of
from enforcer.errors import UsageError

AROUND = 3
"""Records of the same container that are shown before and after."""


@dataclass(frozen=True)
class Found:
    """A record, and where it stands: the file and its line, from 1."""

    item: Event | Notice
    segment: Path
    line: int


@click.command("show")
@click.argument("sequence", metavar="SEQ", type=click.IntRange(min=0))
@journal_option
@format_option
def show_command(*, sequence: int, journal: Path, format_: str) -> None:
    """Show the record number SEQ with everything that is known of it, and what the same container did before and after.

    The number is event.sequence in `log --format json`. --format json prints its line as it is.

    Exit status: 0; 2 no such record or journal; 4 the journal cannot be read.
    """
    shown = find(journal, sequence)
    if format_ == "json":
        emit([line_of(shown)])
        return
    before, after = neighbours(journal, shown)
    facts = [*told(shown.item), ("journal", f"{escape(str(shown.segment))}:{shown.line}")]
    width = max(len(label) for label, _ in facts)
    emit([f"record {sequence}", "", *(f"{label.ljust(width)}  {text}" for label, text in facts)])
    whose = " of this container" if any(containers_of(shown.item)) else ""
    for title, items in ((f"before{whose}", before), (f"after{whose}", after)):
        emit(["", title, *(timeline(items) if items else ["nothing"])])


def find(journal: Path, sequence: int) -> Found:
    """The record of that number. Raises ``UsageError`` if the journal has none, as one whose segment was removed."""
    for segment in _from(segments_of(journal), sequence):
        for line, item in enumerate(read([segment]), start=1):
            if item.sequence == sequence:
                return Found(item, segment, line)
    raise UsageError(
        f"{journal} has no record {sequence}: `enforcer log --format json` shows the numbers that there are"
    )


def line_of(found: Found) -> str:
    """The record as it stands in the journal, with what chains it to others."""
    lines = (line for block in blocks(found.segment) for line in block.split(b"\n")[:-1])
    return next(islice(lines, found.line - 1, None)).decode()


def neighbours(journal: Path, found: Found) -> tuple[list[Event | Notice], list[Event | Notice]]:
    """The last records before and the first after that are about the same container; about anything if it names none.

    Raises ``UsageError`` if the record's segment was removed since; sealed it may be.
    """
    segments, whose = segments_of(journal), containers_of(found.item)
    try:
        place = [plain(segment) for segment in segments].index(plain(found.segment))
    except ValueError as e:
        raise UsageError(f"record {found.item.sequence} was just removed, as the limits of the journal say") from e
    before: list[Event | Notice] = []
    for segment in segments[place::-1]:  # backwards, so that no more of a large journal is read than must be
        if len(before) < AROUND:
            earlier = (i for i in _about(whose, [segment]) if i.sequence < found.item.sequence)
            before = [*deque(earlier, AROUND - len(before)), *before]
    later = (i for i in _about(whose, segments[place:]) if i.sequence > found.item.sequence)
    return before, list(islice(later, AROUND))


def _from(segments: list[Path], sequence: int) -> list[Path]:
    """Without the segments that end before ``sequence``; where there is but one, its name may be any."""
    return [s for s, after in zip_longest(segments, segments[1:]) if after is None or first_sequence(after) > sequence]


def _about(whose: tuple[str, str], segments: Iterable[Path]) -> Iterator[Event | Notice]:
    return (item for item in read(segments) if not any(whose) or _same(containers_of(item), whose))


def _same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """By the id where both have one: a name may have belonged to another container before."""
    return one[1] == other[1] if one[1] and other[1] else bool(one[0]) and one[0] == other[0]
