"""Test 3 of the guide's network verification: containers reach each other where the policy says so, and nowhere else.

The guide tries one pair by ping. Here every pair is tried, on the ports where something listens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from enforcer.core.explain import Destination
from enforcer.core.model import Container
from enforcer.core.outcome import Listener, Outcome, Tried
from enforcer.posture.expectations import IN_FORCE, LOOK, Attempts, Expectations, Want, judged, written
from enforcer.posture.finding import Finding, Result
from enforcer.posture.policy_networks import networks_of

CHECK = "network.inter-container"
SECTION = "Network Segmentation, 2. Network Verification, Test 3: Inter-container communication"

MAX_PORTS = 8
"""Ports tried of one container: who opens thousands does not make the verification endless. What is left out is said."""


class Door(NamedTuple):
    """Where a container can be knocked at: one of its addresses, on which network, with a port where it listens."""

    owner: Container
    network: str
    to: Destination


Doors = Mapping[str, tuple[Door, ...]]


def doors(containers: Iterable[Container], listeners: Mapping[str, tuple[Listener, ...]]) -> Doors:
    """By container id: where each that has an address of its own listens. One that shares another's has no doors."""
    return {c.id: tuple(_doors(c, listeners.get(c.id, ()))) for c in containers if _addresses(c)}


def _addresses(container: Container) -> tuple[tuple[str, str], ...]:
    return tuple((a.network, address) for a in container.attachments for address in a.addresses)


def _doors(container: Container, listeners: tuple[Listener, ...]) -> Iterator[Door]:
    ports = sorted({x.port for x in listeners if not x.address.is_loopback})[:MAX_PORTS]
    for port in ports:
        for network, address in _addresses(container):
            if any(x.port == port and _takes(x, address) for x in listeners):
                yield Door(container, network, Destination(address, port))


def _takes(listener: Listener, address: str) -> bool:
    """A listener on ``::`` takes IPv4 too, unless it was told not to: then it does not answer its own control attempt."""
    found = ip_address(address)
    if listener.address.is_unspecified:
        return listener.address.version == 6 or found.version == 4
    return listener.address == found


def towards(expectations: Expectations, found: Doors) -> dict[str, tuple[Door, ...]]:
    """What each container is to try: the doors of all the others, if the policy concerns one of the two."""
    concerned = {c.id for c in expectations.concerned}
    return {
        source.id: tuple(
            door
            for peer, its in found.items()
            if peer != source.id and (source.id in concerned or peer in concerned)
            for door in its
        )
        for source in expectations.running
    }


def inter_container(
    expectations: Expectations, found: Doors, controls: Attempts, attempts: Attempts
) -> tuple[Finding, ...]:
    """The findings. ``controls``: what each container came to at its own doors; one that it does not open itself shows nothing."""
    plan = towards(expectations, found)
    concerned = {c.id for c in expectations.concerned}
    findings = [
        f for c in expectations.running if c.id in concerned and c.id in found for f in _owner(c, found, controls)
    ]
    for source in expectations.running:
        if why := attempts.not_tried.get(source.id):
            findings += [_finding(Result.WARN, source.name, f"not tried: {why}")] if source.id in concerned else []
            continue
        tried = attempts.tried.get(source.id, {})
        for peer in {door.owner.id: door.owner for door in plan[source.id]}.values():
            knocked = [(d, tried[d.to]) for d in plan[source.id] if d.owner.id == peer.id and d.to in tried]
            telling = [(d, t) for d, t in knocked if _opens(controls, d) or t.container is Outcome.REACHED]
            findings += _pair(expectations, source, peer, telling)
    return tuple(findings)


def _opens(controls: Attempts, door: Door) -> bool:
    tried = controls.tried.get(door.owner.id, {}).get(door.to)
    return tried is not None and tried.namespace is Outcome.REACHED


def _owner(container: Container, found: Doors, controls: Attempts) -> Iterator[Finding]:
    """What keeps the attempts towards a container from showing anything."""
    if why := controls.not_tried.get(container.id):
        yield _finding(Result.WARN, container.name, f"nothing was tried towards it: {why}")
    elif not found[container.id]:
        yield _finding(Result.WARN, container.name, "nothing listens in it: nothing was tried towards it")
    else:
        for door in found[container.id]:
            if not _opens(controls, door):
                evidence = f"{written(door.to)}: something listens there, and does not answer from inside itself"
                yield _finding(Result.WARN, container.name, evidence)


def _pair(
    expectations: Expectations, source: Container, peer: Container, knocked: Iterable[tuple[Door, Tried]]
) -> Iterator[Finding]:
    """One finding for each result that the doors of a peer come to."""
    grouped: dict[tuple[Result, str], list[str]] = {}
    for door, tried in knocked:
        result, says, fix = _judge(expectations, source, door, tried)
        grouped.setdefault((result, fix), []).append(f"{written(door.to)}: {tried}; {says}")
    for (result, fix), said in grouped.items():
        evidence = f"to {peer.name} at {', '.join(said)}"
        yield _finding(result, source.name, evidence, fix=fix, peer=peer.name)


def _judge(expectations: Expectations, source: Container, door: Door, tried: Tried) -> tuple[Result, str, str]:
    want, because = expectations.want(source, door.to), expectations.because(source)
    reached, together = tried.container is Outcome.REACHED, door.network in networks_of(source)
    result = judged(want, tried, confined=False)
    if want is Want.GRANTED and together:
        return result, "granted", "" if reached else _look(source, door)
    if want is Want.GRANTED:
        says = f"granted, and they have no network in common ({door.network})"
        if reached or networks_of(source) & networks_of(door.owner):
            return Result.PASS, f"granted; they do not share {door.network}", ""
        return Result.WARN, says, f"docker network connect {door.network} {source.name}, or take the grant away"
    if want is Want.FREE:
        if reached and not together and expectations.confined(door.owner):
            says = f"{source.name} is not on {door.network}, and the policy does not govern it"
            return Result.WARN, says, f"name {source.name} in a rule of the policy"
        return result, f"the policy does not govern {source.name}", ""
    watched = ", and is only watched (mode monitor)" if want is Want.WATCHED else ""
    return result, f"not granted ({because}){watched}", IN_FORCE if reached else ""


def _look(source: Container, door: Door) -> str:
    return f"enforcer explain {source.name} connect {written(door.to)}; {LOOK}"


def _finding(result: Result, container: str, evidence: str, *, fix: str = "", peer: str = "") -> Finding:
    return Finding(CHECK, result, container, evidence, SECTION, fix, peer)
