"""The sweep: connections that are older than the policy, or than the agent, and that it does not allow; and sockets likewise.

The kernel's hooks judge a connection when it is made. What was open before is found here by sock_diag, judged as any other,
counted and recorded with mechanism ``sweep``, and cut where the policy enforces. It delays nothing: the rows are in the kernel
before it looks, and it has a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from enforcer import abi
from enforcer.core.address import packed
from enforcer.core.decide import NetJudgement, judge_net
from enforcer.core.ids import Reserved
from enforcer.core.image import EndpointKey
from enforcer.core.model import Verdict
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.flows import TCP, Flow, Flows
from enforcer.errors import ContainerGone, EnforcerError
from enforcer.runtime.look import Look, Swept, Told, record_of, report
from enforcer.runtime.owners import Owner, Owners
from enforcer.runtime.queue import Joined, Queue
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.sweep_sockets import SocketSweep

log = logging.getLogger(__name__)

_STATES = {Verdict.OBSERVED: abi.FLOW_OBSERVED, Verdict.DENIED: abi.FLOW_DENIED}

AGAIN_S = 1.0
"""A connect that was judged just before the change may not be listed yet: after this time it is looked once more."""

ROUNDS = 4
"""A look during which something is published begins anew, so often; whoever publishes still wakes the next one."""


class Sweep:
    """Looks when it is woken, and once more soon after. ``rings`` adds its records to those that are read.

    ``maps`` are for its thread alone. ``settled`` gives what is in force, the same object as long as the maps hold exactly that,
    and None while they are written. A flow is reported once for each load of the policy.
    """

    def __init__(self, maps: Maps, settled: Callable[[], Snapshot | None], cgroups: Cgroups) -> None:
        self._maps, self._settled, self._cgroups = maps, settled, cgroups
        self._sockets = SocketSweep(maps)
        self._woken, self._ending = threading.Event(), False
        self._told: frozenset[Told] = frozenset()
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
                again = time.monotonic() + AGAIN_S
                looked = now if self.look().whole else None
            elif again is not None and time.monotonic() >= again:
                again = None
                self.look()
            self._woken.wait(None if again is None else max(0.0, again - time.monotonic()))
            self._woken.clear()

    def _judged_by(self) -> tuple[int, int] | None:
        """Generation and epoch of what is in force; None while that is being put in force, whose end wakes us."""
        snapshot = self._settled()
        return (snapshot.image.generation, snapshot.epoch) if snapshot else None

    def shortcomings(self) -> dict[str, str]:
        """What the last look could not do, and why."""
        return dict(self.last.failures)

    def acquaint(self) -> None:
        """Tell the kernel which connections others have opened to containers, before its programs judge their packets.

        Nothing is cut or reported. Without it a server that no longer listens would be taken for a caller for a moment.
        """
        if snapshot := self._settled():
            self._look_around(Look(snapshot, judging=False))

    def look(self) -> Swept:
        """Find, cut and report, once. What cannot be looked at or cut is in the answer, and the rest is done all the same.

        What is found was listed while exactly what it is judged by was in force; else nothing is done with it, and the look
        begins anew.
        """
        reported = 0
        for _ in range(ROUNDS):
            snapshot = self._settled()
            if snapshot is None:
                break
            look = Look(snapshot, before=self._told)
            whole = self._look_around(look)
            reported += look.reported
            self._told = frozenset(look.told) if whole else self._told | look.told
            if whole:
                return self._looked(look, reported)
        self.last = replace(self.last, reported=reported, whole=False)
        return self.last

    def _looked(self, look: Look, reported: int) -> Swept:
        for what, why in look.failures.items() - self.last.failures.items():
            log.error("%s: %s", what, why)
        self.last = Swept(dict(look.found), reported, look.failures)
        return self.last

    def _look_around(self, look: Look) -> bool:
        """Look into each namespace; whether nothing was published meanwhile."""
        owners = Owners(look.snapshot, self._cgroups)
        for pids in owners.namespaces():
            self._look_at(pids, owners, look)
            if not self._stands(look):
                return False
        return True

    def _stands(self, look: Look) -> bool:
        """Do the maps hold what is looked by? It is asked after each listing: what was listed has been judged by that, too."""
        return self._judged_by() == (look.snapshot.image.generation, look.snapshot.epoch)

    def _look_at(self, pids: Iterable[int], owners: Owners, look: Look) -> None:
        for pid in pids:
            try:
                self._look_by(pid, owners, look)
                return
            except ContainerGone:
                continue  # this process has; another one may be in the namespace
            except EnforcerError as e:
                look.failures[f"connections of {owners.names(pid)} older than the policy are not looked at"] = str(e)
                return

    def _look_by(self, pid: int, owners: Owners, look: Look) -> None:
        with Flows(pid) as flows:
            listed = flows.all()
            if not self._stands(look):
                return
            for flow in listed:
                owner = owners.of(flow)
                if owner and self._opened(flow, look):
                    self._judge(flows, flow, owner, look) if look.judging else self._note(flow)
        if look.judging:
            for record in self._sockets.look(pid, owners, look, self._stands):
                report(record, self._maps, self.events, look.records)

    def _note(self, flow: Flow) -> None:
        """Tell the programs that this side began, under no epoch: it is judged, and an answer to it is no beginning."""
        if not self._maps.row("flows", key := _key(flow), abi.FlowValue):
            self._maps.put_row("flows", key, abi.FlowValue(epoch=abi.NO_EPOCH, state=abi.FLOW_ALLOWED))

    def _opened(self, flow: Flow, look: Look) -> bool:
        """Is it an attempt of the container's? Kernel and sweep tell each other what only one of them has seen."""
        image, key = look.snapshot.image, _key(flow)
        known = self._maps.row("inbound", key, abi.Inbound)
        # what the kernel saw begin here did, whatever TCP counts: a segment that the egress hook dropped counts as sent
        opened = flow.opened or (flow.protocol == TCP and self._maps.row("flows", key, abi.FlowValue) is not None)
        if known is None and opened:
            return True
        endpoint = image.endpoints.get(EndpointKey(packed(flow.address), image.generation))
        holder = endpoint.subject if endpoint else Reserved.NOBODY
        if known is None:
            if flow.protocol == TCP:  # of one older than its programs the kernel sees only whether somebody listens
                self._maps.put_row("inbound", key, abi.Inbound(epoch=look.snapshot.epoch, holder=holder))
            return False
        # a datagram socket may have been written to before it connected: as enf_inbound says (probes/flow.h)
        others = Reserved.NOBODY not in (holder, known.holder) and holder != known.holder
        return opened and (flow.protocol == TCP or others)

    def _judge(self, flows: Flows, flow: Flow, owner: Owner, look: Look) -> None:
        image, epoch, key = look.snapshot.image, look.snapshot.epoch, _key(flow)
        judged = judge_net(image, subject=owner.subject, address=flow.address, protocol=flow.protocol, port=flow.port)
        if judged.verdict is Verdict.ALLOWED:
            return
        # so that the kernel counts it no second time when it sends, were it only the reset; and knows that it was begun here
        self._maps.put_row("refusals", key, abi.FlowValue(epoch=epoch, state=_STATES[judged.verdict]))
        self._maps.put_row("flows", key, abi.FlowValue(epoch=abi.NO_EPOCH, state=abi.FLOW_ALLOWED))
        if flow.protocol == TCP:
            self._maps.forget("inbound", key)
        record = look.settle(
            (flows.namespace, flow.cookie, image.generation, judged.verdict),
            judged,
            record=partial(_record, image.generation, flow, owner, judged),
            cut=partial(flows.cut, flow),
            failure=f"a connection of {owner.container.name} older than the policy is not cut",
        )
        if record:
            report(record, self._maps, self.events, look.records)


def _key(flow: Flow) -> bytes:
    key = abi.FlowKey(socket=flow.cookie, port=flow.port, protocol=flow.protocol)
    key.address.bytes[:] = packed(flow.address)
    return bytes(key)


def _record(generation: int, flow: Flow, owner: Owner, judged: NetJudgement) -> abi.CEvent:
    made = record_of(generation, owner, judged, inode=flow.inode, uid=flow.uid, protocol=flow.protocol)
    made.cgroup_id, made.port, made.class_ = flow.cgroup, flow.port, abi.EXTERNAL if judged.external else abi.INSIDE
    made.address.bytes[:] = packed(flow.address)
    return made
