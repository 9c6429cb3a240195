"""From the kernel's records to events: numbers become names, a path is put together, an attempt refused by others is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from ipaddress import IPv6Address
from typing import Literal

from enforcer import abi
from enforcer.core.decide import FileJudgement, judge_file
from enforcer.core.event import Event, FileAttempt, NetAttempt, Process, Who
from enforcer.core.ids import SPECIAL, Reserved, Special
from enforcer.core.image import NET, InodeKey
from enforcer.core.labels import recorded
from enforcer.core.model import Access, Container, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.names import decoded
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.record import Record
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.refused import Found, candidates
from enforcer.errors import AbiError
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.state import State

UNNAMED = "(unnamed)"

At = Callable[[int], Snapshot | None]

_KEPT = 16
"""Snapshots whose names are kept: those of the generations that records may still come from."""

_ACCESSES = tuple(map(Access, range(256)))
_MODES = {mode.value: mode for mode in Mode}
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_MECHANISMS = {mechanism.value: mechanism for mechanism in Mechanism}
_HOOKS = {hook.value: hook for hook in Hook}
"""What the numbers mean, looked up rather than made."""


def boot_offset_ns() -> int:
    """What to add to CLOCK_BOOTTIME to get UTC, now: read for each batch, since UTC can be set."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def path_of(record: Record) -> tuple[str, bool]:
    """The path in a record, root first, and whether its upper end is missing. Bytes that are no UTF-8 become surrogates."""
    length = record.path_len & ~abi.PATH_CUT
    if length > abi.PATH:
        raise AbiError(f"a record claims {length} bytes of path, it holds {abi.PATH}")
    parts = record.path[:length].split(b"\0")[-2::-1]
    return b"/".join(parts).decode("utf-8", "surrogateescape"), bool(record.path_len & abi.PATH_CUT)


def address_of(record: Record) -> str:
    """The destination as text."""
    return address_text(record.address)


@lru_cache(4096)
def address_text(packed: bytes) -> str:
    """An IPv6 address, or if it stands for an IPv4 one, that."""
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


class _Names:
    """What the numbers of one snapshot stand for, each found out once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.who = cache(partial(who_of, snapshot))
        self.object = cache(partial(object_of, snapshot.state))
        self.peer = cache(snapshot.state.container)
        self.network = cache(snapshot.state.network)

    def rule(self, subject: int, thing: int | Literal["net"]) -> tuple[str, ...]:
        """The rules that a row comes from."""
        return self.snapshot.image.reasons.get((subject, thing), ())


class Records:
    """Turns records into events. ``at`` gives what was in force in a generation."""

    def __init__(self, at: At, cgroups: Cgroups) -> None:
        self._at, self._cgroups = at, cgroups
        self._known: dict[int, _Names] = {}
        self.unplaced = 0
        """Attempts refused by something else whose path could no longer be followed: they are not judged."""

    def event(self, record: Record, offset_ns: int) -> Event:
        """The event of one violation. Raises ``AbiError`` for a value that ``contract.h`` does not have."""
        return self._event(record, self._names(record.generation), offset_ns)

    def attempted(self, record: Record, offset_ns: int) -> tuple[Event, Account] | None:
        """The event of an attempt that was refused elsewhere, and what it is to be counted as.

        None if it is allowed or concerns nothing protected. Raises ``AbiError`` as ``event``.
        """
        names = self._names(record.generation)
        return self._judged(record, names, self._event(record, names, offset_ns))

    def _names(self, generation: int) -> _Names:
        snapshot = self._at(generation)
        if snapshot is None:
            raise AbiError("a record came before any policy was in force")
        known = self._known.get(generation)
        if known is None or known.snapshot is not snapshot:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[generation] = _Names(snapshot)
        return known

    def _event(self, record: Record, names: _Names, offset_ns: int) -> Event:
        data = record.class_ == abi.DATA
        try:
            return Event(
                sequence=0,
                time_ns=record.ts_ns + offset_ns,
                who=names.who(record.subject),
                process=Process(record.pid, record.tid, record.uid, record.command.decode("utf-8", "surrogateescape")),
                attempt=_file(record, names) if data else _net(record, names),
                asked=_ACCESSES[record.asked],
                granted=_ACCESSES[record.granted],
                mode=_MODES[record.mode],
                verdict=_VERDICTS[record.verdict],
                mechanism=_MECHANISMS[record.mechanism],
                hook=_HOOKS[record.hook],
                generation=record.generation,
                policy=names.snapshot.policy.hash,
                rule=names.rule(record.subject, record.object if data else NET),
                count=record.count,
                errno=-record.error,
            )
        except KeyError as e:
            raise AbiError(f"a record holds what contract.h does not have: {e}") from e

    def _followed(self, record: Record, snapshot: Snapshot) -> Found | None:
        container = snapshot.container(record.subject)
        path = record.path[: record.path_len].rstrip(b"\0")
        # a pid may have gone to a process of the host since: it must still be where the container's is
        pid = record.pid if self._cgroups.is_in(record.pid, record.cgroup_id) else 0
        init = container.pid if container and self._cgroups.is_in(container.pid, container.cgroup) else 0
        return candidates(pid, init, record.dirfd, path)

    def _judged(self, record: Record, names: _Names, event: Event) -> tuple[Event, Account] | None:
        image = names.snapshot.image
        found = None if record.path_len & abi.PATH_CUT else self._followed(record, names.snapshot)
        if found is None:
            self.unplaced += 1
            return None
        judged = judge_file(image, subject=record.subject, inodes=found.inodes, asked=event.asked)
        if judged.verdict is Verdict.ALLOWED:
            return None
        root = next(
            n for n, i in enumerate(found.inodes) if InodeKey(i.inode, i.device, image.generation) in image.objects
        )
        attempt = FileAttempt(
            object=names.object(judged.object, 0),
            path=found.below(root),
            inode=found.inodes[0].inode if found.exists else 0,
            device=found.inodes[0].device,
        )
        rule = names.rule(record.subject, judged.object)
        judgement = replace(
            event, attempt=attempt, granted=judged.granted, mode=judged.mode, verdict=judged.verdict, rule=rule
        )
        return judgement, _counted(record.subject, event.asked, judged)


def _counted(subject: int, asked: Access, judged: FileJudgement) -> Account:
    """What such a violation is counted as: the kernel has not."""
    return Account(
        *(abi.COUNTED, 0, subject, judged.object, 0, abi.DATA),
        access=asked & ~judged.granted,
        verdict=judged.verdict,
        hook=Hook.REFUSED,
    )


def who_of(snapshot: Snapshot, subject: int) -> Who:
    """The container behind a subject id, with what a selector would look at: of labels, as much as fits."""
    found: Container | None = snapshot.container(subject)
    if found is None:
        identity = snapshot.state.ids.container_of(subject) or ""
        return Who(id=identity, name=snapshot.state.container(subject) or UNNAMED)
    networks = tuple(a.network for a in found.attachments)
    known = snapshot.facts.networks
    inner = tuple(n for n in networks if n in known and known[n].internal)  # Docker's word; replay adds the policy's
    labels, cut = recorded(found.labels, snapshot.policy.containers.values())
    return Who(found.id, found.name, found.image, labels, networks, inner, cut)


def object_of(state: State, number: int, peer: int) -> ObjectId:
    """The data object behind a number; ``peer``: the subject whose process it is."""
    if number == Special.PROCESS:
        return ObjectId(Kind.PROCESS, "(host)" if peer == Reserved.HOST else state.container(peer) or UNNAMED)
    return SPECIAL.get(number) or state.ids.object_of(number) or ObjectId(Kind.PATH, "(unknown)")


def _file(record: Record, names: _Names) -> FileAttempt:
    if record.hook == Hook.REFUSED:
        return FileAttempt(ObjectId(Kind.PATH, ""), "", 0, 0)
    path, cut = path_of(record)
    return FileAttempt(names.object(record.object, record.peer), path, record.inode, record.device, cut)


RESOLVER = "127.0.0.11"
"""Docker's, in every container on a network of the user's own."""

SOCKETS: Mapping[int, str] = {Reserved.RAW_SOCKET: "raw", Reserved.PACKET_SOCKET: "packet"}


def _net(record: Record, names: _Names) -> NetAttempt:
    resolver = record.peer == Reserved.OUTSIDE_NAME
    return NetAttempt(
        address=RESOLVER if resolver else "" if record.peer in SOCKETS else address_of(record),
        port=record.port,
        protocol=record.protocol,
        network=names.network(record.object),
        external=record.class_ == abi.EXTERNAL,
        peer=names.peer(record.peer),
        host=record.peer == Reserved.HOST,
        socket=SOCKETS.get(record.peer, ""),
        resolver=resolver,
        name=decoded(record.path[: record.path_len]) if resolver else "",
    )
