"""The decision in Python: what the kernel answers, without a kernel. Replay, ``explain`` and ``matrix`` ask here.

``decide`` and ``ports_allow`` are the twins of ``probes/decide.h`` (tests/contract holds them together); ``judge_*``
follow the lookups of the probes over an ``Image``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from enforcer.core.address import MAPPED, packed
from enforcer.core.ids import Reserved, Special
from enforcer.core.image import (
    CIDR_KEY_BITS,
    MAX_RANGES,
    SUBNET_KEY_BITS,
    CidrKey,
    Endpoint,
    EndpointKey,
    Image,
    InodeKey,
    MemberKey,
    NetKey,
    NetRowKey,
    NetSubject,
    Ports,
    Regime,
    RowKey,
    SubnetKey,
    Table,
    Target,
)
from enforcer.core.model import READ_ONLY, Access, Inode, Mode, Sockets, Verdict
from enforcer.core.protocols import ICMP, ICMPV6

_NO_ROW = NetSubject(0, 0, Regime.GOVERNED, Mode.ENFORCE)
_ANY = (b"\x00" * 16, MAPPED + b"\x00" * 4)
_LOOPBACK6 = b"\x00" * 15 + b"\x01"
_ALWAYS: Mapping[int, Access] = {Special.OWN: Access.NONE, Special.JOURNAL: READ_ONLY}
"""What is granted of the agent's own, to everybody, in every mode."""
_LOOPBACK4 = MAPPED + b"\x7f"


class FileJudgement(NamedTuple):
    """What becomes of an access to a file. ``object`` 0: it belongs to no protected object."""

    verdict: Verdict
    object: int
    granted: Access
    mode: Mode


class NetJudgement(NamedTuple):
    """What becomes of a connection. ``network``: the one that the destination is on; if ``external``, the one left.

    ``peer`` is the subject that holds an address inside (0: none), ``host`` that the host does.
    """

    verdict: Verdict
    external: bool
    network: int
    peer: int
    host: bool
    mode: Mode
    granted: Access


class Flow(NamedTuple):
    """A connection that is to be judged; ``endpoint`` says who holds the address and on which network, if anybody is known to."""

    address: bytes
    protocol: int
    port: int
    endpoint: Endpoint | None


def decide(granted: int, asked: int, mode: int) -> Verdict:
    """enf_decide: allowed if ``asked`` is within ``granted``, else what the mode says; an unknown mode denies."""
    if not asked & ~granted:
        return Verdict.ALLOWED
    return Verdict.OBSERVED if mode == Mode.MONITOR else Verdict.DENIED


def ports_allow(ports: Ports, protocol: int, port: int) -> bool:
    """enf_ports_allow: does a range hold this protocol and port? A malformed count grants nothing."""
    if ports.count > MAX_RANGES:
        return False
    return any(r.protocol in (0, protocol) and r.first <= port <= r.last for r in ports.ranges[: ports.count])


def judge_object(image: Image, *, subject: int, number: int, asked: Access) -> FileJudgement:
    """May ``subject`` do this with the data object ``number``? Its row, else its default row, else it is denied."""
    if number in _ALWAYS:
        granted = _ALWAYS[number]
        return FileJudgement(decide(granted, asked, Mode.ENFORCE), number, granted, Mode.ENFORCE)
    row = image.rows.get(RowKey(image.generation, subject, number))
    row = row or image.rows.get(RowKey(image.generation, subject, 0))
    if row is None:
        return FileJudgement(Verdict.DENIED, number, Access.NONE, Mode.ENFORCE)
    return FileJudgement(decide(row.granted, asked, row.mode), number, Access(row.granted), Mode(row.mode))


def judge_file(image: Image, *, subject: int, inodes: Iterable[Inode], asked: Access) -> FileJudgement:
    """May ``subject`` open a file? ``inodes``: the file, then its directories upwards; the nearest object answers."""
    for inode in inodes:
        found = image.objects.get(InodeKey(inode.inode, inode.device, image.generation))
        if found is not None:
            return judge_object(image, subject=subject, number=found.id, asked=asked)
    return FileJudgement(Verdict.ALLOWED, 0, asked, Mode.MONITOR)


def judge_net(image: Image, *, subject: int, address: str | bytes, protocol: int, port: int) -> NetJudgement:
    """May ``subject`` connect there? Loopback and its own addresses always; then rows and CIDRs, grants adding up."""
    raw = packed(address)
    endpoint = image.endpoints.get(EndpointKey(raw, image.generation))
    return judge_flow(image, subject=subject, attempt=Flow(raw, protocol, port, endpoint))


def judge_flow(image: Image, *, subject: int, attempt: Flow) -> NetJudgement:
    """``judge_net`` where somebody else knows who holds the address."""
    endpoint = attempt.endpoint
    entry = image.net_subjects.get(NetKey(image.generation, subject))
    stays = _stays(attempt.address) or (endpoint is not None and endpoint.subject == subject)
    allowed = stays or (entry is not None and _lets(image, subject, entry, attempt))
    granted = Access.CONNECT if allowed else Access.NONE
    mode = Mode(entry.mode) if entry and entry.regime != Regime.QUARANTINED else Mode.ENFORCE
    external, network = _place(image, subject, attempt, home=entry.home if entry else 0)
    peer = endpoint.subject if endpoint and not external else 0
    verdict = decide(granted, Access.CONNECT, mode)
    return NetJudgement(verdict, external, network, peer, peer == Reserved.HOST, mode, granted)


def judge_socket(image: Image, *, subject: int, socket: str, protocol: int) -> NetJudgement:
    """May ``subject`` make a ``raw`` or ``packet`` socket? Raw ones for ICMP are granted with ICMP, too."""
    kind = Sockets.PACKET if socket == "packet" else Sockets.RAW
    if kind is Sockets.RAW and protocol in (ICMP, ICMPV6):
        kind |= Sockets.ICMP
    entry = image.net_subjects.get(NetKey(image.generation, subject), _NO_ROW)
    free = entry.regime == Regime.FREE or (entry.regime == Regime.GOVERNED and bool(entry.sockets & kind))
    mode = Mode.ENFORCE if entry.regime == Regime.QUARANTINED else Mode(entry.mode)
    granted = Access.CONNECT if free else Access.NONE
    return NetJudgement(decide(granted, Access.CONNECT, mode), False, entry.home, 0, False, mode, granted)


def judge_name(image: Image, *, subject: int) -> NetJudgement:
    """May ``subject`` ask Docker's resolver for a name that is not on its networks? Not if it is confined to internal ones."""
    entry = image.net_subjects.get(NetKey(image.generation, subject), _NO_ROW)
    mode = Mode.ENFORCE if entry.regime == Regime.QUARANTINED else Mode(entry.mode)
    granted = Access.NONE if entry.scope else Access.CONNECT
    return NetJudgement(decide(granted, Access.CONNECT, mode), False, entry.home, 0, False, mode, granted)


def _lets(image: Image, subject: int, entry: NetSubject, attempt: Flow) -> bool:
    match entry.regime:
        case Regime.FREE:
            return True
        case Regime.GOVERNED:
            return _granted(image, subject, entry, attempt)
        case _:
            return False


def _stays(address: bytes) -> bool:
    return address in _ANY or address == _LOOPBACK6 or address.startswith(_LOOPBACK4)


def _granted(image: Image, subject: int, entry: NetSubject, attempt: Flow) -> bool:
    targets: list[tuple[Target, int]] = []
    there = attempt.endpoint
    if there is not None and there.subject != Reserved.HOST:
        targets += [(Target.TO_SUBJECT, there.subject), (Target.TO_NETWORK, there.network)]
    elif there is not None and MemberKey(image.generation, subject, there.network) in image.tables[Table.MEMBERS]:
        targets.append((Target.TO_SUBJECT, Reserved.HOST))  # the host, on the subject's own networks only
    found = [image.net_rows.get(NetRowKey(image.generation, entry.profile, *target)) for target in targets]
    found.append(_longest_cidr(image, entry.profile, attempt.address))
    return any(ports is not None and ports_allow(ports, attempt.protocol, attempt.port) for ports in found)


def _longest_cidr(image: Image, profile: int, address: bytes) -> Ports | None:
    for bits in image.cidr_lengths:
        found = image.cidrs.get(CidrKey(bits, image.generation, profile, _masked(address, bits - CIDR_KEY_BITS)))
        if found is not None:
            return found
    return None


def _longest_subnet(image: Image, address: bytes) -> int:
    for bits in image.subnet_lengths:
        found = image.subnets.get(SubnetKey(bits, image.generation, _masked(address, bits - SUBNET_KEY_BITS)))
        if found is not None:
            return found
    return 0


def _masked(address: bytes, bits: int) -> bytes:
    rest = 128 - bits
    return (int.from_bytes(address) >> rest << rest).to_bytes(16)


def _place(image: Image, subject: int, attempt: Flow, *, home: int) -> tuple[bool, int]:
    """Outside the subject's networks, or inside which? What stays within the container is neither."""
    if _stays(attempt.address):
        return False, 0
    network = attempt.endpoint.network if attempt.endpoint else _longest_subnet(image, attempt.address)
    if network and MemberKey(image.generation, subject, network) in image.tables[Table.MEMBERS]:
        return False, network
    return True, home
