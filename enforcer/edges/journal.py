"""The journal's writing side: ECS JSON Lines that only grow, committed batch by batch, held by one agent.

A directory of segments ``events-<first sequence number, 20 digits>.jsonl``, whose names sort in the order of time; those that
are complete are sealed (``.zst``, ``enforcer.edges.seal``), and the oldest go (``enforcer.edges.retention``). ``flock`` on the
directory keeps a second agent out. Losses are never silent: a torn end is cut when the journal is opened and told by ``recovered``;
a batch that the disk refuses is refused whole, with ``EdgeError``. Batches are chained by hash (``enforcer.core.chain``).
``enforcer.edges.segments`` reads what this writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from enforcer.core.chain import ORIGIN, Chaining, Link
from enforcer.core.event import Event, Notice
from enforcer.edges.appending import Appended, locked, opened
from enforcer.edges.ecs import encode_all
from enforcer.edges.keeper import Keeper
from enforcer.edges.retention import expired, notice_of
from enforcer.edges.segments import SEALED, first_sequence, segment_name, segments_of
from enforcer.edges.standing import Standing, since_boot
from enforcer.edges.tail import Tail, last_tail, tail_of
from enforcer.errors import EdgeError, HostError
from enforcer.settings import LIMITS, Limits

PIECE = 512
"""Records that are encoded at once, some 500 kB: they stay in the processor's cache until they are written."""

LOOK_NS = 60_000_000_000
"""How often the limits are looked at, beside after each rotation."""

JUMP_NS = 1_000_000_000
"""A clock that goes back by more than this is put on record: adjustments are slower."""


class Journal:
    """One per directory, used by one thread. ``clock`` is UTC in nanoseconds, ``boot`` what has passed since the machine's start.

    ``recovered`` is the number of bytes that were cut from a torn end when the directory was last opened. Raises
    ``HostError`` if the directory cannot be made, written or trusted, or if another agent holds it.
    """

    def __init__(
        self,
        directory: Path,
        limits: Limits = LIMITS,
        *,
        clock: Callable[[], int] = time.time_ns,
        boot: Callable[[], int] = since_boot,
    ) -> None:
        self._directory, self._limits, self._clock, self._boot = directory, limits, clock, boot
        self._standing = Standing(clock(), boot())
        self._lock = -1
        self._segment: Appended | None = None
        self._committed: Appended | None = None  # outlives a failure: what lies behind its end was never promised
        self._keeper = Keeper(directory)
        self._last = 0
        self._head, self._mark = ORIGIN, ""
        self._now = self._looked = self._gone_through = 0
        self._trouble = ""
        self.recovered = 0
        self._open()

    @property
    def mark(self) -> str:
        """What was last committed as a mark, by whichever agent wrote here; empty if nothing was."""
        return self._mark

    def append(self, batch: Sequence[Event | Notice], *, mark: str = "") -> int:
        """Write and sync ``batch``, numbered on from the last record; returns the last number given.

        ``mark`` is any text of at most 4096 characters, committed with the batch; an empty one leaves the last as it is.
        The numbers that the items carry are not looked at. What the journal has to say itself stands before the batch. Raises
        ``EdgeError`` if the disk refuses: then nothing of the batch is in the journal, and the next call opens the directory again.
        """
        try:
            segment = self._segment or self._open()
            if not batch:
                return self._last
            now, boot = self._clock(), self._boot()
            self._standing.look(now, boot)
            if segment.end and self._is_full(segment, now):
                segment = self._rotate(now)
            gone, trouble = self._gone(now, boot), self._keeper.trouble
            self._commit(segment, [*self._own_notices(gone, trouble, now), *batch], mark or self._mark)
        except (OSError, HostError, EdgeError) as e:
            self.close()
            raise EdgeError(f"the journal in {self._directory} cannot be written: {_why(e)}") from e
        if gone:
            self._keeper.order(segment.path, gone)
            self._gone_through = first_sequence(gone[-1])
        self._now, self._trouble, self._standing.ahead = now, trouble, 0
        return self._last

    def close(self, *, settle: bool = False) -> None:
        """Let the directory go. Every batch is on the disk already; ``settle``: every complete segment is sealed first."""
        self._keeper.settle() if settle else self._keeper.stop()
        for fd in (self._segment.fd if self._segment else -1, self._lock):
            if fd >= 0:
                os.close(fd)
        self._segment, self._lock = None, -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _commit(self, segment: Appended, items: Sequence[Event | Notice], mark: str) -> None:
        chain = Chaining(self._head)
        self._segment = self._committed = segment.write(self._pieces(items, mark, chain))
        self._last += len(items)
        self._head, self._mark = chain.digest, mark

    def _pieces(self, items: Sequence[Event | Notice], mark: str, chain: Chaining) -> Iterator[bytes]:
        """The lines of one batch, encoded while the disk takes those before."""
        for start in range(0, len(items), PIECE):
            lines = encode_all(items[start : start + PIECE], self._last + 1 + start)
            rest = len(items) - start - PIECE
            yield chain.more(lines) if rest > 0 else chain.last(lines, len(items), mark)

    def _is_full(self, segment: Appended, now: int) -> bool:
        """Age is counted either way: a first record from a wrong clock's future must not keep its segment open for ever."""
        return segment.end >= self._limits.segment_size or abs(now - segment.since) >= self._limits.segment_age * 1e9

    def _rotate(self, now: int) -> Appended:
        segment = self._hold(self._directory / segment_name(self._last + 1), now)
        os.fsync(self._lock)  # the file's name is on the disk before the first line is promised to be
        self._committed, self._looked = segment, 0
        self._keeper.order(segment.path)
        return segment

    def _gone(self, now: int, boot: int) -> list[Path]:
        """What is to be removed: looked for after a rotation, and every minute. Nothing is too old by a clock that was just set."""
        if abs(now - self._looked) < LOOK_NS:
            return []
        self._looked = now
        return expired(self._kept(), self._limits, now if self._standing.stood(boot) else 0)

    def _kept(self) -> list[Path]:
        """The segments but for those that the keeper was told to remove."""
        return [segment for segment in segments_of(self._directory) if first_sequence(segment) > self._gone_through]

    def _own_notices(self, gone: Sequence[Path], trouble: str, now: int) -> list[Notice]:
        found = []
        if now < self._now - JUMP_NS:
            back = (self._now - now) // 1_000_000
            text = f"the clock went back by {back / 1000:.3f} s: the order of the records is that of their numbers"
            found.append(Notice(0, now, "clock-set-back", text, outcome="unknown", fields={"milliseconds": back}))
        if self._standing.ahead:
            text = f"the clock was set ahead by {self._standing.ahead / 1e9:.3f} s: for an hour nothing is removed for its age"
            fields: dict[str, str | int] = {"milliseconds": self._standing.ahead // 1_000_000}
            found.append(Notice(0, now, "clock-set-forward", text, outcome="unknown", fields=fields))
        if trouble and trouble != self._trouble:
            text = f"complete segments cannot be sealed or removed: {trouble}"
            found.append(Notice(0, now, "journal-not-sealed", text, outcome="failure"))
        if gone:
            last = first_sequence(gone[-1])  # the keeper may just have sealed any of them: its number stays
            following = next(segment for segment in self._kept() if first_sequence(segment) > last)
            found.append(notice_of(gone, following, self._head, now))
        return found

    def _open(self) -> Appended:
        now = self._clock()
        try:
            self._lock = locked(self._directory)
            segment, tail = self._newest(now)
            os.fsync(self._lock)
        except OSError as e:
            self.close()
            raise HostError(
                f"the journal directory {self._directory} cannot be used: {_why(e)}; "
                "make it writable for the agent, or name another with --journal"
            ) from e
        except (HostError, EdgeError):
            self.close()
            raise
        self._committed, self._last = segment, max(self._last, tail.last)
        self._now, self._looked = max(self._now, tail.time_ns), 0
        if tail.link:
            self._head, self._mark = tail.link.sha256, tail.link.mark
        self._keeper, self._gone_through = Keeper(self._directory), 0
        if first_sequence(segment.path) > 1:
            self._keeper.order(segment.path)  # what the last run left to be done
        return segment

    def _newest(self, now: int) -> tuple[Appended, Tail]:
        """The segment that lines go to, cut where what was committed ends, and the tail of the journal."""
        segments = segments_of(self._directory)
        if segments and not segments[-1].name.endswith(SEALED):
            segment = self._hold(segments[-1], now, new=False)
            tail = self._tail(segment)
            self.recovered = segment.cut(tail.end)
            if tail.link or not tail.end:
                before = None if tail.link or not segments[1:] else last_tail(segments[-2]).link
                self._segment = replace(segment, end=tail.end)
                return self._segment, replace(tail, link=tail.link or before)
        else:
            tail, self.recovered = last_tail(segments[-1]) if segments else Tail(0, self._last), 0
        # what is there is complete, or by a version that wrote no chain: ours begins in a segment of its own
        return self._hold(self._directory / segment_name(max(tail.last, self._last) + 1), now), tail

    def _tail(self, segment: Appended) -> Tail:
        known = self._committed
        same = known is not None and (known.path, known.inode) == (segment.path, segment.inode)
        if not known or not same or known.end > os.fstat(segment.fd).st_size:
            return tail_of(segment.path, segment.fd)
        return Tail(known.end, self._last, link=Link(0, self._mark, ORIGIN, self._head))

    def _hold(self, path: Path, now: int, *, new: bool = True) -> Appended:
        """From now on lines go to ``path``."""
        segment = opened(path, now_ns=now, new=new)
        if self._segment:
            os.close(self._segment.fd)
        self._segment = segment
        return segment


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
