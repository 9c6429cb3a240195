"""Counting goes on across an upgrade: what an older build has counted is taken over once its programs have ended.

While both builds hold, the programs of both count, so the second of a swap may be counted twice; nothing is counted less.
User space cannot add to a counter that a program writes at the same time: the older numbers get keys of their own, which no
program writes (``abi.EARLIER``). Each number leaves the older map as soon as it stands in the new one, so that a crash in the
middle is made good by the next start.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.edges.bpf.maps import Maps
from enforcer.errors import EdgeError

log = logging.getLogger(__name__)


def carry(old: Maps, new: Maps) -> int:
    """Take over what ``old`` holds of counts, losses and what is on record; how many violations. Its programs must have ended.

    Both speak in the numbers of one state directory. The canary's own are left behind.
    """
    violations = 0
    for raw, n in _taken(old, "counts", abi.CountKey):
        key = abi.decode(abi.CountKey, raw)
        if key.subject != Reserved.CANARY:
            violations += n
            key.hook = abi.EARLIER
            _add_count(new, key, n)
    for raw, n in _taken(old, "losses", abi.LossKey):
        loss = abi.decode(abi.LossKey, raw)
        if loss.subject != Reserved.CANARY:
            new.add_loss(loss.subject, loss.cause | abi.EARLIER_CAUSE, n)
    for subject, n in old.recorded().items():
        new.add_recorded(subject, n)
        old.forget("recorded", subject.to_bytes(4, "little"))
    _keep_inbound(old, new)
    _keep_accesses(old, new)
    return violations


def _keep_inbound(old: Maps, new: Maps) -> None:
    """The flows that the other side began: whoever listened for them may be gone, and their answers are free."""
    for key in list(old.keys("flows", ctypes.sizeof(abi.FlowKey))):
        value = old.row("flows", key, abi.FlowValue)
        if value and value.state == abi.FLOW_INBOUND:
            new.put_row("flows", key, value)


def _taken(old: Maps, name: str, kind: type[abi.Record]) -> Iterator[tuple[bytes, int]]:
    """Each key with its number, which is removed once the caller has come for the next."""
    for key, n in list(old.sums(name, ctypes.sizeof(kind))):
        yield key, n
        old.forget(name, key)


def _add_count(new: Maps, key: abi.CountKey, n: int) -> None:
    try:
        new.add_count(key, n)
    except EdgeError as e:  # the map is full, as in the kernel
        log.error("%d violations of an older build are counted as lost: %s", n, e)
        new.add_loss(key.subject, abi.LOST_COUNTS | abi.EARLIER_CAUSE, n)


def _keep_accesses(old: Maps, new: Maps) -> None:
    """What was allowed and is not written down yet, as entries of round 0: no program writes such."""
    for raw, value in list(old.accesses()):
        key = abi.decode(abi.AccessKey, raw)
        key.round = 0
        found = new.row("accesses", bytes(key), abi.AccessValue)
        if found:  # of two rounds
            value.count += found.count
            value.first_ns, value.last_ns = min(value.first_ns, found.first_ns), max(value.last_ns, found.last_ns)
        new.put_row("accesses", bytes(key), value)
        old.forget("accesses", raw)
