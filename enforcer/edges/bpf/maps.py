"""The pinned maps: rows in, counts out. Reached through libbpf, so that no compiler stays in the agent."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import c_uint32, c_uint64
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from enforcer import abi
from enforcer.core.image import Image, Subject, Table
from enforcer.core.plan import Delete, Op, Publish, Put, Renew
from enforcer.edges.bpf.accounts import Account, Accounts
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.repeats import Repeats
from enforcer.errors import EdgeError
from enforcer.layout import packing

LAYOUT: dict[Table, tuple[Any, Any]] = {
    Table.PREPARED: (abi.DockerId, c_uint32),
    Table.CGROUPS: (c_uint64, abi.Subject),
    Table.OBJECTS: (abi.InodeKey, abi.Object),
    Table.FILESYSTEMS: (abi.DeviceKey, c_uint32),
    Table.ROWS: (abi.RowKey, abi.Row),
    Table.NET_SUBJECTS: (abi.NetKey, abi.NetSubject),
    Table.NET_ROWS: (abi.NetRowKey, abi.Ports),
    Table.CIDRS: (abi.CidrKey, abi.Ports),
    Table.ENDPOINTS: (abi.EndpointKey, abi.Endpoint),
    Table.SUBNETS: (abi.SubnetKey, c_uint32),
    Table.MEMBERS: (abi.MemberKey, c_uint32),
    Table.NAMES: (abi.NameKey, c_uint32),
}

_SLOT = bytes(4)
_TAKEN = struct.pack("=Q", 1)
_AT_ONCE = 4096
"""Rows of one system call, which nothing interrupts: some milliseconds."""

_MEMBARRIER, _MEMBARRIER_GLOBAL = 324, 1  # syscall_64.tbl; include/uapi/linux/membarrier.h
_GRACE_S = 0.1

_libc = ctypes.CDLL(None, use_errno=True)


def let_programs_end() -> None:
    """Return when every program that was running has ended: they run in RCU read sections, and membarrier(2) waits for those."""
    if _libc.syscall(_MEMBARRIER, _MEMBARRIER_GLOBAL, 0, 0) < 0:
        time.sleep(_GRACE_S)  # tickless CPUs forbid it: then by time


class Maps:
    """The maps pinned under ``directory``. Not for several threads at once: reconcile writes, the scrape only reads counts."""

    def __init__(self, directory: Path, libbpf: Libbpf) -> None:
        self._libbpf = libbpf
        self._fds = {path.name: libbpf.open(path) for path in directory.iterdir()}
        self._cpus = libbpf.cpus()
        self.accounts, self.repeats = Accounts(libbpf, self._fds["accounts"]), Repeats(libbpf, self._fds["repeats"])

    def close(self) -> None:
        """Let go of the descriptors; what is pinned stays."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def fd(self, name: str) -> int:
        """The descriptor of one map."""
        return self._fds[name]

    def config(self) -> abi.Config:
        """What is live now."""
        value = self._libbpf.get(self._fds["config"], _SLOT, ctypes.sizeof(abi.Config))
        return abi.decode(abi.Config, value or bytes(ctypes.sizeof(abi.Config)))

    def configure(self, **fields: int) -> None:
        """Set fields of the configuration (``abi.Config``), in one store."""
        record = self.config()
        for name, value in fields.items():
            setattr(record, name, value)
        self._libbpf.put(self._fds["config"], _SLOT, bytes(record))

    def apply(self, op: Op) -> None:
        """Carry out one operation of a plan."""
        match op:
            case Put(table, key, value):
                kinds = LAYOUT[table]
                self._take_slots(table, [key])
                self._libbpf.put(self._fds[table.value], abi.pack(kinds[0], key), abi.pack(kinds[1], value))
            case Delete(Table.CGROUPS, key):
                self._forget_cgroup(key)
            case Delete(table, key):
                self._libbpf.delete(self._fds[table.value], abi.pack(LAYOUT[table][0], key))
            case Renew():
                self.configure(epoch=self.config().epoch + 1)
            case Publish(generation):
                self.configure(generation=generation, epoch=self.config().epoch + 1)
                let_programs_end()  # what comes after it may sweep rows that a program in flight is about to look for

    def apply_all(self, ops: Iterable[Op]) -> None:
        """Carry out a plan, in its order. What comes one after the other for one table goes by few system calls."""
        for (kind, table), group in groupby(ops, key=_where):
            if table is None or (kind is Delete and table is Table.CGROUPS):
                for op in group:
                    self.apply(op)
                continue
            while some := list(islice(group, _AT_ONCE)):
                self._apply_alike(table, some, kind is Put)

    def _apply_alike(self, table: Table, ops: Sequence[Any], putting: bool) -> None:
        """Put or delete these; what the kernel refuses in one go is done one by one, and the one at fault is told of."""
        fd, kinds, (_, keys, *values) = self._fds[table.value], LAYOUT[table], tuple(zip(*ops, strict=True))
        raw = packing(kinds[0], keys[0])(keys)
        try:
            if putting:
                self._take_slots(table, keys)
                self._libbpf.put_rows(fd, len(ops), raw, packing(kinds[1], values[0][0])(values[0]))
            else:
                self._libbpf.delete_rows(fd, len(ops), raw)
        except EdgeError:
            for op in ops:
                self.apply(op)

    def _take_slots(self, table: Table, keys: Iterable[Any]) -> None:
        """Before a key is there: who finds its slot empty does not look for it. None is emptied, since others may have it, too."""
        if table is Table.CGROUPS:
            slots, numbers = "subject_slots", set(keys)
        elif table is Table.OBJECTS:
            slots, numbers = "object_slots", {key.inode for key in keys}
        else:
            return
        rows = {abi.pack(c_uint32, number % abi.SLOTS): _TAKEN for number in numbers}
        self._libbpf.put_all(self._fds[slots], rows)

    def _forget_cgroup(self, cgroup: int) -> None:
        """As the kernel does when one is removed (probes/life.c), which may be later: sockets of a container may outlive it."""
        known = self.subject(cgroup)
        if known and known.container == cgroup:
            gone = abi.Subject(container=known.container, id=known.id, state=known.state)
            self.put_row("gone", abi.pack(c_uint64, cgroup), gone)
        self._libbpf.delete(self._fds["subjects"], abi.pack(c_uint64, cgroup))

    def sweep(self, image: Image) -> int:
        """Remove what an earlier agent left and ``image`` does not hold; how many rows went.

        Cgroups are left alone: the kernel adds nested ones by itself and removes all of them when they end.
        """
        stale = 0
        for table, (kind, _) in LAYOUT.items():
            if table is Table.CGROUPS:
                continue
            wanted = {abi.pack(kind, key) for key in image.tables[table]}
            for key in list(self.keys(table.value, ctypes.sizeof(kind))):
                if key not in wanted:
                    stale += self._libbpf.delete(self._fds[table.value], key)
        return stale

    def guard(self, wanted: Mapping[str, Iterable[int]]) -> None:
        """Close these maps, programs and links (kind → the kernel's ids) to every subject, and no others."""
        keys = {bytes(abi.GuardKey(kind=abi.GUARDED[kind], id=n)) for kind, ids in wanted.items() for n in ids}
        for key in set(self.keys("guarded", ctypes.sizeof(abi.GuardKey))) ^ keys:
            if key in keys:
                self._libbpf.put(self._fds["guarded"], key, struct.pack("=I", 1))
            else:
                self._libbpf.delete(self._fds["guarded"], key)

    def subject(self, cgroup: int) -> Subject | None:
        """Whom the kernel takes a cgroup for."""
        value = self._libbpf.get(self._fds["subjects"], abi.pack(c_uint64, cgroup), ctypes.sizeof(abi.Subject))
        if value is None:
            return None
        record = abi.decode(abi.Subject, value)
        return Subject(record.id, record.state, record.container)

    def keys(self, name: str, size: int) -> Iterator[bytes]:
        """Every key of a map, each once; keys that come or go meanwhile may be missed."""
        key = self._libbpf.next_key(self._fds[name], None, size)
        seen: set[bytes] = set()
        while key is not None and key not in seen:
            seen.add(key)
            yield key
            key = self._libbpf.next_key(self._fds[name], key, size)

    def sums(self, name: str, form: str) -> Iterator[tuple[tuple[int, ...], int]]:
        """Every key of a per-CPU map of counters, taken apart by ``form``, with the sum over the CPUs."""
        key, value = struct.Struct(form), struct.Struct(f"={self._cpus}Q")
        for _, keys, values in self._libbpf.blocks(self._fds[name], key.size, value.size):
            yield from zip(key.iter_unpack(keys), map(sum, value.iter_unpack(values)), strict=True)

    def counts(self, accounts: Mapping[Account, int] | None = None) -> dict[tuple[int, ...], int]:
        """(subject, object, peer, class, access, verdict, hook) → violations since the maps were made.

        ``accounts``: as they have been read already.
        """
        found = dict(self.sums("counts", "=IIIBBBB"))
        for key, n in judged(self.accounts.all() if accounts is None else accounts).items():
            found[key] = found.get(key, 0) + n
        return found

    def losses(self, accounts: Mapping[Account, int] | None = None) -> dict[tuple[int, int], int]:
        """(subject, cause) → counted violations without a record, those of earlier builds among them. ``accounts``: as above."""
        found = missed(self.accounts.all() if accounts is None else accounts)
        for (subject, cause), n in self.sums("losses", "=II"):
            found[subject, cause] += n
        return dict(found)

    def recorded(self) -> dict[int, int]:
        """Subject → violations that the journal holds, over all agents since the maps were made."""
        return {row.subject: n for row, n in self.accounts.all().items() if row.kind == abi.RECORDED}

    def row(self, name: str, key: bytes, kind: type[abi.S]) -> abi.S | None:
        """One value of a map that the kernel fills, or None."""
        value = self._libbpf.get(self._fds[name], key, ctypes.sizeof(kind))
        return abi.decode(kind, value) if value else None

    def put_row(self, name: str, key: bytes, value: abi.Record) -> None:
        """Write one row of such a map."""
        self._libbpf.put(self._fds[name], key, bytes(value))

    def packets(self) -> dict[int, int]:
        """Network number → packets that were stopped as they left (0: of containers on no network)."""
        return {number: n for (number,), n in self.sums("packets", "=I")}

    def numbers(self, name: str) -> dict[int, int]:
        """Subject → the number that a map holds for it."""
        found = ((key, self._libbpf.get(self._fds[name], key, 8)) for key in self.keys(name, 4))
        return {int.from_bytes(key, "little"): int.from_bytes(value, "little") for key, value in found if value}

    def forget(self, name: str, key: bytes) -> None:
        """Remove one row of a map that nobody writes any more."""
        self._libbpf.delete(self._fds[name], key)

    def round(self) -> int:
        """The round in which programs note allowed accesses now; 0: they do not."""
        return int.from_bytes(self._libbpf.get(self._fds["recording"], _SLOT, 4) or b"", "little")

    def begin_round(self, number: int) -> None:
        """Programs note in this round from now on, 0: no more; nothing is added to another one once this returns."""
        self._libbpf.put(self._fds["recording"], _SLOT, struct.pack("=I", number))
        let_programs_end()

    def accesses(self) -> Iterator[tuple[bytes, abi.AccessValue]]:
        """What was allowed, by ``abi.AccessKey``."""
        for key in self.keys("accesses", ctypes.sizeof(abi.AccessKey)):
            if value := self.row("accesses", key, abi.AccessValue):
                yield key, value

    def add_count(self, key: abi.CountKey, n: int) -> None:
        """Count what only the agent can judge."""
        self.accounts.add({counted(key): n})

    def add_loss(self, subject: int, cause: int, n: int) -> None:
        """Count what the agent itself lost."""
        self.accounts.add({Account(abi.LOST, cause, subject): n})


def _where(op: Op) -> tuple[type, Table | None]:
    return type(op), op.table if isinstance(op, Put | Delete) else None


def counted(key: abi.CountKey) -> Account:
    """The row for violations that the agent counts."""
    parts = key.subject, key.object, key.peer, key.class_, key.access, key.verdict, key.hook
    return Account(abi.COUNTED, 0, *parts)


def judged(accounts: Mapping[Account, int]) -> dict[tuple[int, ...], int]:
    """What the agent has counted, as ``Maps.counts``."""
    return {row[2:]: n for row, n in accounts.items() if row.kind == abi.COUNTED}


def missed(accounts: Mapping[Account, int]) -> Counter[tuple[int, int]]:
    """What the agent has lost, as ``Maps.losses``."""
    found: Counter[tuple[int, int]] = Counter()
    for row, n in accounts.items():
        if row.kind == abi.LOST:
            found[row.subject, row.which & ~abi.EARLIER_CAUSE] += n
    return found
