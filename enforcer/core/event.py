"""What happened, complete in itself: an ``Event`` carries every fact that judging it again needs.

Replay therefore needs no access to the host that recorded it. ``enforcer.edges.journal`` writes events as ECS documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcer.core.model import Access, Hook, Mechanism, Mode, ObjectId, Verdict


@dataclass(frozen=True)
class Who:
    """The container of an event, with what selectors look at. ``networks`` are names; ``internal`` those that are internal.

    ``labels_cut``: labels that were too long to be recorded with the others (``core.labels``).
    """

    id: str
    name: str
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()
    labels_cut: int = 0


@dataclass(frozen=True)
class Process:
    """The task that tried. ``pid`` and ``tid`` as the host sees them; ``name`` is the kernel's comm, as raw text."""

    pid: int
    tid: int
    uid: int
    name: str


@dataclass(frozen=True)
class FileAttempt:
    """An access to a data object. ``path`` is relative to the object's root, ``cut`` if its upper end is missing."""

    object: ObjectId
    path: str
    inode: int
    device: int
    cut: bool = False


@dataclass(frozen=True)
class NetAttempt:
    """A connection attempt. ``address`` is textual, IPv4-mapped IPv6 as IPv4; ``protocol`` an IPPROTO number.

    ``external``: the address is outside the container's networks; ``network`` is then the one that it would have left,
    else the one that the destination is on. ``peer`` is the container that holds the address, ``host`` that the host does.
    ``socket``: the kind of socket (``raw``, ``packet``) that was to be made, by which any address can be reached: none is known;
    ``resolver``: Docker's resolver was asked for a ``name`` (empty if it could not be read) that is not on the networks.
    """

    address: str
    port: int
    protocol: int
    network: str = ""
    external: bool = False
    peer: str = ""
    host: bool = False
    socket: str = ""
    resolver: bool = False
    name: str = ""


@dataclass(frozen=True)
class Event:
    """One judged attempt, or ``count`` identical ones. ``time_ns`` is UTC in nanoseconds since 1970.

    ``first_ns`` is when the first of several identical attempts happened, ``time_ns`` when the last did; 0: at ``time_ns``, too.
    ``asked`` is what was asked for, ``granted`` what the answering row grants, ``rule`` the ids of the rules that the row
    comes from (empty: none names it), ``errno`` the positive errno of an attempt that something else refused.
    """

    sequence: int
    time_ns: int
    who: Who
    process: Process
    attempt: FileAttempt | NetAttempt
    asked: Access
    granted: Access
    mode: Mode
    verdict: Verdict
    mechanism: Mechanism
    hook: Hook
    generation: int
    policy: str
    rule: tuple[str, ...] = ()
    count: int = 1
    errno: int = 0
    first_ns: int = 0


@dataclass(frozen=True)
class Notice:
    """What the agent itself did or met: started, policy loaded or refused, a container born, a loss, an operator's command.

    ``action`` is a short word (``policy-loaded``), ``message`` one line for a person, ``fields`` further facts.
    """

    sequence: int
    time_ns: int
    action: str
    message: str
    outcome: str = "success"
    fields: Mapping[str, str | int] = field(default_factory=dict)
