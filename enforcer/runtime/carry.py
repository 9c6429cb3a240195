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
    _keep_gone(old, new)
    return violations


def _keep_inbound(old: Maps, new: Maps) -> None:
    """The flows that the other side began: whoever listened for them may be gone, and their answers are free.

    The new programs, which may have noted one themselves by now, look again whose the other side's address is.
    """
    for key in list(old.keys("inbound", ctypes.sizeof(abi.FlowKey))):
        value = old.row("inbound", key, abi.Inbound)
        if value and not new.row("inbound", key, abi.Inbound):
            new.put_row("inbound", key, abi.Inbound(epoch=abi.NO_EPOCH, holder=value.holder))


def _keep_gone(old: Maps, new: Maps) -> None:
    """The containers that have ended: sockets of theirs may be held elsewhere."""
    for key in list(old.keys("gone", ctypes.sizeof(ctypes.c_uint64))):
        if value := old.row("gone", key, abi.Subject):
            new.put_row("gone", key, value)


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
