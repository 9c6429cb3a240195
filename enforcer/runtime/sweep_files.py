"""The sweep of files: what containers had open before they were governed, or under a policy that granted more.

The kernel's hooks judge a file when it is opened. What is open is found here, judged as any other, counted and recorded with
mechanism ``sweep``. It cannot be taken away from its holder: the verdict is ``observed`` in every mode, and what is enforced
is told as not held until the holder has closed it or has ended. No holder is killed for it: a policy that takes a grant back
would end a database in the midst of its work, and ``docker restart`` is the operator's to say.

Where the policy enforces, what is open and not allowed got past every hook, and is told whenever it is found. Where it only
watches, the hooks have told of each open since the policy came, so it is told only if what came before allowed it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from enforcer import abi
from enforcer.core.decide import FileJudgement, judge_object
from enforcer.core.ids import Special
from enforcer.core.image import Image
from enforcer.core.model import Access, Hook, Mechanism, Mode, Verdict
from enforcer.core.words import access_words, escape
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.opened import Opened
from enforcer.errors import EdgeError
from enforcer.runtime.look import BUDGET, count, lose
from enforcer.runtime.queue import Queue
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import UNNAMED, object_of

log = logging.getLogger(__name__)

AGAIN_S = 1.0
"""An open that was judged just before the change may have its descriptor just after the look: then it is looked once more."""

EVERY_S = 60.0
"""How often it is looked when nothing changes: what has been closed is held against nobody, and what no hook sees is found."""

PAUSE_S = 0.25
SHARE = 20
"""Looks are at least so far apart, and so many times what the last one took of a processor: a host with a hundred thousand open
files on which containers come and go costs a twentieth of one."""

BLIND = "files that were open already are not looked at"

_Told = tuple[int, ...]
"""A file that a process has open for something, and the mode that it is judged in: what is reported once."""


@dataclass(frozen=True)
class Found:
    """What one look found: open files that are not allowed by subject, and how many of them were not reported before.

    ``failures``: what is not held, or could not be looked at → why.
    """

    found: Mapping[int, int] = field(default_factory=dict)
    reported: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)


class FileSweep:
    """Looks when what is in force has changed, soon after that, and now and then; in a thread of its own.

    ``maps`` are for that thread alone; ``snapshot`` gives what is in force, ``opened`` a look at what is open.
    """

    def __init__(self, maps: Maps, snapshot: Callable[[], Snapshot | None], opened: Callable[[Maps], Opened]) -> None:
        self._maps, self._snapshot, self._opened = maps, snapshot, opened
        self._woken, self._ending = threading.Event(), threading.Event()
        self._told: frozenset[_Told] = frozenset()
        self.events = Queue()
        self.last = Found()

    def wake(self) -> None:
        """What is in force may have changed. Any thread may call it; it returns at once."""
        self._woken.set()

    def end(self) -> None:
        """End the loop, after the look that it may be at."""
        self._ending.set()
        self._woken.set()

    def run(self) -> None:
        """Look, and wait for the next reason to, until the end."""
        looked: Snapshot | None = None
        before: Image | None = None
        due, begun = 0.0, time.thread_time()
        while not self._ending.wait(max(PAUSE_S, SHARE * (time.thread_time() - begun))):
            self._woken.clear()
            begun = time.thread_time()
            snapshot, now = self._snapshot(), time.monotonic()
            if snapshot is not looked:
                before = looked.image if looked else None
                looked, due = snapshot, now + AGAIN_S
                self.look(before)
                if before is None and snapshot:
                    before = snapshot.image  # what is opened from now on is the hooks' to tell
            elif snapshot and now >= due:
                self.look(before)
                before, due = snapshot.image, now + EVERY_S
            if not self._ending.is_set():  # the end may have woken us before this round began
                self._woken.wait(max(0.0, due - time.monotonic()))

    def shortcomings(self) -> dict[str, str]:
        """What the last look found that is not held, or could not look at, and why."""
        return dict(self.last.failures)

    def look(self, before: Image | None = None) -> Found:
        """Find and report, once. ``before``: what was in force until the last change, None if that is not known."""
        snapshot = self._snapshot()
        if snapshot is None:
            return self.last
        look = _Look(snapshot, before, known=self._told)
        try:
            opened = self._opened(self._maps)
            for record in opened.all():
                self._judge(record, look)
            look.untold = opened.untold()
        except EdgeError as e:
            look.failures[BLIND] = str(e)
            look.told |= self._told
        if look.overtaken:
            self._told |= look.told
            return self.last
        self._told = frozenset(look.told)
        failures = look.shortcomings()
        for what, why in failures.items() - self.last.failures.items():
            log.warning("%s: %s", what, why)
        self.last = Found(dict(look.found), look.reported.total(), failures)
        return self.last

    def _judge(self, record: abi.Opened, look: _Look) -> None:
        event, image = record.event, look.snapshot.image
        if event.generation != image.generation:
            look.overtaken = True  # another policy is being put in force: a look comes after it
            return
        judged = judge_object(image, subject=event.subject, number=event.object, asked=Access(event.asked))
        told = (*_key(record), judged.mode)
        if judged.verdict is Verdict.ALLOWED or told in look.told:
            return
        look.add(told, record, judged)
        if told not in look.known and look.is_news(event, judged):
            self._report(event, judged, look)

    def _report(self, event: abi.CEvent, judged: FileJudgement, look: _Look) -> None:
        look.reported[event.subject] += 1
        key = abi.CountKey(
            subject=event.subject,
            object=event.object,
            class_=abi.DATA,
            access=event.asked & ~judged.granted,
            verdict=Verdict.OBSERVED,
            hook=Hook.SWEEP,
        )
        count(key, self._maps)
        if look.reported[event.subject] > BUDGET:
            lose(event.subject, abi.SUPPRESSED_BUDGET, self._maps)
        elif not self.events.put(_complete(event, judged)):
            lose(event.subject, abi.LOST_RING, self._maps)


@dataclass
class _Look:
    """One look: what it goes by, and what it has found so far, by subject."""

    snapshot: Snapshot
    before: Image | None
    known: Collection[_Told] = ()
    told: set[_Told] = field(default_factory=set)
    found: Counter[int] = field(default_factory=Counter)
    reported: Counter[int] = field(default_factory=Counter)
    unheld: Counter[int] = field(default_factory=Counter)
    examples: dict[int, str] = field(default_factory=dict)
    untold: Mapping[int, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    overtaken: bool = False

    def add(self, told: _Told, record: abi.Opened, judged: FileJudgement) -> None:
        """One more that is not allowed."""
        self.told.add(told)
        self.found[record.event.subject] += 1
        if judged.mode is Mode.ENFORCE:
            self.unheld[record.event.subject] += 1
            self.examples.setdefault(record.event.subject, self._words(record.event, judged))

    def is_news(self, event: abi.CEvent, judged: FileJudgement) -> bool:
        """Has no hook told of it when it was opened?"""
        if judged.mode is Mode.ENFORCE or self.before is None or event.object not in self._objects_before:
            return True
        then = judge_object(self.before, subject=event.subject, number=event.object, asked=Access(event.asked))
        return then.verdict is Verdict.ALLOWED

    @cached_property
    def _objects_before(self) -> frozenset[int]:
        named = (found.id for found in self.before.objects.values()) if self.before else ()
        return frozenset((*Special, *named))

    def _words(self, event: abi.CEvent, judged: FileJudgement) -> str:
        thing = object_of(self.snapshot.state, event.object, 0)
        missing = "/".join(access_words(Access(event.asked) & ~judged.granted))
        name = escape(event.comm.decode("utf-8", "surrogateescape"))
        return f"{missing} {thing.kind} {escape(thing.name)} by {name} ({event.pid})"

    def shortcomings(self) -> dict[str, str]:
        """What is not held, and what was not looked at, container by container."""
        held = {
            f"{self._name(subject)} still has {n} files open that the policy does not allow: restart it": (
                f"an open file cannot be taken away; one of them: {self.examples[subject]}"
            )
            for subject, n in self.unheld.items()
        }
        unseen = {
            f"{n} more descriptors of {self._name(subject)} are not looked at": (
                f"it has more than {abi.MAX_OPENED} that the policy does not allow"
            )
            for subject, n in self.untold.items()
        }
        return {**held, **unseen, **self.failures}

    def _name(self, subject: int) -> str:
        return f"container {self.snapshot.state.container(subject) or UNNAMED}"


def _key(record: abi.Opened) -> _Told:
    event = record.event
    return event.subject, event.pid, record.began, event.device, event.inode, record.version, event.asked


def _complete(event: abi.CEvent, judged: FileJudgement) -> abi.CEvent:
    """The record as others are: with its time and what became of it."""
    event.ts_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    event.count, event.class_ = 1, abi.DATA
    event.hook, event.mechanism, event.verdict = Hook.SWEEP, Mechanism.SWEEP, Verdict.OBSERVED
    event.granted, event.mode = judged.granted, judged.mode
    return event
