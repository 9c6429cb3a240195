"""What the verifier tries and what becomes of it: who listens, and how an attempt to connect really ended."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple


class Listener(NamedTuple):
    """A TCP socket that waits for connections; ``address`` may be the unspecified one of its family."""

    address: IPv4Address | IPv6Address
    port: int


class Outcome(enum.StrEnum):
    """How one attempt ended. TCP is ``REACHED`` when it is accepted, UDP when something answers."""

    REACHED = "reached"
    REFUSED = "refused"
    """ECONNREFUSED: the other end has no such port, or a firewall says so in its name."""
    FORBIDDEN = "forbidden"
    """EPERM or EACCES: a cgroup hook, or a rule of the namespace's own, stopped the call."""
    UNREACHABLE = "unreachable"
    """No route, no address of that family, or no neighbour."""
    SILENT = "silent"
    """Nothing came back in time."""
    UNTRIED = "untried"
    """It could not be tried: the reason is in ``Tried.why``."""


@dataclass(frozen=True)
class Tried:
    """The same attempt twice: by a process in the container's network namespace only, and by one in its cgroup as well.

    The first meets Docker's networks and nftables; the second also the enforcer's hooks, as the container itself does.
    """

    namespace: Outcome
    container: Outcome
    why: str = ""

    def __str__(self) -> str:
        reason = f" ({self.why})" if self.why else ""
        if self.namespace is self.container:
            return f"{self.container}{reason}"
        return f"{self.container}{reason}, from its network namespace alone {self.namespace}"


@dataclass(frozen=True)
class Written:
    """What became of an attempt to write to a directory from inside a container, as its first process would.

    ``done``: it could; ``how`` says how it ended (``EROFS: Read-only file system``, ``killed``), or why it was not ``tried``.
    """

    tried: bool
    done: bool
    how: str = ""
