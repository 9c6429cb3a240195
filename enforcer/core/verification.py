"""Is a journal as it was written? Its lines go in, as raw bytes; out comes what is wrong, and where.

What no chain can tell: whole batches that are missing at the very end, and a journal that was written anew from somewhere on.
A digest that was noted elsewhere (``wanted``) tells both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from hashlib import sha256

from enforcer.core.chain import ORIGIN, Link, covered, is_older, link_of

REMOVED = "journal-removed"
"""The action of retention's notice; its fields ``through`` and ``sha256`` say up to which record, and its batch's digest."""

MOST_FAULTS = 100
"""So many faults are told; what is beyond is counted."""

_LONGEST = 1 << 18  # records without a chain that are kept in mind: no batch of the agent's is nearly as long
_NUMBER = re.compile(rb'"event":\{"sequence":([0-9]{1,20})[,}]')
_REMOVED = f'"action":"{REMOVED}"'.encode()


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, at a line of a segment: ``kind`` is changed, missing, reordered, cut, damaged, index or head."""

    segment: str
    line: int
    sequence: int
    kind: str
    text: str


@dataclass(frozen=True)
class _Line:
    number: int
    sequence: int | None


@dataclass(frozen=True)
class _Origin:
    """Where the oldest chained record stands, the number before it, and the digest that its batch follows on (None: damaged)."""

    segment: str
    through: int
    previous: str | None


class Verification:
    """Fed segment by segment and line by line, oldest first.

    ``head`` is the digest reached (None where the chain is broken), ``last`` the number of the last record, ``unchained`` how
    many records an older version wrote, ``wanted_at`` the record that the noted digest stands for.
    """

    def __init__(self, wanted: str = "") -> None:
        self._wanted = wanted
        self._segment, self._line = "", 0
        self._first: int | None = None
        self._batch, self._hash = list[_Line](), sha256()
        self._removed: dict[int, str] = {}  # through which record, as retention's notices say, and its batch's digest
        self._origin: _Origin | None = None
        self._sure = True  # is ``last`` the number of the last record of what was read?
        self._damage: int | None = None  # which fault tells of the segment that was read last
        self.faults: list[Fault] = []
        self.more_faults = 0
        self.head: str | None = None
        self.last: int | None = None
        self.records = self.unchained = 0
        self.wanted_at: int | None = None

    def begin(self, segment: str, first: int | None) -> None:
        """A segment begins, whose name says that its first record is ``first`` (None: it has no such name)."""
        self._close_batch()
        self._segment, self._first, self._line = segment, first, 0
        if self._sure and self.last is not None and first is not None and first > self.last + 1:
            text = f"records {self.last + 1} to {first - 1} are missing before this segment"
            self._wrong("missing", 1, self.last + 1, text)
            self.head = None
        if not self._sure and first is not None:
            self._unknown_before(first)
        if first is not None:
            self.last = max(self.last or 0, first - 1)
        self._sure, self._damage = True, None

    def line(self, line: bytes) -> None:
        """The segment's next line, newline included."""
        self._line += 1
        self.records += 1
        found = _NUMBER.search(line)
        sequence = int(found[1]) if found else None
        if is_older(line) and not self._origin:
            self._older(line)
            return
        if _REMOVED in line:
            self._hear(line)
        self._batch.append(_Line(self._line, sequence))
        link = link_of(line)
        self._hash.update(covered(line, link) if link else line)
        if link:
            self._judge(link)
        elif len(self._batch) >= _LONGEST:
            self._close_batch()

    def damaged(self, why: str) -> None:
        """The rest of the segment cannot be read."""
        self._wrong("damaged", self._line + 1, (self.last or 0) + 1, why)
        self._damage = len(self.faults) - 1 if not self.more_faults else None
        self._origin = self._origin or _Origin(self._segment, (self._first or 1) - 1, None)
        self._sure = False
        self._forget()

    def beside(self, kind: str, text: str) -> None:
        """Something is wrong beside the lines of the segment."""
        self._wrong(kind, 1, self._first or 1, text)

    def gone(self, segment: str, first: int) -> None:
        """At the end: a segment behind the last one was there, as what it left behind tells."""
        self._segment = segment
        self._wrong(
            "missing", 1, first, f"the segment with record {first} and what follows is missing: its index is there"
        )

    def end(self, *, live: bool = False, alone: bool = False) -> None:
        """Nothing more comes. ``live``: an agent writes, so a last batch that is not whole yet is none that was cut; ``alone``:
        what was before the first record is not asked.
        """
        if not live:
            self._close_batch()
        origin = self._origin if not alone else None
        if origin and not self._is_explained(origin):
            self._segment = origin.segment
            text = f"records 1 to {origin.through} are missing, and no notice says that retention removed them"
            began = origin.through == 0 or self.unchained > 0
            self._wrong("missing", 1, 1, "the chain does not begin here" if began else text)
        if self._wanted and self.wanted_at is None:
            self._wrong("head", self._line, self.last or 0, f"the digest {self._wanted} is not in the chain")

    def _is_explained(self, origin: _Origin) -> bool:
        """Is it right that nothing is there before? Retention may have said more than it could remove yet.

        After records of a version that wrote no chain it begins as if nothing was there before: who put them there cannot know.
        """
        if origin.through == 0 or self.unchained:
            return origin.previous in (ORIGIN, None)
        digest = self._removed.get(origin.through)
        said = digest is not None and origin.previous in (digest, None)
        return said or any(through > origin.through for through in self._removed)

    def _older(self, line: bytes) -> None:
        """A record of a version that wrote no chain: only its number can be looked at."""
        self.unchained += 1
        number = _number_of(line)
        expected = number if self.last is None else self.last + 1
        if number is None or number != expected:
            self._misplaced(_Line(self._line, number), number or 0, expected or 0, shuffled=False)
        self.last = max(self.last or 0, number or 0)

    def _unknown_before(self, first: int) -> None:
        """The segment before is damaged: whether more is missing between that and the record ``first`` cannot be seen."""
        begin = (self.last or 0) + 1
        if self._damage is not None and begin < first:
            fault = self.faults[self._damage]
            text = f"{fault.text}; what of the records {begin} to {first - 1} was there is not known"
            self.faults[self._damage] = replace(fault, text=text)

    def _judge(self, link: Link) -> None:
        """A batch is complete."""
        sound = self._hash.hexdigest() == link.sha256
        numbers = [line.sequence or 0 for line in self._batch]
        if not self._origin:
            through = (numbers[0] - 1) if self.last is None else self.last
            self._origin = _Origin(self._segment, through, link.previous)
            self.last = through
        self._blame(link, numbers, sound=sound)
        if sound and link.sha256 == self._wanted:
            self.wanted_at = numbers[-1]
        self.head, self.last = link.sha256, max(self.last or 0, *numbers)
        self._batch, self._hash = [], sha256()

    def _blame(self, link: Link, numbers: list[int], *, sound: bool) -> None:
        """The first thing that is wrong with the batch: its numbers tell most; if they are right, its digests."""
        expected = (self.last or 0) + 1
        run = range(expected, expected + len(numbers))
        for line, number, wanted in zip(self._batch, numbers, run, strict=True):
            if number != wanted:
                self._misplaced(line, number, wanted, shuffled=sorted(numbers) == list(run))
                return
        first, last = self._batch[0], self._batch[-1]
        if not sound:
            text = (
                f"one of the records {numbers[0]} to {numbers[-1]} (lines {first.number} to {last.number}) was changed"
            )
            more = "" if link.records == len(numbers) else f"; {link.records} records were here"
            self._wrong("changed", first.number, numbers[0], text + more)
        elif self.head is not None and link.previous != self.head:
            self._wrong("changed", first.number, numbers[0], "what stands before this line is not what it followed on")

    def _misplaced(self, line: _Line, number: int, wanted: int, *, shuffled: bool) -> None:
        if line.sequence is None:
            self._wrong("changed", line.number, wanted, "the line is no record")
        elif shuffled or number < wanted:
            self._wrong("reordered", line.number, number, f"record {number} stands where {wanted} should")
        else:
            text = f"record {wanted} is" if number == wanted + 1 else f"records {wanted} to {number - 1} are"
            self._wrong("missing", line.number, wanted, f"{text} missing before this line")

    def _close_batch(self) -> None:
        """At the end of a segment: a batch without its chain was cut."""
        if self._batch:
            first, last = self._batch[0], self._batch[-1]
            text = f"the end of a batch is missing, of which {len(self._batch)} records are there"
            self._wrong("cut", first.number, first.sequence or (self.last or 0) + 1, text)
            self.last = max(self.last or 0, last.sequence or 0)
            self._forget()

    def _forget(self) -> None:
        """Where the chain is broken: what follows may follow on anything."""
        self._batch, self._hash, self.head = [], sha256(), None

    def _hear(self, line: bytes) -> None:
        """A notice of what retention removed."""
        try:
            fields = json.loads(line)["enforcer"]["fields"]
            through, digest = int(fields["through"]), str(fields["sha256"])
        except (ValueError, KeyError, TypeError):
            return
        self._removed[through] = digest
        if digest == self._wanted:
            self.wanted_at = through

    def _wrong(self, kind: str, line: int, sequence: int, text: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(self._segment, line, sequence, kind, text))
        else:
            self.more_faults += 1


def _number_of(line: bytes) -> int | None:
    """The number that a line says of itself, if it is a JSON document with one."""
    try:
        number = json.loads(line)["event"]["sequence"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if isinstance(number, int) else None
