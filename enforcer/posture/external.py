"""Test 2 of the guide's network verification: what is on internal networks does not reach the outside, except by a rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from enforcer.core.explain import Destination
from enforcer.core.model import Container
from enforcer.core.outcome import Outcome, Tried
from enforcer.posture.expectations import IN_FORCE, LOOK, Attempts, Expectations, Want, judged, written
from enforcer.posture.finding import Finding, Result

CHECK = "network.external"
SECTION = "Network Segmentation, 2. Network Verification, Test 2: External connectivity"

_UDP = 17

Controls = Mapping[Destination, Outcome]


def untried() -> Finding:
    """No address outside was named, and none is built in."""
    return _finding(
        Result.WARN, "", "not tried: no address outside was named", fix="name one that answers: --outside ADDR:PORT"
    )


def external(expectations: Expectations, controls: Controls, attempts: Attempts) -> tuple[Finding, ...]:
    """The findings. ``controls`` are the same attempts from the host: what the host does not reach shows nothing.

    UDP is judged only where something answered the host.
    """
    judged_ones = tuple(to for to in controls if to.protocol != _UDP or controls[to] is Outcome.REACHED)
    found = [finding for to in judged_ones for finding in _control(to, controls[to])]
    for container in expectations.concerned:
        if why := attempts.not_tried.get(container.id):
            found.append(_finding(Result.WARN, container.name, f"not tried: {why}"))
            continue
        for to in judged_ones:
            tried = attempts.tried[container.id][to]
            if controls[to] is Outcome.REACHED or Outcome.REACHED in (tried.container, tried.namespace):
                found.append(_judge(expectations, container, to, tried))
    return tuple(found)


def _control(to: Destination, outcome: Outcome) -> Iterator[Finding]:
    if outcome is not Outcome.REACHED:
        evidence = f"{outcome} from the host itself, so that it shows nothing where a container does not reach it"
        fix = "name an address and port outside that answers"
        yield _finding(Result.WARN, "", f"{written(to)}: {evidence}", fix=fix, peer=written(to))


def _judge(expectations: Expectations, container: Container, to: Destination, tried: Tried) -> Finding:
    want, confined = expectations.want(container, to), expectations.confined(container)
    because, reached = expectations.because(container), tried.container is Outcome.REACHED
    result = judged(want, tried, confined=confined)
    if want is Want.GRANTED:
        if not reached and not _has_family(container, to):
            result = Result.WARN
        says, fix = f"{because} grants it", "" if reached else _look(container, to)
    elif want is Want.FREE:
        # the guide: "check if intended"
        result = Result.WARN if reached else result
        says, fix = "no network rule names it", f"name {container.name} in a rule of the policy" if reached else ""
    else:
        watched = ", and it is only watched (mode monitor)" if want is Want.WATCHED else ""
        says = f"{because} does not grant it{watched}" if because != "no rule names it" else f"{because}{watched}"
        fix = IN_FORCE if reached else ""
    if result is Result.WARN and want is Want.DENIED and tried.namespace is Outcome.REACHED:
        says += "; it is on internal networks only, and they do not hold it"
        fix = "recreate the networks with --internal, or run the enforcer's egress guard"
    return _finding(result, container.name, f"{written(to)}: {tried}; {says}", fix=fix, peer=written(to))


def _has_family(container: Container, to: Destination) -> bool:
    return any((":" in address) == (":" in to.host) for a in container.attachments for address in a.addresses)


def _look(container: Container, to: Destination) -> str:
    return f"enforcer explain {container.name} connect {written(to)}; {LOOK}"


def _finding(result: Result, container: str, evidence: str, *, fix: str = "", peer: str = "") -> Finding:
    return Finding(CHECK, result, container, evidence, SECTION, fix, peer)
