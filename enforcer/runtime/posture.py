"""``verify``: inspects the containers that the policy speaks of, tries to write where they do, and has the checks judge it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from enforcer.core.inspection import EngineSecurity, Inspection
from enforcer.core.model import Facts, Kind, Policy
from enforcer.core.outcome import Written
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.inspections import Inspections
from enforcer.edges.writes import Writes
from enforcer.errors import ContainerGone, EdgeError
from enforcer.posture.containers import Containers, tried_at
from enforcer.posture.finding import Finding

AT_A_TIME = 8
"""Containers that are tried at the same time: each has a process of ours."""


Seen = tuple[tuple[Inspection, ...], EngineSecurity]


@dataclass(frozen=True)
class Posture:
    """What was looked at, and what was found."""

    containers: tuple[Inspection, ...]
    findings: tuple[Finding, ...]


def places(facts: Facts) -> dict[str, str]:
    """A volume's name → where its data lies on the host."""
    return {o.name: found.path for o, found in facts.objects.items() if o.kind is Kind.VOLUME}


def verify_containers(
    policy: Policy, facts: Facts, dockerd: Dockerd, address: str, writes: Writes | None = None
) -> Posture:
    """The guide's containerization, volume and security verification. ``address``: the engine's.

    Without ``writes`` nothing is tried, and ``data-write``, which only an attempt shows, is left out. Raises EdgeError, HostError.
    """
    seen = seen_of(facts, dockerd, address)
    containers = Containers(policy, facts, *seen)
    tried = _try(facts, containers.concerned, writes) if writes else None
    return Posture(containers.concerned, containers.verify(tried))


def seen_of(facts: Facts, dockerd: Dockerd, address: str) -> Seen:
    """What is judged, besides policy and facts: the containers as the engine has them, and how it confines them. EdgeError."""
    inspections = Inspections(dockerd.api, places(facts))
    return inspections.all(), inspections.security(address)


def judge(policy: Policy, facts: Facts, seen: Seen) -> tuple[Finding, ...]:
    """What looking shows; ``data-write``, which only an attempt shows, is left out."""
    return Containers(policy, facts, *seen).verify(None)


def _try(facts: Facts, found: Iterable[Inspection], writes: Writes) -> dict[str, Mapping[str, Written]]:
    def attempt(inspected: Inspection) -> tuple[str, Mapping[str, Written]]:
        paths = tried_at(inspected)
        try:
            tried = writes.attempt(facts.containers[inspected.id], paths) if paths else {}
        except ContainerGone:
            tried = dict.fromkeys(paths, _untried("it ended while it was looked at"))
        except EdgeError as e:
            tried = dict.fromkeys(paths, _untried(str(e)))
        return inspected.id, tried

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return dict(pool.map(attempt, found))


def _untried(why: str) -> Written:
    return Written(tried=False, done=False, how=why)
