"""What the kernel maps hold for one policy on one host: an ``Image``, rows as data.

Every key and value is a NamedTuple whose fields are those of its struct in ``probes/contract.h`` (padding left out), or
a plain int where the map holds a plain integer. Addresses are 16 bytes, IPv4 as ``::ffff:a.b.c.d``. ``core.compile``
makes images, ``core.plan`` turns two of them into operations, ``core.decide`` judges by one just as the kernel does.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

from enforcer.core.address import bits_of, packed
from enforcer.core.model import Prefix
from enforcer.errors import AbiError

MAX_RANGES = 15
"""ENF_MAX_RANGES: port ranges that one grant can hold."""

NET: Literal["net"] = "net"
"""Stands where an object id stands in ``Image.reasons``: the rules that name a subject for the network."""

ReasonKey = tuple[int, int | Literal["net"]]
"""(subject id, object id), or (subject id, ``NET``)."""

SUBNET_KEY_BITS = 32
"""What the prefix length of a key of SUBNETS counts before the address: its generation."""

CIDR_KEY_BITS = SUBNET_KEY_BITS + 32
"""The same for CIDRS: the generation and the profile."""

_DOCKER_ID = re.compile("[0-9a-f]{64}").fullmatch


class Table(enum.StrEnum):
    """The kernel maps that an image fills; the value is the map's name."""

    PREPARED = "prepared"
    CGROUPS = "subjects"
    OBJECTS = "objects"
    FILESYSTEMS = "filesystems"
    ROWS = "rows"
    NET_SUBJECTS = "net_subjects"
    NET_ROWS = "net_rows"
    CIDRS = "cidrs"
    ENDPOINTS = "endpoints"
    SUBNETS = "subnets"
    MEMBERS = "members"
    NAMES = "names"


TIMELESS = frozenset({Table.PREPARED, Table.CGROUPS})
"""The tables whose keys carry no generation: they say who a subject is, not what it may do."""


class State(enum.IntEnum):
    """enum enf_state: a container's cgroup is armed once its own first program runs."""

    PENDING = 0
    ARMED = 1


class Regime(enum.IntEnum):
    """enum enf_regime: whether the network policy concerns a subject, or an operator has cut it off."""

    FREE = 0
    GOVERNED = 1
    QUARANTINED = 2


class Target(enum.IntEnum):
    """enum enf_target: what a network row grants a connection to, CIDRs aside."""

    TO_NETWORK = 1
    TO_SUBJECT = 2


class DockerId(NamedTuple):
    """Key of PREPARED; the value is the subject id. ``hex``: 64 ASCII bytes."""

    hex: bytes


class Subject(NamedTuple):
    """Value of CGROUPS; the key is the cgroup id. ``container``: id of the container's own cgroup, which has nested ones."""

    id: int
    state: int
    container: int = 0


class InodeKey(NamedTuple):
    """Key of OBJECTS. ``device`` is s_dev: major << 20 | minor."""

    inode: int
    device: int
    generation: int


class Object(NamedTuple):
    """Value of OBJECTS. ``has_inner`` 1: another object lies beneath this one. ``version``: the inode's, 0 if it has none."""

    id: int
    has_inner: int
    version: int = 0


class DeviceKey(NamedTuple):
    """Key of FILESYSTEMS; the value is 1."""

    generation: int
    device: int


class RowKey(NamedTuple):
    """Key of ROWS. ``object`` 0 is the subject's default row."""

    generation: int
    subject: int
    object: int


class Row(NamedTuple):
    """Value of ROWS: ``granted`` as ``Access`` bits, ``mode`` for what is not granted."""

    granted: int
    mode: int


class NetKey(NamedTuple):
    """Key of NET_SUBJECTS."""

    generation: int
    subject: int


class NetSubject(NamedTuple):
    """Value of NET_SUBJECTS. ``home``: id of the network that an external attempt is counted for. ``scope``: see NAMES."""

    profile: int
    home: int
    regime: int
    mode: int
    sockets: int = 0
    scope: int = 0


class EndpointKey(NamedTuple):
    """Key of ENDPOINTS."""

    address: bytes
    generation: int


class Endpoint(NamedTuple):
    """Value of ENDPOINTS: the subject that holds the address (``Reserved.HOST`` for a bridge), and on which network."""

    subject: int
    network: int


class NetRowKey(NamedTuple):
    """Key of NET_ROWS. ``target`` is a network id or a subject id, as ``target_kind`` says."""

    generation: int
    profile: int
    target_kind: int
    target: int


class NameKey(NamedTuple):
    """Key of NAMES: a name (as in a DNS query, zeros after it) that those of ``scope`` may ask for; the value is a ``NameKind``."""

    generation: int
    scope: int
    name: bytes


class CidrKey(NamedTuple):
    """Key of CIDRS. ``prefixlen`` counts the 32 bits of the generation and of the profile too: see ``cidr_key``."""

    prefixlen: int
    generation: int
    profile: int
    address: bytes


class Range(NamedTuple):
    """Ports ``first``..``last`` inclusive of ``protocol`` (IPPROTO number, 0 any)."""

    first: int
    last: int
    protocol: int


class Ports(NamedTuple):
    """Value of NET_ROWS and CIDRS. ``count`` 0 grants nothing: an exception to a wider prefix."""

    count: int  # type: ignore[assignment]  # the struct's name for it; nobody counts the items of this tuple
    ranges: tuple[Range, ...]


class SubnetKey(NamedTuple):
    """Key of SUBNETS; the value is the network id. ``prefixlen`` counts the 32 bits of the generation too."""

    prefixlen: int
    generation: int
    address: bytes


class MemberKey(NamedTuple):
    """Key of MEMBERS; the value is 1."""

    generation: int
    subject: int
    network: int


@dataclass(frozen=True)
class Image:
    """All that the kernel holds for one policy on one host. Two images are equal when the kernel would hold the same.

    ``reasons``: (subject id, object id) → ids of the rules that the row comes from, (subject id, ``NET``) → ids of the
    network rules that name the subject. ``warnings``: what the policy says but this host cannot hold, a line each.
    """

    generation: int
    tables: Mapping[Table, Mapping[Any, Any]] = field(default_factory=dict)
    reasons: Mapping[ReasonKey, tuple[str, ...]] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", {table: self.tables.get(table, {}) for table in Table})

    @property
    def rows(self) -> Mapping[RowKey, Row]:
        """The table ROWS."""
        return cast("Mapping[RowKey, Row]", self.tables[Table.ROWS])

    @property
    def objects(self) -> Mapping[InodeKey, Object]:
        """The table OBJECTS."""
        return cast("Mapping[InodeKey, Object]", self.tables[Table.OBJECTS])

    @property
    def net_subjects(self) -> Mapping[NetKey, NetSubject]:
        """The table NET_SUBJECTS."""
        return cast("Mapping[NetKey, NetSubject]", self.tables[Table.NET_SUBJECTS])

    @property
    def net_rows(self) -> Mapping[NetRowKey, Ports]:
        """The table NET_ROWS."""
        return cast("Mapping[NetRowKey, Ports]", self.tables[Table.NET_ROWS])

    @property
    def cidrs(self) -> Mapping[CidrKey, Ports]:
        """The table CIDRS."""
        return cast("Mapping[CidrKey, Ports]", self.tables[Table.CIDRS])

    @property
    def endpoints(self) -> Mapping[EndpointKey, Endpoint]:
        """The table ENDPOINTS."""
        return cast("Mapping[EndpointKey, Endpoint]", self.tables[Table.ENDPOINTS])

    @property
    def subnets(self) -> Mapping[SubnetKey, int]:
        """The table SUBNETS."""
        return cast("Mapping[SubnetKey, int]", self.tables[Table.SUBNETS])

    @cached_property
    def cidr_lengths(self) -> tuple[int, ...]:
        """The prefix lengths that occur in CIDRS, longest first: what a longest-prefix search must try."""
        return tuple(sorted({key.prefixlen for key in self.cidrs}, reverse=True))

    @cached_property
    def subnet_lengths(self) -> tuple[int, ...]:
        """The prefix lengths that occur in SUBNETS, longest first."""
        return tuple(sorted({key.prefixlen for key in self.subnets}, reverse=True))


def cidr_key(generation: int, profile: int, prefix: Prefix) -> CidrKey:
    """The key of a prefix in CIDRS: generation and profile always match in full, the address by the prefix."""
    bits = CIDR_KEY_BITS + bits_of(prefix)
    return CidrKey(bits, generation, profile, packed(str(prefix.network_address)))


def subnet_key(generation: int, prefix: Prefix) -> SubnetKey:
    """The key of a prefix in SUBNETS."""
    return SubnetKey(SUBNET_KEY_BITS + bits_of(prefix), generation, packed(str(prefix.network_address)))


def docker_id(text: str) -> DockerId:
    """The key of a container in PREPARED. AbiError unless ``text`` has 64 hex digits."""
    if _DOCKER_ID(text) is None:
        raise AbiError(f"a container id has 64 hex digits: {text!r}")
    return DockerId(text.encode("ascii"))
