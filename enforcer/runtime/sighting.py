"""From an audit observation to a judged record: who did it, to which data object, and was it granted?

The kernel's rule says by its key which object was reached. Only where that does not settle it (a call with two ends, an object
within another, a rule of somebody else's that came first) is the path followed, as it is for refused attempts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

from enforcer import abi
from enforcer.core.decide import FileJudgement, judge_object
from enforcer.core.ids import Reserved
from enforcer.core.image import Image, InodeKey, RowKey
from enforcer.core.model import Access, Hook, Mechanism, Verdict
from enforcer.edges.audit_calls import AT_FDCWD, Call, deed_of
from enforcer.edges.audit_records import Item, Observation
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.refused import Found, candidates
from enforcer.errors import EdgeError, EnforcerError
from enforcer.runtime.lineage import CONTAINER
from enforcer.runtime.look import count, lose
from enforcer.runtime.queue import Queue
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import boot_offset_ns

_REFUSED = frozenset({13, 30})  # EACCES, EROFS: as in probes/file.c
_REACHED = frozenset({"NORMAL", "CREATE", "DELETE"})
_AT_MOST = 8
"""Names of one call that are followed."""


class Sightings:
    """Judges observations by what is in force, counts what is not granted, and puts a record in ``events``.

    ``place`` tells the cgroup path of a process by its pid. Opens that something else refused go to ``attempts``, where the
    reader judges them. ``unplaced``: those of processes that had ended before anybody could tell whose they were.
    """

    def __init__(self, maps: Maps, snapshot: Callable[[], Snapshot | None], cgroups: Cgroups) -> None:
        self._maps, self._snapshot, self._cgroups = maps, snapshot, cgroups
        self.events, self.attempts = Queue(), Queue()
        self.unplaced = 0

    def take(self, call: Call, seen: Observation, own: int, places: tuple[str | None, str | None]) -> None:
        """Judge one call. ``own``: the object that our rule's key names, 0 if none.

        ``places``: the cgroup of the process and, where that cannot be told, the one that its parent is or works for.
        """
        snapshot = self._snapshot()
        made = any(item.kind == "CREATE" for item in seen.items)
        hook, asked = deed_of(call, seen.arguments, seen.how, made=made)
        refused = -seen.exit in _REFUSED and call.hook is Hook.OPEN
        if snapshot is None or not asked or (seen.exit < 0 and not refused):
            return
        subject = self._subject(snapshot, *places)
        if subject is None:
            return
        sight = _Sight(self._cgroups, snapshot, call=call, seen=seen, subject=subject, place=places[0] or "")
        if refused:
            self._attempted(sight, asked)
        else:
            self._judge(sight, hook, asked, own)

    def _subject(self, snapshot: Snapshot, place: str | None, parent: str | None) -> int | None:
        """The subject that a process belongs to; None for the host's, and for one that cannot be told (counted)."""
        where = place or parent
        if where is None:
            self.unplaced += 1
            return None
        if found := CONTAINER.search(where):
            return self._container(snapshot, found[1])
        try:
            known = self._maps.subject(self._cgroups.id_of(where))
        except EdgeError:
            return None
        return known.id if known else None

    def _container(self, snapshot: Snapshot, identity: str) -> int | None:
        try:
            subject = snapshot.state.ids.subject(identity)
        except KeyError:
            return int(Reserved.UNNAMED)
        if RowKey(snapshot.image.generation, subject, 0) not in snapshot.image.rows:
            self.unplaced += 1  # it is gone, and its rows with it
            return None
        return subject

    def _judge(self, sight: _Sight, hook: Hook, asked: Access, own: int) -> None:
        image = sight.snapshot.image
        for number in dict.fromkeys(sight.objects(own)):
            judged = judge_object(image, subject=sight.subject, number=number, asked=asked)
            if judged.verdict is not Verdict.ALLOWED:
                self._report(sight, hook, asked, judged)
                return

    def _report(self, sight: _Sight, hook: Hook, asked: Access, judged: FileJudgement) -> None:
        key = abi.CountKey(
            subject=sight.subject,
            object=judged.object,
            class_=abi.DATA,
            access=asked & ~judged.granted,
            verdict=Verdict.OBSERVED,
            hook=hook,
        )
        record = sight.record(hook, asked)
        record.object, record.granted, record.mode = judged.object, judged.granted, judged.mode
        record.mechanism, record.verdict = Mechanism.AUDIT, Verdict.OBSERVED
        sight.describe(record, judged.object)
        count(key, self._maps)
        if not self.events.put(record):
            lose(sight.subject, abi.LOST_RING, self._maps)

    def _attempted(self, sight: _Sight, asked: Access) -> None:
        """An open that a read-only mount or a file's own mode refused: the reader of records judges it, as the kernel's."""
        record = sight.record(Hook.REFUSED, asked)
        record.mechanism, record.error = Mechanism.MOUNT, sight.seen.exit
        name, record.dirfd = sight.named()
        raw = name[: abi.PATH - 1] + b"\0"
        record.path[: len(raw)] = raw
        record.path_len = len(raw) if len(name) < abi.PATH else abi.PATH_CUT | abi.PATH
        if not self.attempts.put(record):
            self._maps.add_loss(sight.subject, abi.LOST_UNJUDGED, 1)


@dataclass
class _Sight:
    """One observation, and what following its names says."""

    _cgroups: Cgroups
    snapshot: Snapshot
    _: KW_ONLY
    call: Call
    seen: Observation
    subject: int
    place: str

    def objects(self, own: int) -> Iterator[int]:
        """The numbers of the data objects that were reached, most certain first."""
        if own and not self._encloses(own):
            yield own
            if not self.call.both:
                return
        found = [number for number in (self._object(f) for _, f in self._followed) if number]
        yield from found
        if own and not found:
            yield own

    def _encloses(self, number: int) -> bool:
        return any(o.id == number and o.has_inner for o in self.snapshot.image.objects.values())

    def _object(self, found: Found) -> int:
        image = self.snapshot.image
        keys = (InodeKey(i.inode, i.device, image.generation) for i in found.inodes)
        return next((image.objects[key].id for key in keys if key in image.objects), 0)

    @cached_property
    def _followed(self) -> list[tuple[Item, Found]]:
        pid, init = self._pids()
        reached = [item for item in self.seen.items if item.kind in _REACHED][:_AT_MOST]
        found = ((item, self._found(item, pid, init)) for item in reached)
        return [(item, where) for item, where in found if where]

    def _found(self, item: Item, pid: int, init: int) -> Found | None:
        """Where a name led. What was made or removed is looked for by its directory: the name itself may be a link."""
        name, start = self._start(item)
        if item.kind == "NORMAL":
            return candidates(pid, init, start, name)
        above, _, leaf = name.rstrip(b"/").rpartition(b"/")
        found = candidates(pid, init, start, above or (b"/" if name.startswith(b"/") else b"."))
        return found and replace(found, names=(os.fsdecode(leaf), *found.names), exists=False)

    def _pids(self) -> tuple[int, int]:
        """The process, and the first one of its container, each 0 unless it is still what it was."""
        container = self.snapshot.container(self.subject)
        init = container.pid if container and self._cgroups.is_in(container.pid, container.cgroup) else 0
        try:
            return (self.seen.pid if self._cgroups.of_pid(self.seen.pid) == self.place else 0), init
        except EnforcerError:
            return 0, init

    def _start(self, item: Item) -> tuple[bytes, int]:
        """The path of a name, and the descriptor that it starts from if it is relative."""
        name = item.name
        if name is None:
            name = self._of_descriptor() if self.call.fd else b""
        if name.startswith(b"/") or not name:
            return name, AT_FDCWD
        at = self._directory(second=self.call.both and item.kind == "CREATE")
        return (b"/".join((self.seen.cwd.rstrip(b"/"), name)) if at == AT_FDCWD else name), at

    def _directory(self, *, second: bool) -> int:
        if self.call.directory is None:
            return AT_FDCWD
        at = self.seen.arguments[self.call.directory + (2 if second else 0)] & 0xFFFFFFFF
        return at - (1 << 32) if at >> 31 else at

    def _of_descriptor(self) -> bytes:
        try:
            return os.readlink(f"/proc/{self.seen.pid}/fd/{self.seen.arguments[0]}".encode())
        except OSError:
            return b""

    def named(self) -> tuple[bytes, int]:
        """The path as the program gave it, and what it starts from."""
        named = [item for item in self.seen.items if item.name and item.kind != "PARENT"] or list(self.seen.items)
        return self._start(named[-1]) if named else (b"", AT_FDCWD)

    def record(self, hook: Hook, asked: Access) -> abi.CEvent:
        """The record of it, without a judgement."""
        seen = self.seen
        record = abi.CEvent(
            ts_ns=max(0, seen.time_ns - boot_offset_ns()),
            subject=self.subject,
            generation=self.snapshot.image.generation,
            count=1,
            pid=seen.pid,
            tid=seen.pid,
            uid=seen.uid & 0xFFFFFFFF,
            hook=hook,
            class_=abi.DATA,
            asked=asked,
            comm=seen.comm[: abi.COMM - 1],
        )
        try:
            record.cgroup_id = self._cgroups.id_of(self.place) if self.place else 0
        except EnforcerError:
            record.cgroup_id = 0
        return record

    def describe(self, record: abi.CEvent, number: int) -> None:
        """Put the evidence in: the file, and its path below the object's root, or as it was given if that cannot be told."""
        within = [(item, found) for item, found in self._followed if self._object(found) == number]
        if within:
            item, found = within[0]
            image = self.snapshot.image
            path = os.fsencode(found.below(_root(image, found)))
        else:
            item = next((i for i in self.seen.items if i.kind in _REACHED), Item(b"", 0, 0, ""))
            path = self._start(item)[0]
        record.inode, record.device = item.inode, item.device
        fill_path(record, path)


def _root(image: Image, found: Found) -> int:
    keys = (InodeKey(i.inode, i.device, image.generation) for i in found.inodes)
    return next(n for n, key in enumerate(keys) if key in image.objects)


def fill_path(record: abi.CEvent, path: bytes) -> None:
    """A path as the kernel's side writes it: components leaf first, NUL after each, the upper end cut if there is no room."""
    room, cut = b"", False
    for part in reversed([p for p in path.split(b"/") if p]):
        if len(room) + len(part) + 1 > abi.PATH:
            cut = True
            break
        room += part + b"\0"
    record.path[: len(room)] = room
    record.path_len = len(room) | (abi.PATH_CUT if cut else 0)
