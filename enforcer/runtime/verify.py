"""``verify network``: reads who listens, tries what the checks ask for from inside each container, and has them judge it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from enforcer.core.explain import Destination
from enforcer.core.model import Container, Facts, Policy
from enforcer.core.outcome import Listener, Tried
from enforcer.edges.inside import Inside
from enforcer.edges.listening import listening
from enforcer.errors import ContainerGone, EdgeError
from enforcer.posture.assignments import assignments
from enforcer.posture.expectations import Attempts, Expectations
from enforcer.posture.external import external, untried
from enforcer.posture.finding import Finding
from enforcer.posture.pairs import doors, inter_container, towards

AT_A_TIME = 8
"""Containers that are tried from at the same time: each has a process of ours, most of the time waiting."""

_PROTOCOLS = (6, 17)


def verify_network(
    policy: Policy, facts: Facts, inside: Inside, outside: Sequence[tuple[str, int]]
) -> tuple[Finding, ...]:
    """The guide's three network tests. ``outside``: addresses with ports, tried by TCP, and by UDP where something answers."""
    expectations = Expectations(policy, facts)
    return (
        *assignments(policy, facts),
        *_external(expectations, inside, outside),
        *_inter_container(expectations, inside),
    )


def _external(expectations: Expectations, inside: Inside, outside: Sequence[tuple[str, int]]) -> tuple[Finding, ...]:
    if not outside:
        return (untried(),)
    targets = [Destination(address, port, protocol) for address, port in outside for protocol in _PROTOCOLS]
    controls = inside.from_here(targets)
    return external(expectations, controls, _try(inside, [(c, targets) for c in expectations.concerned]))


def _inter_container(expectations: Expectations, inside: Inside) -> tuple[Finding, ...]:
    listeners, gone = _listeners(expectations.running)
    found = doors(expectations.running, listeners)
    own = _try(inside, [(c, [d.to for d in found.get(c.id, ())]) for c in expectations.running])
    controls = Attempts(own.tried, {**own.not_tried, **gone})
    plan = towards(expectations, found)
    attempts = _try(inside, [(c, [door.to for door in plan[c.id]]) for c in expectations.running])
    return inter_container(expectations, found, controls, attempts)


def _listeners(containers: Iterable[Container]) -> tuple[dict[str, tuple[Listener, ...]], dict[str, str]]:
    found, gone = {}, {}
    for container in containers:
        try:
            found[container.id] = listening(container.pid)
        except EdgeError as e:
            gone[container.id] = _why(e)
    return found, gone


def _try(inside: Inside, plan: Iterable[tuple[Container, Sequence[Destination]]]) -> Attempts:
    """Each container's targets, from inside it; who has none is not entered."""
    tried: dict[str, Mapping[Destination, Tried]] = {}
    not_tried: dict[str, str] = {}

    def enter(item: tuple[Container, Sequence[Destination]]) -> None:
        container, targets = item
        try:
            tried[container.id] = inside.call(container, targets) if targets else {}
        except EdgeError as e:
            not_tried[container.id] = _why(e)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(enter, plan))
    return Attempts(tried, not_tried)


def _why(error: EdgeError) -> str:
    return "it ended while it was looked at" if isinstance(error, ContainerGone) else str(error)
