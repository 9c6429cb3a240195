"""The words of DESIGN section 1 as types: what a policy says (``Policy``) and what a host is (``Facts``).

Its enums are in ``core.enums``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from enforcer.core.enums import READ_ONLY, READ_WRITE, Access, Hook, Kind, Mechanism, Mode, Sockets, Verdict
from enforcer.core.posture import PostureRule

__all__ = ["READ_ONLY", "READ_WRITE", "Access", "Hook", "Kind", "Mechanism", "Mode", "Sockets", "Verdict"]

Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Selector:
    """Which containers a name of the policy's ``containers`` section stands for. Globs as in ``fnmatch``, case-sensitive.

    All given criteria must hold; ``excluded`` are name globs that take containers out again.
    """

    name: str | None = None
    image: str | None = None
    label: Mapping[str, str] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()


class DataTarget(NamedTuple):
    """A data object or a pattern of them. ``{name}`` in ``pattern`` stands for the container's name (rules only)."""

    kind: Kind
    pattern: str


@dataclass(frozen=True)
class DataRule:
    """What some containers may do with some data objects. ``id`` is its path in the document: ``data.rules[0]``."""

    id: str
    who: tuple[str, ...]
    read_write: tuple[DataTarget, ...] = ()
    read_only: tuple[DataTarget, ...] = ()
    mode: Mode | None = None


@dataclass(frozen=True, order=True)
class PortRange:
    """``first``..``last`` inclusive; ``protocol`` is an IPPROTO number, 0 for any (then the ports are 0..65535)."""

    first: int
    last: int
    protocol: int


ANY_PORT = PortRange(0, 65535, 0)


@dataclass(frozen=True)
class ToNetwork:
    """The containers on the Docker network ``network`` (exact name); not the host's own address on it."""

    network: str
    ports: tuple[PortRange, ...] = (ANY_PORT,)


@dataclass(frozen=True)
class ToContainer:
    """The container of that name, or, where ``containers`` of the policy has the name, all those that it selects."""

    container: str
    ports: tuple[PortRange, ...] = (ANY_PORT,)


@dataclass(frozen=True)
class ToCidr:
    """Every address of ``cidr`` that is in none of ``excluded``."""

    cidr: Prefix
    excluded: tuple[Prefix, ...] = ()
    ports: tuple[PortRange, ...] = (ANY_PORT,)


@dataclass(frozen=True)
class ToHost:
    """The host's own addresses on the container's networks (bridge gateways). ``ports`` must be given."""

    ports: tuple[PortRange, ...]


NetTarget = ToNetwork | ToContainer | ToCidr | ToHost


@dataclass(frozen=True)
class NetRule:
    """Where some containers may connect. An empty ``connect`` means nowhere. ``sockets``: what they may make besides."""

    id: str
    who: tuple[str, ...]
    connect: tuple[NetTarget, ...] = ()
    mode: Mode | None = None
    sockets: Sockets = Sockets.NONE


@dataclass(frozen=True)
class Policy:
    """One loaded policy. ``hash`` is the SHA-256 (hex) of the documents it was read from."""

    mode: Mode
    containers: Mapping[str, Selector] = field(default_factory=dict)
    protected: tuple[DataTarget, ...] = ()
    data_rules: tuple[DataRule, ...] = ()
    internal: tuple[str, ...] = ()
    net_rules: tuple[NetRule, ...] = ()
    posture: tuple[PostureRule, ...] = ()
    hash: str = ""


@dataclass(frozen=True, order=True)
class Inode:
    """A file or directory as the kernel names it: ``device`` is s_dev, that is major << 20 | minor.

    ``version`` tells files apart that have the number one after the other (the kernel's i_generation); 0 where it is not known.
    """

    device: int
    inode: int
    version: int = field(default=0, compare=False)


class ObjectId(NamedTuple):
    """Which data object: a volume's name, a host path, or the name of the container whose layer it is.

    A tuple, as ``DataTarget``: tens of thousands are looked up at each change of the host, and a tuple's hash is no Python.
    """

    kind: Kind
    name: str


@dataclass(frozen=True)
class DataObject:
    """A data object found on this host: the directories (or the file) that are its roots, and where its data really lies.

    ``path`` has no symbolic link in it and is, for a bind-backed volume, the device directory: objects are nested by it.
    ``links`` are its files that have a name elsewhere, too; ``unlooked``: it has too many files to look for such.
    """

    id: ObjectId
    inodes: tuple[Inode, ...]
    path: str = ""
    links: tuple[Inode, ...] = ()
    unlooked: bool = False


@dataclass(frozen=True)
class OwnFile:
    """A file or directory of the agent's own, which no container may touch; its ``journal`` may be read."""

    path: str
    inode: Inode
    journal: bool = False


@dataclass(frozen=True)
class Attachment:
    """A container's place on one Docker network. ``addresses`` are textual, without prefix length, of both families.

    ``names``: what Docker resolves to it there, beside its own name. ``links``: what it alone calls others there, as pairs of
    the other's name and the alias.
    """

    network: str
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Container:
    """A container that Docker knows. ``id`` has 64 hex digits, ``name`` no leading slash, ``pid`` 0 unless it runs.

    ``cgroup`` is the id of its cgroup (inode of the directory in cgroup2), 0 while it has none; ``nested`` those below it.
    ``foreseen``: it has been made and not been looked at yet, so that nobody knows which networks it is on.
    """

    id: str
    name: str
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    pid: int = 0
    cgroup: int = 0
    nested: tuple[int, ...] = ()
    foreseen: bool = False


@dataclass(frozen=True)
class Network:
    """A Docker network. ``gateways`` are the host's own addresses on it, textual."""

    id: str
    name: str
    internal: bool = False
    subnets: tuple[Prefix, ...] = ()
    gateways: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What the host is now. Keys: containers by id, networks by name, objects by ``ObjectId``.

    ``objects`` holds what exists, protected or not: all volumes, all layers, and those of the policy's paths that are there.
    ``own`` is the agent's; ``disks`` are the block devices (s_dev) beneath the filesystems of all these. ``quarantined``: ids
    of the containers that an operator has cut off from every network.
    """

    containers: Mapping[str, Container] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    objects: Mapping[ObjectId, DataObject] = field(default_factory=dict)
    own: tuple[OwnFile, ...] = ()
    disks: frozenset[int] = frozenset()
    quarantined: frozenset[str] = frozenset()
