"""From the kernel's records to events: numbers become names, a path is put together, an attempt refused by others is judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv6Address

from enforcer import abi
from enforcer.core.decide import judge_file
from enforcer.core.event import Event, FileAttempt, NetAttempt, Process, Who
from enforcer.core.ids import SPECIAL, Reserved, Special
from enforcer.core.image import NET, InodeKey
from enforcer.core.model import Access, Container, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.names import decoded
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.refused import Found, candidates
from enforcer.errors import AbiError, EdgeError
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.state import State

UNNAMED = "(unnamed)"

At = Callable[[int], Snapshot | None]


def boot_offset_ns() -> int:
    """What to add to CLOCK_BOOTTIME to get UTC, now: read for each batch, since UTC can be set."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def path_of(record: abi.CEvent) -> tuple[str, bool]:
    """The path in a record, root first, and whether its upper end is missing. Bytes that are no UTF-8 become surrogates."""
    length = record.path_len & ~abi.PATH_CUT
    if length > abi.PATH:
        raise AbiError(f"a record claims {length} bytes of path, it holds {abi.PATH}")
    parts = bytes(record.path[:length]).split(b"\0")[:-1]
    return b"/".join(reversed(parts)).decode("utf-8", "surrogateescape"), bool(record.path_len & abi.PATH_CUT)


def address_of(record: abi.CEvent) -> str:
    """The destination as text, IPv4-mapped IPv6 as IPv4."""
    address = IPv6Address(bytes(record.address.bytes))
    return str(address.ipv4_mapped or address)


class Records:
    """Turns records into events. ``at`` gives what was in force in a generation."""

    def __init__(self, at: At, maps: Maps, cgroups: Cgroups) -> None:
        self._at, self._maps, self._cgroups = at, maps, cgroups
        self.unplaced = 0
        """Attempts refused by something else whose path could no longer be followed: they are not judged."""

    def event(self, record: abi.CEvent, offset_ns: int) -> Event | None:
        """The event of one violation; None if an attempt that was refused elsewhere is allowed or concerns nothing protected.

        Raises ``AbiError`` for a value that ``contract.h`` does not have.
        """
        snapshot = self._at(record.generation)
        if snapshot is None:
            raise AbiError("a record came before any policy was in force")
        try:
            event = self._common(record, snapshot, offset_ns)
        except ValueError as e:
            raise AbiError(f"a record holds what contract.h does not have: {e}") from e
        return self._judged(record, snapshot, event) if event.hook is Hook.REFUSED else event

    def _common(self, record: abi.CEvent, snapshot: Snapshot, offset_ns: int) -> Event:
        data = record.class_ == abi.DATA
        key = record.object if data else NET
        return Event(
            sequence=0,
            time_ns=record.ts_ns + offset_ns,
            who=who_of(snapshot, record.subject),
            process=Process(record.pid, record.tid, record.uid, record.comm.decode("utf-8", "surrogateescape")),
            attempt=_file(record, snapshot) if data else _net(record, snapshot),
            asked=Access(record.asked),
            granted=Access(record.granted),
            mode=Mode(record.mode),
            verdict=Verdict(record.verdict),
            mechanism=Mechanism(record.mechanism),
            hook=Hook(record.hook),
            generation=record.generation,
            policy=snapshot.policy.hash,
            rule=snapshot.image.reasons.get((record.subject, key), ()),
            count=record.count,
            errno=-record.error,
        )

    def _followed(self, record: abi.CEvent, snapshot: Snapshot) -> Found | None:
        container = snapshot.container(record.subject)
        path = bytes(record.path[: record.path_len]).rstrip(b"\0")
        # a pid may have gone to a process of the host since: it must still be where the container's is
        pid = record.pid if self._cgroups.is_in(record.pid, record.cgroup_id) else 0
        init = container.pid if container and self._cgroups.is_in(container.pid, container.cgroup) else 0
        return candidates(pid, init, record.dirfd, path)

    def _judged(self, record: abi.CEvent, snapshot: Snapshot, event: Event) -> Event | None:
        found = None if record.path_len & abi.PATH_CUT else self._followed(record, snapshot)
        if found is None:
            self.unplaced += 1
            return None
        judged = judge_file(snapshot.image, subject=record.subject, inodes=found.inodes, asked=event.asked)
        if judged.verdict is Verdict.ALLOWED:
            return None
        key = abi.CountKey(
            subject=record.subject,
            object=judged.object,
            class_=abi.DATA,
            access=event.asked & ~judged.granted,
            verdict=judged.verdict,
            hook=Hook.REFUSED,
        )
        try:
            self._maps.add_count(key, 1)
        except EdgeError:
            self._maps.add_loss(record.subject, abi.LOST_COUNTS, 1)  # the map is full, as in the kernel
        objects, live = snapshot.image.objects, snapshot.image.generation
        root = next(n for n, i in enumerate(found.inodes) if InodeKey(i.inode, i.device, live) in objects)
        attempt = FileAttempt(
            object=object_of(snapshot.state, judged.object, 0),
            path=found.below(root),
            inode=found.inodes[0].inode if found.exists else 0,
            device=found.inodes[0].device,
        )
        rule = snapshot.image.reasons.get((record.subject, judged.object), ())
        return replace(
            event, attempt=attempt, granted=judged.granted, mode=judged.mode, verdict=judged.verdict, rule=rule
        )


def who_of(snapshot: Snapshot, subject: int) -> Who:
    """The container behind a subject id, with what a selector would look at."""
    found: Container | None = snapshot.container(subject)
    if found is None:
        identity = snapshot.state.ids.container_of(subject) or ""
        return Who(id=identity, name=snapshot.state.container(subject) or UNNAMED)
    networks = tuple(a.network for a in found.attachments)
    known = snapshot.facts.networks
    inner = tuple(n for n in networks if n in known and known[n].internal)  # Docker's word; replay adds the policy's
    return Who(found.id, found.name, found.image, found.labels, networks, inner)


def object_of(state: State, number: int, peer: int) -> ObjectId:
    """The data object behind a number; ``peer``: the subject whose process it is."""
    if number == Special.PROCESS:
        return ObjectId(Kind.PROCESS, "(host)" if peer == Reserved.HOST else state.container(peer) or UNNAMED)
    return SPECIAL.get(number) or state.ids.object_of(number) or ObjectId(Kind.PATH, "(unknown)")


def _file(record: abi.CEvent, snapshot: Snapshot) -> FileAttempt:
    if record.hook == Hook.REFUSED:
        return FileAttempt(ObjectId(Kind.PATH, ""), "", 0, 0)
    path, cut = path_of(record)
    return FileAttempt(object_of(snapshot.state, record.object, record.peer), path, record.inode, record.device, cut)


RESOLVER = "127.0.0.11"
"""Docker's, in every container on a network of the user's own."""

SOCKETS: Mapping[int, str] = {Reserved.RAW_SOCKET: "raw", Reserved.PACKET_SOCKET: "packet"}


def _net(record: abi.CEvent, snapshot: Snapshot) -> NetAttempt:
    resolver = record.peer == Reserved.OUTSIDE_NAME
    return NetAttempt(
        address=RESOLVER if resolver else "" if record.peer in SOCKETS else address_of(record),
        port=record.port,
        protocol=record.protocol,
        network=snapshot.state.network(record.object),
        external=record.class_ == abi.EXTERNAL,
        peer=snapshot.state.container(record.peer),
        host=record.peer == Reserved.HOST,
        socket=SOCKETS.get(record.peer, ""),
        resolver=resolver,
        name=decoded(bytes(record.path[: record.path_len])) if resolver else "",
    )
