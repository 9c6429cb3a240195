"""One look of the sweep: what it goes by, what it has found, and how that is counted and put on record."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from enforcer import abi
from enforcer.core.decide import NetJudgement
from enforcer.core.model import Access, Hook, Mechanism, Verdict
from enforcer.edges.bpf.maps import Maps
from enforcer.errors import EdgeError
from enforcer.runtime.owners import Owner
from enforcer.runtime.queue import Queue
from enforcer.runtime.reconcile import Snapshot

log = logging.getLogger(__name__)

BUDGET = 1024
"""Records of one container in one look; what is more is counted without one, so that it pushes nobody's out."""

Told = tuple[int, int, int, Verdict]
"""Namespace, the kernel's number of the socket, generation of the policy, verdict: what is reported once."""


@dataclass(frozen=True)
class Swept:
    """What one look found: what is not allowed by verdict, and how much of it was not reported before.

    ``failures``: what could not be looked at, or not be cut → why. ``whole``: nothing was published while it looked.
    """

    found: Mapping[Verdict, int] = field(default_factory=dict)
    reported: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True


@dataclass
class Look:
    """``before`` was told already. ``judging`` False: nothing is cut or reported."""

    snapshot: Snapshot
    before: Collection[Told] = ()
    judging: bool = True
    told: set[Told] = field(default_factory=set)
    found: Counter[Verdict] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    reported: int = 0
    records: Counter[int] = field(default_factory=Counter)
    """By subject."""

    def settle(
        self,
        told: Told,
        judged: NetJudgement,
        *,
        record: Callable[[], abi.CEvent],
        cut: Callable[[], str],
        failure: str,
    ) -> abi.CEvent | None:
        """What is not allowed: cut it if the policy enforces, and make its record, None if it is on record.

        ``cut`` says why it cannot be; then it is observed, which is said under ``failure`` unless that is "".
        """
        # before it is cut: the process that holds it may end of that
        made = None if told in self.before or told in self.told else record()
        self.told.add(told)
        verdict = judged.verdict
        if verdict is Verdict.DENIED and (why := cut()):
            verdict = Verdict.OBSERVED
            if failure:
                self.failures[failure] = why
        self.found[verdict] += 1
        if made:
            self.reported += 1
            made.verdict = verdict
        return made


def record_of(  # noqa: PLR0913 -- what a socket is, and how it was judged
    generation: int, owner: Owner, judged: NetJudgement, *, inode: int, uid: int, protocol: int
) -> abi.CEvent:
    """What is recorded of a socket that a container holds; the caller adds where it leads to."""
    pid, name = owner.holder(inode)
    return abi.CEvent(
        ts_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        subject=owner.subject,
        object=judged.network,
        peer=judged.peer,
        generation=generation,
        count=1,
        pid=pid,
        tid=pid,
        uid=uid,
        hook=Hook.SWEEP,
        mechanism=Mechanism.SWEEP,
        class_=abi.INSIDE,
        asked=Access.CONNECT,
        granted=judged.granted,
        mode=judged.mode,
        protocol=protocol,
        comm=name.encode("utf-8", "surrogateescape")[: abi.COMM - 1],
    )


def report(record: abi.CEvent, maps: Maps, queue: Queue, records: Counter[int]) -> None:
    """Count it, and have it recorded; what there is no room for is counted as lost. ``records``: how many each subject has had."""
    records[record.subject] += 1
    key = abi.CountKey(
        subject=record.subject,
        object=record.object,
        peer=record.peer,
        class_=record.class_,
        access=Access.CONNECT,
        verdict=record.verdict,
        hook=Hook.SWEEP,
    )
    count(key, maps)
    if records[record.subject] > BUDGET:
        lose(record.subject, abi.SUPPRESSED_BUDGET, maps)
    elif not queue.put(record):
        lose(record.subject, abi.LOST_RING, maps)


def count(key: abi.CountKey, maps: Maps) -> None:
    """Count what the agent has found; where there is no room for it, that."""
    try:
        maps.add_count(key, 1)
    except EdgeError:  # the map is full, as in the kernel
        lose(key.subject, abi.LOST_COUNTS, maps)


def lose(subject: int, cause: int, maps: Maps) -> None:
    """Count what was found and is not told."""
    try:
        maps.add_loss(subject, cause, 1)
    except EdgeError as e:
        log.error("a loss of subject %d cannot be counted: %s", subject, e)
