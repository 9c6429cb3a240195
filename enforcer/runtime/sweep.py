"""The sweep: connections that are older than the policy, or than the agent, and that it does not allow.

The kernel's hooks judge a connection when it is made. What was open before is found here by sock_diag, judged as any other,
counted and recorded with mechanism ``sweep``, and cut where the policy enforces. It delays nothing: the rows are in the kernel
before it looks, and it has a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from enforcer import abi
from enforcer.core.address import packed
from enforcer.core.decide import NetJudgement, judge_net
from enforcer.core.model import Access, Hook, Mechanism, Verdict
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.flows import TCP, Flow, Flows
from enforcer.errors import ContainerGone, EdgeError, EnforcerError
from enforcer.runtime.owners import Owner, Owners
from enforcer.runtime.queue import Joined, Queue
from enforcer.runtime.reconcile import Snapshot

log = logging.getLogger(__name__)

_STATES = {Verdict.OBSERVED: abi.FLOW_OBSERVED, Verdict.DENIED: abi.FLOW_DENIED}

AGAIN_S = 1.0
"""A connect that was judged just before the change may not be listed yet: after this time it is looked once more."""

_Told = tuple[int, int, int, Verdict]
"""Namespace, cookie, generation of the policy, verdict: what is reported once."""


@dataclass(frozen=True)
class Swept:
    """What one look found: flows that are not allowed by verdict, and how many of them were not reported before.

    ``failures``: what could not be looked at, or not be cut → why.
    """

    found: Mapping[Verdict, int] = field(default_factory=dict)
    reported: int = 0
    failures: Mapping[str, str] = field(default_factory=dict)


class Sweep:
    """Looks when it is woken, and once more soon after. ``rings`` adds its records to those that are read.

    ``maps`` are for its thread alone; ``snapshot`` gives what is in force. A flow is reported once for each load of the policy.
    """

    def __init__(self, maps: Maps, snapshot: Callable[[], Snapshot | None], cgroups: Cgroups) -> None:
        self._maps, self._snapshot, self._cgroups = maps, snapshot, cgroups
        self._woken, self._ending = threading.Event(), False
        self._told: frozenset[_Told] = frozenset()
        self.events = Queue()
        self.last = Swept()

    def rings(self, others: Rings) -> Rings:
        """Those records, and the sweep's."""
        return Rings(Joined(others.events, self.events), others.attempts)

    def wake(self) -> None:
        """What is in force may have changed: look. Any thread may call it; it returns at once."""
        self._woken.set()

    def end(self) -> None:
        """End the loop, after the look that it may be at."""
        self._ending = True
        self._woken.set()

    def run(self) -> None:
        """Look at once, and when woken, if what connections are judged by has changed, until the end."""
        looked: tuple[int, int] | None = None
        again: float | None = None
        while not self._ending:
            now = self._judged_by()
            if now and now != looked:
                looked, again = now, time.monotonic() + AGAIN_S
                self.look()
            elif again is not None and time.monotonic() >= again:
                again = None
                self.look()
            self._woken.wait(None if again is None else max(0.0, again - time.monotonic()))
            self._woken.clear()

    def _judged_by(self) -> tuple[int, int] | None:
        """Generation and epoch of what is in force; None while that is being put in force, whose end wakes us."""
        snapshot, config = self._snapshot(), self._maps.config()
        settled = snapshot and snapshot.image.generation == config.generation
        return (config.generation, config.epoch) if settled else None

    def shortcomings(self) -> dict[str, str]:
        """What the last look could not do, and why."""
        return dict(self.last.failures)

    def acquaint(self) -> None:
        """Tell the kernel which connections others have opened to containers, before its programs judge their packets.

        Nothing is cut or reported. Without it a server that no longer listens would be taken for a caller for a moment.
        """
        if snapshot := self._snapshot():
            self._look_around(_Look(snapshot, self._maps.config().epoch, judging=False))

    def look(self) -> Swept:
        """Find, cut and report, once. What cannot be looked at or cut is in the answer, and the rest is done all the same."""
        snapshot = self._snapshot()
        if snapshot is None:
            return self.last
        look = _Look(snapshot, self._maps.config().epoch, before=self._told)
        self._look_around(look)
        self._told = frozenset(look.told)
        for what, why in look.failures.items() - self.last.failures.items():
            log.error("%s: %s", what, why)
        self.last = Swept(dict(look.found), look.reported, look.failures)
        return self.last

    def _look_around(self, look: _Look) -> None:
        owners = Owners(look.snapshot, self._cgroups)
        for pids in owners.namespaces():
            self._look_at(pids, owners, look)

    def _look_at(self, pids: Iterable[int], owners: Owners, look: _Look) -> None:
        for pid in pids:
            try:
                with Flows(pid) as flows:
                    for flow in flows.all():
                        owner = owners.of(flow)
                        if owner and self._opened(flow, look) and look.judging:
                            self._judge(flows, flow, owner, look)
                return
            except ContainerGone:
                continue  # this process has; another one may be in the namespace
            except EnforcerError as e:
                look.failures[f"connections of {owners.names(pid)} older than the policy are not looked at"] = str(e)
                return

    def _opened(self, flow: Flow, look: _Look) -> bool:
        """Is it an attempt of the container's? Kernel and sweep tell each other what only one of them has seen."""
        if flow.protocol == TCP:
            if not flow.opened:  # of one older than its programs the kernel sees only whether somebody listens
                self._maps.put_row("flows", _key(flow), abi.FlowValue(epoch=look.epoch, state=abi.FLOW_INBOUND))
            return flow.opened
        known = self._maps.row("flows", _key(flow), abi.FlowValue)  # was it written to before it connected?
        return flow.opened and not (known and known.state == abi.FLOW_INBOUND)

    def _judge(self, flows: Flows, flow: Flow, owner: Owner, look: _Look) -> None:
        image = look.snapshot.image
        judged = judge_net(image, subject=owner.subject, address=flow.address, protocol=flow.protocol, port=flow.port)
        if judged.verdict is Verdict.ALLOWED:
            return
        # so that the kernel counts it no second time when it sends, were it only the reset
        self._maps.put_row("refusals", _key(flow), abi.FlowValue(epoch=look.epoch, state=_STATES[judged.verdict]))
        told = (flows.namespace, flow.cookie, image.generation, judged.verdict)
        look.told.add(told)
        # before it is cut: the process that holds it may end of that
        record = None if told in look.before else _record(image.generation, flow, owner, judged)
        verdict = judged.verdict
        if verdict is Verdict.DENIED and (why := flows.cut(flow)):
            look.failures[f"a connection of {owner.container.name} older than the policy is not cut"] = why
            verdict = Verdict.OBSERVED
        look.found[verdict] += 1
        if record:
            look.reported += 1
            record.verdict = verdict
            self._report(record)

    def _report(self, record: abi.CEvent) -> None:
        key = abi.CountKey(
            subject=record.subject,
            object=record.object,
            peer=record.peer,
            class_=record.class_,
            access=Access.CONNECT,
            verdict=record.verdict,
            hook=Hook.SWEEP,
        )
        try:
            self._maps.add_count(key, 1)
        except EdgeError:
            self._maps.add_loss(record.subject, abi.LOST_COUNTS, 1)  # the map is full, as in the kernel
        if not self.events.put(record):
            self._maps.add_loss(record.subject, abi.LOST_RING, 1)


@dataclass
class _Look:
    """One look: what it goes by, and what it has found so far."""

    snapshot: Snapshot
    epoch: int
    before: Collection[_Told] = ()
    judging: bool = True
    told: set[_Told] = field(default_factory=set)
    found: Counter[Verdict] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    reported: int = 0


def _key(flow: Flow) -> bytes:
    key = abi.FlowKey(socket=flow.cookie, port=flow.port, protocol=flow.protocol)
    key.address.bytes[:] = packed(flow.address)
    return bytes(key)


def _record(generation: int, flow: Flow, owner: Owner, judged: NetJudgement) -> abi.CEvent:
    pid, name = owner.holder(flow.inode)
    record = abi.CEvent(
        ts_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        cgroup_id=flow.cgroup,
        subject=owner.subject,
        object=judged.network,
        peer=judged.peer,
        generation=generation,
        count=1,
        pid=pid,
        tid=pid,
        uid=flow.uid,
        hook=Hook.SWEEP,
        mechanism=Mechanism.SWEEP,
        class_=abi.EXTERNAL if judged.external else abi.INSIDE,
        asked=Access.CONNECT,
        granted=judged.granted,
        mode=judged.mode,
        protocol=flow.protocol,
        port=flow.port,
        comm=name.encode("utf-8", "surrogateescape")[: abi.COMM - 1],
    )
    record.address.bytes[:] = packed(flow.address)
    return record
