"""Counting goes on across an upgrade: what an older build has counted is taken over once its programs have ended.

While both builds hold, the programs of both count, so the second of a swap may be counted twice; nothing is counted less.
The older numbers get rows of their own, which nothing else adds to (``abi.EARLIER``). They are added in one system call, with
a word that they were: a start that dies there has taken over all of them or none.
"""

from __future__ import annotations

import ctypes
import logging
from collections import Counter
from collections.abc import Iterator

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.maps import Maps
from enforcer.errors import EdgeError

log = logging.getLogger(__name__)


def carry(old: Maps, new: Maps) -> int:
    """Take over what ``old`` holds of counts, losses and what is on record; how many violations were counted there.

    Its programs must have ended, and its records been read. Both speak in the numbers of one state directory. The canary's own
    are left behind.
    """
    series = old.accounts.place().series
    known = Account(abi.TAKEN_OVER, 0, series & 0xFFFFFFFF, series >> 32)
    rows: Counter[Account] = Counter()
    for row, n in _rows(old):
        rows[row] += n
    if not new.accounts.get(known):
        try:
            new.accounts.add({known: 1, **rows})
        except EdgeError as e:  # the map is full
            log.error("what an older build has counted cannot be kept: %s", e)
    _keep_inbound(old, new)
    _keep_accesses(old, new)
    _keep_gone(old, new)
    _keep_cut(old, new)
    return sum(n for row, n in rows.items() if row.kind == abi.COUNTED)


def _rows(old: Maps) -> Iterator[tuple[Account, int]]:
    for key, n in old.counts().items():
        row = Account(abi.COUNTED, 0, *key)
        if row.subject != Reserved.CANARY:
            yield row._replace(hook=abi.EARLIER), n
    for (subject, cause), n in old.losses().items():
        if subject != Reserved.CANARY:
            yield Account(abi.LOST, cause | abi.EARLIER_CAUSE, subject), n
    for subject, n in old.recorded().items():
        yield Account(abi.RECORDED, 0, subject), n


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


def _keep_cut(old: Maps, new: Maps) -> None:
    """The raw sockets that the sweep has cut off: one that is in flight just now is not found again."""
    for key in list(old.keys("cut", ctypes.sizeof(ctypes.c_uint64))):
        if value := old.row("cut", key, abi.FlowValue):
            new.put_row("cut", key, value)


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
