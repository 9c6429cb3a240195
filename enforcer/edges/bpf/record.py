"""A record of the ring as plain values: what ``abi.CEvent`` mirrors, decoded at once, for there may be a hundred thousand."""

from __future__ import annotations

import struct
from typing import NamedTuple

from enforcer import abi
from enforcer.errors import AbiError

LAYOUT = struct.Struct(f"=QQQ9Iii8BHH16s{abi.COMM}s{abi.PATH}s")
SUBJECT_AT = 28
"""Bytes before the subject."""


class Record(NamedTuple):
    """struct enf_event, field by field in its order."""

    ts_ns: int
    cgroup_id: int
    inode: int
    device: int
    subject: int
    object: int
    peer: int
    generation: int
    count: int  # type: ignore[assignment]  # the contract's word; nobody counts in a tuple of these
    pid: int
    tid: int
    uid: int
    error: int
    dirfd: int
    hook: int
    mechanism: int
    verdict: int
    class_: int
    asked: int
    granted: int
    mode: int
    protocol: int
    port: int
    path_len: int
    address: bytes
    comm: bytes
    path: bytes

    @property
    def command(self) -> bytes:
        """``comm`` without what comes after it."""
        return self.comm.partition(b"\0")[0]


def record_of(raw: bytes | memoryview) -> Record:
    """The record in ``raw``. Raises ``AbiError`` unless it has exactly the size of the struct."""
    try:
        return Record._make(LAYOUT.unpack(raw))
    except struct.error as e:
        raise AbiError(f"a record has {LAYOUT.size} bytes, the kernel gave {len(raw)}") from e
