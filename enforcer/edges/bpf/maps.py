"""The pinned maps: rows in, counts out. Reached through libbpf, so that no compiler stays in the agent."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ctypes import c_uint32, c_uint64
from pathlib import Path
from typing import Any

from enforcer import abi
from enforcer.core.image import Image, Subject, Table
from enforcer.core.plan import Delete, Op, Publish, Put, Renew
from enforcer.edges.bpf.libbpf import Libbpf

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
        """Set fields of the configuration, in one store: ``generation``, ``epoch``, ``host_mnt_ns``, ``tracepoint_hooks``."""
        record = self.config()
        for name, value in fields.items():
            setattr(record, name, value)
        self._libbpf.put(self._fds["config"], _SLOT, bytes(record))

    def apply(self, op: Op) -> None:
        """Carry out one operation of a plan."""
        match op:
            case Put(table, key, value):
                kinds = LAYOUT[table]
                self._libbpf.put(self._fds[table.value], abi.pack(kinds[0], key), abi.pack(kinds[1], value))
            case Delete(table, key):
                self._libbpf.delete(self._fds[table.value], abi.pack(LAYOUT[table][0], key))
            case Renew():
                self.configure(epoch=self.config().epoch + 1)
            case Publish(generation):
                self.configure(generation=generation, epoch=self.config().epoch + 1)
                let_programs_end()  # what comes after it may sweep rows that a program in flight is about to look for

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

    def sums(self, name: str, size: int) -> Iterator[tuple[bytes, int]]:
        """Every key of a per-CPU map of counters, with the sum over the CPUs."""
        for key in self.keys(name, size):
            value = self._libbpf.get(self._fds[name], key, 8 * self._cpus)
            if value is not None:
                yield key, sum(struct.unpack(f"={self._cpus}Q", value))

    def counts(self) -> dict[tuple[int, int, int, int, int, int, int], int]:
        """(subject, object, peer, class, access, verdict, hook) → violations since the maps were made."""
        sums = self.sums("counts", ctypes.sizeof(abi.CountKey))
        return {struct.unpack("=IIIBBBB", key): n for key, n in sums}

    def losses(self) -> dict[tuple[int, int], int]:
        """(subject, cause) → counted violations without a record, those of earlier builds among them."""
        found: Counter[tuple[int, int]] = Counter()
        for key, n in self.sums("losses", ctypes.sizeof(abi.LossKey)):
            subject, cause = struct.unpack("=II", key)
            found[subject, cause & ~abi.EARLIER_CAUSE] += n
        return dict(found)

    def row(self, name: str, key: bytes, kind: type[abi.S]) -> abi.S | None:
        """One value of a map that the kernel fills, or None."""
        value = self._libbpf.get(self._fds[name], key, ctypes.sizeof(kind))
        return abi.decode(kind, value) if value else None

    def put_row(self, name: str, key: bytes, value: abi.Record) -> None:
        """Write one row of such a map."""
        self._libbpf.put(self._fds[name], key, bytes(value))

    def packets(self) -> dict[int, int]:
        """Network number → packets that were stopped as they left (0: of containers on no network)."""
        return {int.from_bytes(key, "little"): n for key, n in self.sums("packets", 4)}

    def forget(self, name: str, key: bytes) -> None:
        """Remove one number of a map that is counted in: nobody may write it any more."""
        self._libbpf.delete(self._fds[name], key)

    def add_count(self, key: abi.CountKey, n: int) -> None:
        """Count what only the agent can judge (hook REFUSED). The kernel never writes such keys, so nothing is lost."""
        self._add_on_first_cpu("counts", bytes(key), n)

    def add_loss(self, subject: int, cause: int, n: int) -> None:
        """Count what the agent itself lost, under a key of its own: the kernel may be writing the other just then."""
        self._add_on_first_cpu("losses", struct.pack("=II", subject, cause | abi.EARLIER_CAUSE), n)

    def _add_on_first_cpu(self, name: str, key: bytes, n: int) -> None:
        value = self._libbpf.get(self._fds[name], key, 8 * self._cpus) or bytes(8 * self._cpus)
        first = struct.unpack_from("=Q", value)[0] + n
        self._libbpf.put(self._fds[name], key, struct.pack("=Q", first) + value[8:])

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

    def recorded(self) -> dict[int, int]:
        """Subject → violations that the journal holds, over all agents since the maps were made."""
        return {int.from_bytes(key, "little"): self._recorded(key) for key in self.keys("recorded", 4)}

    def add_recorded(self, subject: int, n: int) -> None:
        """The journal holds ``n`` more violations of this subject. Only the agent's reader writes this map."""
        key = struct.pack("=I", subject)
        self._libbpf.put(self._fds["recorded"], key, struct.pack("=Q", self._recorded(key) + n))

    def _recorded(self, key: bytes) -> int:
        value = self._libbpf.get(self._fds["recorded"], key, 8)
        return int.from_bytes(value, "little") if value else 0
