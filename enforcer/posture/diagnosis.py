"""The guide's "Common Issues & Fixes", found from facts: what is wrong with one container, the command that mends it, and whether
that is safe to do without asking.

Safe is what adds nothing that the policy does not want, takes nothing away, and can be undone: connecting a container to a
network that the policy wants it on, and giving a container's own data volume, which nobody else has mounted, to its user.
Never safe: to separate a shared volume (whose its files are only people know), to change what is granted, to end a quarantine.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from enforcer.core.explain import Destination
from enforcer.core.model import Access, Container
from enforcer.core.outcome import Listener
from enforcer.posture.case import Case, Reached
from enforcer.posture.checks_volumes import VOLUME, volume_shared
from enforcer.posture.expectations import Expectations, Want
from enforcer.posture.finding import Result
from enforcer.posture.pairs import doors
from enforcer.posture.policy_networks import networks_of
from enforcer.posture.wanted import Wanted

ISSUE_1 = "Common Issues & Fixes, Issue 1: Volume Permission Errors"
ISSUE_2 = "Common Issues & Fixes, Issue 2: Network Connectivity Issues"
ISSUE_3 = "Common Issues & Fixes, Issue 3: Data Leakage Between Containers"

SYSTEM = frozenset({"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "sys", "usr"})
"""Directories of hier(7) that hold no volume's data: a volume may be bound to them, and is never given away by itself."""


@dataclass(frozen=True)
class Connect:
    """Connect a container to a network."""

    network: str
    container: str


@dataclass(frozen=True)
class Chown:
    """Give a directory of the host, and what is in it, to a user."""

    path: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Strays:
    """Files below a directory that are another user's: how many were found, and the first one with its owner."""

    count: int
    first: str = ""
    owner: int = 0


@dataclass(frozen=True)
class Issue:
    """One thing that is wrong. ``command`` mends it; ``remedy`` is the same as data where it is safe to do, else None."""

    name: str
    container: str
    evidence: str
    section: str
    command: str
    remedy: Connect | Chown | None = None


def permissions(case: Case, strays: Mapping[str, Strays], group: int | None) -> Iterator[Issue]:
    """Issue 1: EACCES. ``strays``: by place in the container; ``group``: that of its first process."""
    uid = case.it.uid
    for reached in case.reached:
        mount, tried = reached.mount, case.tried.get(reached.mount.destination)
        stray = strays.get(mount.destination, Strays(0))
        denied = tried is not None and tried.tried and not tried.done and "EACCES" in tried.how
        if uid is not None and (denied or stray.count) and _is_to_write(case, reached):
            whom = Chown(mount.path, uid, uid if group is None else group)
            seen = _seen(reached, uid, stray, denied=denied)
            command, remedy = _given(case, reached, whom, stray)
            yield Issue("volume-permissions", case.it.name, seen, ISSUE_1, command, remedy)


def _seen(reached: Reached, uid: int, stray: Strays, *, denied: bool) -> str:
    mount, owner = reached.mount, reached.mount.owner
    place = mount.destination
    if not denied:
        return f"it runs as {uid}; {stray.count} files in {place} are another's: {stray.first} is {stray.owner}'s"
    whose = f"is {owner.uid}:{owner.gid}, mode {owner.mode:04o}" if owner else "is not there"
    return f"it runs as {uid} and cannot write to {place}: {mount.path} {whose}"


def _given(case: Case, reached: Reached, whom: Chown, stray: Strays) -> tuple[str, Chown | None]:
    """The command that mends it; and the same as data, where another owner is what mends it, and it is the container's own."""
    owner, path = reached.mount.owner, shlex.quote(whom.path)
    if owner is not None and owner.uid == whom.uid and not stray.count:
        return f"chmod u+rwx {path}", None
    safe = owner is not None and whom.uid != 0 and _is_its_own(case, reached)
    return f"chown -R {whom.uid}:{whom.gid} {path}", whom if safe else None


def read_only(case: Case) -> Iterator[Issue]:
    """Issue 1, by another cause: what it is to write is mounted read-only."""
    for volume in case.wanted.volumes:
        found = case.mount_for(volume)
        if found and not volume.read_only and not found.mount.writable:
            place = found.mount.destination
            command = f"compose: volumes: [{volume.name}:{place}:rw]"
            yield Issue("mounted-read-only", case.it.name, f"{place} is mounted read-only", ISSUE_1, command)


def shared(case: Case) -> Iterator[Issue]:
    """Issue 3: another container's data."""
    for seen in volume_shared(case):
        if seen.result is not Result.PASS:
            yield Issue("shared-volume", case.it.name, seen.evidence, ISSUE_3, seen.fix)


@dataclass(frozen=True)
class Pair:
    """One container that calls another: both as the host knows them, what is wanted of each, and where the other listens."""

    caller: Container
    called: Container
    wanted: Wanted
    called_wanted: Wanted
    listeners: Sequence[Listener] = ()


def connectivity(pair: Pair, expectations: Expectations, quarantined: frozenset[str]) -> Iterator[Issue]:
    """Issue 2: why the one does not reach the other."""
    both = (pair.caller, pair.called)
    cut_off = [one for one in both if one.id in quarantined]
    yield from (_issue("quarantined", c, "an operator has cut it off", f"enforcer release {c.name}") for c in cut_off)
    yield from (_issue("not-running", c, "it does not run", f"docker start {c.name}") for c in both if not c.pid)
    if cut_off:
        return  # what is kept for forensics is not connected to anything
    common = networks_of(pair.caller) & networks_of(pair.called)
    if not common:
        yield _apart(pair)
        return
    found = doors([pair.called], {pair.called.id: tuple(pair.listeners)}).get(pair.called.id, ())
    reachable = [door.to for door in found if door.network in common]
    if pair.called.pid and not reachable:
        seen = f"nothing listens at an address of it that {pair.caller.name} can reach"
        yield _issue("nobody-listens", pair.called, seen, f"docker logs --tail 100 {pair.called.name}")
    elif reachable and all(expectations.want(pair.caller, to) is Want.DENIED for to in reachable):
        yield _forbidden(pair, reachable[0], expectations)


def _apart(pair: Pair) -> Issue:
    """No network in common: the first that the policy wants one of them on, where the other is already."""
    caller, called = pair.caller, pair.called
    ways = [(caller, n) for n in sorted(networks_of(called) & pair.wanted.networks)]
    ways += [(called, n) for n in sorted(networks_of(caller) & pair.called_wanted.networks)]
    seen = f"{caller.name} ({_listed(caller)}) and {called.name} ({_listed(called)}) have no network in common"
    if not ways:
        network = next(iter(sorted(networks_of(called) | networks_of(caller))), "NETWORK")
        command = f"first a rule of the policy, then: docker network connect {shlex.quote(network)} {caller.name}"
        return _issue("no-common-network", caller, f"{seen}, and the policy wants none", command)
    who, network = ways[0]
    command = f"docker network connect {shlex.quote(network)} {who.name}"
    # who has the host's network, another container's or none at all (then it has no address) cannot be connected
    remedy = Connect(network, who.name) if who.pid and all(a.addresses for a in who.attachments) else None
    return Issue(
        "no-common-network", who.name, f"{seen}; the policy wants {who.name} on {network}", ISSUE_2, command, remedy
    )


def _forbidden(pair: Pair, to: Destination, expectations: Expectations) -> Issue:
    seen = f"the policy does not let it connect to {pair.called.name}: {expectations.because(pair.caller)}"
    command = f"enforcer explain {pair.caller.name} connect {pair.called.name}:{to.port}"
    return _issue("policy-forbids", pair.caller, seen, command)


def _issue(name: str, who: Container, evidence: str, command: str) -> Issue:
    return Issue(name, who.name, evidence, ISSUE_2, command)


def _is_to_write(case: Case, reached: Reached) -> bool:
    """Is it mounted for writing, and does nothing say that the container only reads it?"""
    only_read = any(v.read_only and case.mount_for(v) is reached for v in case.wanted.volumes)
    return reached.mount.writable and not only_read and all(Access.WRITE in g for g in reached.granted.values())


def _is_its_own(case: Case, reached: Reached) -> bool:
    """A volume that the policy grants it for writing, or wants it to have; nobody else has it, and it holds no other's."""
    mount = reached.mount
    wanted = any(v.name == mount.name and not v.read_only for v in case.wanted.volumes)
    granted = list(reached.granted.values())
    allowed = all(Access.WRITE in g for g in granted) if granted else wanted
    return mount.kind == VOLUME and allowed and not reached.sharers and len(granted) < 2 and not _is_systems(mount.path)


def _is_systems(path: str) -> bool:
    """Could it be more than a volume's data? Then whoever bound a volume to it has to say whose it is."""
    parts = [part for part in path.split("/") if part]
    return len(parts) < 2 or parts[0] in SYSTEM


def _listed(container: Container) -> str:
    return ", ".join(sorted(networks_of(container))) or "no network"
