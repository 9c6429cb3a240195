"""``diagnose``: reads what is needed to tell what is wrong with one container, and does what is safe to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from enforcer.core.explain import find_container
from enforcer.core.inspection import Inspection
from enforcer.core.model import Container, Facts, Policy
from enforcer.core.outcome import Listener
from enforcer.edges.connecting import connect
from enforcer.edges.credentials import credentials_of
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.inspections import Inspections
from enforcer.edges.listening import listening
from enforcer.edges.ownership import give, others_files
from enforcer.edges.writes import Writes
from enforcer.errors import ContainerGone
from enforcer.posture.case import Case
from enforcer.posture.containers import Containers, tried_at
from enforcer.posture.diagnosis import Chown, Connect, Issue, Pair, Strays, connectivity, permissions, read_only, shared
from enforcer.posture.expectations import Expectations
from enforcer.posture.wanted import Expectation
from enforcer.runtime.posture import places


@dataclass(frozen=True)
class Patient:
    """Whom to look at, and, if it cannot reach another, whom."""

    container: str
    other: str = ""


@dataclass(frozen=True)
class Scene:
    """Where it is looked at: the policy, the host as it is now, and the engine, which listens at ``address``."""

    policy: Policy
    facts: Facts
    dockerd: Dockerd
    address: str


def diagnose(scene: Scene, patient: Patient, writes: Writes) -> tuple[Issue, ...]:
    """Everything that is wrong. UsageError for a container that is not there; EdgeError, HostError."""
    policy, facts = scene.policy, scene.facts
    container = find_container(facts, patient.container)
    other = find_container(facts, patient.other) if patient.other else None
    inspections = Inspections(scene.dockerd.api, places(facts))
    found = inspections.all()
    inspected = next((i for i in found if i.id == container.id), None)
    if inspected is None:
        raise ContainerGone(f"container {container.name} was removed meanwhile")
    paths = tried_at(inspected)
    tried = writes.attempt(container, paths) if paths else {}
    case = Containers(policy, facts, found, inspections.security(scene.address)).case(inspected, tried)
    issues = [*permissions(case, _strays(case), _group(container)), *read_only(case), *shared(case)]
    if other:
        issues += _between(scene, container, other, found)
    return tuple(issues)


def _strays(case: Case) -> dict[str, Strays]:
    """Of the volumes that the policy lets it write; what is a directory of the host may be anybody's."""
    uid = case.it.uid
    if uid is None:
        return {}
    named = {v.name for v in case.wanted.volumes if not v.read_only}
    own = (m for m in case.it.mounts if m.writable and m.name in named and m.owner)
    return {m.destination: Strays(*others_files(m.path, uid)) for m in own}


def _group(container: Container) -> int | None:
    try:
        return credentials_of(container.pid).gid if container.pid else None
    except ContainerGone:
        return None


def _between(scene: Scene, caller: Container, called: Container, inspections: Sequence[Inspection]) -> Iterator[Issue]:
    policy, facts = scene.policy, scene.facts
    expectation = Expectation(policy, facts)
    by_id = {i.id: i for i in inspections if i.id in facts.containers}
    wanted = [expectation.of(by_id[c.id]) for c in (caller, called) if c.id in by_id]
    if len(wanted) == 2:
        pair = Pair(caller, called, wanted[0], wanted[1], _listeners(called))
        yield from connectivity(pair, Expectations(policy, facts), facts.quarantined)


def _listeners(container: Container) -> tuple[Listener, ...]:
    try:
        return listening(container.pid) if container.pid else ()
    except ContainerGone:
        return ()


def remedy(issue: Issue, dockerd: Dockerd) -> str:
    """Do what is safe to do about an issue; what was done, "" if nothing is safe. Raises EdgeError."""
    match issue.remedy:
        case Connect(network, container):
            connect(dockerd.sdk, network=network, container=container)
            return f"{container} is connected to {network}"
        case Chown(path, uid, gid):
            given, left = give(path, uid, gid)
            kept = f"; {left} devices and files with several names were left as they are" if left else ""
            return f"{given} entries of {path} are {uid}:{gid}'s now{kept}"
        case _:
            return ""
