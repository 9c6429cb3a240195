"""What the policy says of a connection, and what an attempt to make it therefore shows."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from enforcer.core.compile import compile
from enforcer.core.decide import judge_net
from enforcer.core.explain import Destination
from enforcer.core.ids import Ids, allocate
from enforcer.core.model import Container, Facts, Policy, Verdict
from enforcer.core.outcome import Outcome, Tried
from enforcer.core.reach import stand
from enforcer.core.words import protocol_word
from enforcer.posture.finding import Result
from enforcer.posture.policy_networks import networks_of

_GENERATION = 1

LOOK = "if it may: is it quarantined (enforcer status), or does a firewall stop it?"
IN_FORCE = "put the policy in force (enforcer run, mode enforce) and look at enforcer status"


class Want(enum.Enum):
    """What the policy wants to become of a connection."""

    GRANTED = enum.auto()
    DENIED = enum.auto()
    WATCHED = enum.auto()
    """Not granted, and only counted: mode monitor."""
    FREE = enum.auto()
    """The policy does not govern this container's connections."""


@dataclass(frozen=True)
class Attempts:
    """What was tried: by container id and destination. ``not_tried``: why a container could not be entered."""

    tried: Mapping[str, Mapping[Destination, Tried]] = field(default_factory=dict)
    not_tried: Mapping[str, str] = field(default_factory=dict)


class Expectations:
    """The decision that the kernel makes (``core.decide``), asked of one policy on one host."""

    def __init__(self, policy: Policy, facts: Facts) -> None:
        self._ids = allocate(Ids(), policy, facts)
        self._standings = stand(policy, facts).of
        self._image = compile(policy, facts, self._ids, _GENERATION)
        self._internal = {n.name for n in facts.networks.values() if n.internal} | set(policy.internal)
        self._containers = sorted((c for c in facts.containers.values() if c.pid), key=lambda c: c.name)

    def want(self, container: Container, to: Destination) -> Want:
        """What is to become of a connection from a container to an address."""
        if not self._standings[container.id].governed:
            return Want.FREE
        subject = self._ids.subject(container.id)
        found = judge_net(self._image, subject=subject, address=to.host, protocol=to.protocol, port=to.port)
        wants = {Verdict.ALLOWED: Want.GRANTED, Verdict.OBSERVED: Want.WATCHED}
        return wants.get(found.verdict, Want.DENIED)

    def because(self, container: Container) -> str:
        """The rules that name a container, or why it is governed without one."""
        return " and ".join(self._standings[container.id].rules) or "no rule names it"

    def confined(self, container: Container) -> bool:
        """Is it on internal networks only?"""
        own = networks_of(container)
        return bool(own) and own <= self._internal

    @property
    def running(self) -> tuple[Container, ...]:
        """The containers that run, by name."""
        return tuple(self._containers)

    @property
    def concerned(self) -> tuple[Container, ...]:
        """Those that a network rule names or that are on an internal network."""
        return tuple(c for c in self._containers if self._standings[c.id].rules or networks_of(c) & self._internal)


def judged(want: Want, tried: Tried, *, confined: bool) -> Result:
    """Does what happened agree with what the policy wants? What happens to the container itself is what counts."""
    if tried.container is Outcome.UNTRIED:
        return Result.WARN
    reached = tried.container is Outcome.REACHED
    if want is Want.GRANTED:
        return Result.PASS if reached else Result.FAIL
    if want is Want.DENIED:
        if reached:
            return Result.FAIL
        # its networks should have held it already, without the enforcer
        return Result.WARN if confined and tried.namespace is Outcome.REACHED else Result.PASS
    return Result.WARN if reached and want is Want.WATCHED else Result.PASS


def written(to: Destination) -> str:
    """``203.0.113.10:443/tcp``, ``[2001:db8::1]:53/udp``: as ``enforcer explain`` takes it."""
    host = f"[{to.host}]" if ":" in to.host else to.host
    return f"{host}:{to.port}/{protocol_word(to.protocol)}"
