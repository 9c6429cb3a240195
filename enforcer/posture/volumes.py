"""The guide's "Create Isolated Volumes": which volumes the policy's containers are to have, and what is to be done about each.

Data lies on a directory of the host (``type=none, o=bind, device=BASE/CONTAINER``), everything else in plain local volumes.
"""

from __future__ import annotations

import enum
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from enforcer.core.inspection import Inspection, Owner
from enforcer.core.model import Container, Policy
from enforcer.core.select import is_plain, named
from enforcer.core.volume import LOCAL, StoredVolume
from enforcer.posture.finding import Finding, Result
from enforcer.posture.wanted import DATA, WantedVolume, volumes_wanted

SECTION = "Volume Management, 1. Create Isolated Volumes"
NAMING = "Best Practices, 1. Volume Naming Convention"
PERMISSIONS = "Data Isolation Strategy, 2. Filesystem Permissions"
ISOLATION = "Data Isolation Strategy, 1. Volume-Based Isolation"

OTHERS_WRITE = 0o002  # S_IWOTH of stat(2)


class Todo(enum.Enum):
    """What is to be done about a volume."""

    CREATE = enum.auto()
    KEEP = enum.auto()
    OWN = enum.auto()
    """It is there and empty, and its directory is another's: an interrupted run left it so, or Docker made it."""
    REFUSE = enum.auto()
    """It is there, and is something else: it is not touched."""


@dataclass(frozen=True)
class Declared:
    """A volume that a container of the policy is to have."""

    container: str
    volume: WantedVolume

    def options(self, base: str) -> dict[str, str]:
        """As the local driver takes them."""
        if self.volume.purpose != DATA:
            return {}
        return {"type": "none", "o": "bind", "device": os.path.join(base, self.container)}


@dataclass(frozen=True)
class Step:
    """One volume of the plan, and why. ``path`` is where its data lies already, "" for one that is to be made."""

    volume: str
    container: str
    todo: Todo
    why: str
    options: Mapping[str, str] = field(default_factory=dict)
    path: str = ""


def declared(policy: Policy) -> tuple[Declared, ...]:
    """The volumes of every container that the policy names exactly: in a posture rule's ``names``, or by a plain selector.

    A volume that several of them are granted stands once, with the first.
    """
    names = {name: frozenset(rule.who) for rule in policy.posture for name in rule.names}
    plain = {s.name for s in policy.containers.values() if s.name and is_plain(s.name)}
    found: dict[str, Declared] = {}
    for name in sorted(names.keys() | plain):
        container = Container(id="", name=name)
        # whether a container yet to be made will match by image or label nobody knows: its rule says so
        said = {w for w in names.get(name, ()) if policy.containers[w].image or policy.containers[w].label}
        for volume in volumes_wanted(policy, container, named(policy, container) | said):
            found.setdefault(volume.name, Declared(name, volume))
    return tuple(found.values())


def plan(wanted: Iterable[Declared], stored: Iterable[StoredVolume], *, base: str, owner: Owner) -> tuple[Step, ...]:
    """What is to be done, volume by volume; nothing is ever done to one that is there with other options."""
    there = {v.name: v for v in stored}
    return tuple(_step(each, there.get(each.volume.name), base, owner) for each in wanted)


def _step(each: Declared, found: StoredVolume | None, base: str, owner: Owner) -> Step:
    name, options = each.volume.name, each.options(base)
    if found is None:
        return Step(name, each.container, Todo.CREATE, "it is missing", options)
    if found.driver != LOCAL or dict(found.options) != options:
        why = f"it exists as {described(found.driver, found.options)}, where {described(LOCAL, options)} is wanted"
        return Step(name, each.container, Todo.REFUSE, why, found.options, found.path)
    if found.owner is None:
        return Step(name, each.container, Todo.CREATE, f"its directory {found.path} is missing", options)
    if found.empty and _differs(found.owner, owner):
        return Step(name, each.container, Todo.OWN, f"it is empty and {shown(found.owner)}", options, found.path)
    return Step(name, each.container, Todo.KEEP, "it exists", options, found.path)


def _differs(own: Owner, wanted: Owner) -> bool:
    return (own.uid, own.gid) != (wanted.uid, wanted.gid) or bool(own.mode & OTHERS_WRITE)


def described(driver: str, options: Mapping[str, str]) -> str:
    """``local``, ``local with device=/srv/a, o=bind, type=none``."""
    listed = ", ".join(f"{key}={value}" for key, value in sorted(options.items()))
    return f"{driver or 'no driver'} with {listed}" if listed else driver or "no driver"


def shown(owner: Owner) -> str:
    """``1001:1001, mode 0750``."""
    return f"{owner.uid}:{owner.gid}, mode {owner.mode:04o}"


def verify_volumes(
    policy: Policy, stored: Iterable[StoredVolume], inspections: Iterable[Inspection], owner: Owner
) -> tuple[Finding, ...]:
    """Is each declared volume there, of the right kind, owner and name, and with a directory that is no other's?"""
    known, wanted = {v.name: v for v in stored}, declared(policy)
    found = [f for each in wanted for f in _verify(each, known.get(each.volume.name), owner)]
    found += _overlaps(known[d.volume.name] for d in wanted if d.volume.name in known)
    found += _unnamed({d.volume.name for d in wanted}, {d.container for d in wanted}, inspections)
    return tuple(found)


def _verify(each: Declared, found: StoredVolume | None, owner: Owner) -> Iterator[Finding]:
    name, who = each.volume.name, each.container
    create = "enforcer volumes create"
    if found is None:
        yield Finding("volume-existence", Result.FAIL, who, f"{name} is missing", SECTION, create)
        return
    yield Finding("volume-existence", Result.PASS, who, f"{name} exists", SECTION)
    kind = described(found.driver, found.options)
    if found.driver == LOCAL and bool(found.options) == (each.volume.purpose == DATA):
        yield Finding("volume-options", Result.PASS, who, f"{name} is {kind}", SECTION)
    else:
        want = "bind-backed (type=none, o=bind, device=…)" if each.volume.purpose == DATA else "a plain local volume"
        fix = f"move its data to a new volume: {create}, once {name} is gone"
        yield Finding("volume-options", Result.WARN, who, f"{name} is {kind}, where {want} is wanted", SECTION, fix)
    if found.owner is None:
        fix = f"mkdir -p {shlex.quote(found.path)}; {create}"
        yield Finding("volume-owner", Result.FAIL, who, f"{name}: {found.path} is not there", PERMISSIONS, fix)
    elif _differs(found.owner, owner):
        seen = f"{name}: {found.path} is {shown(found.owner)}, where {owner.uid}:{owner.gid} is wanted"
        path = shlex.quote(found.path)
        fix = f"chown -R {owner.uid}:{owner.gid} {path} && chmod o-w {path}"
        yield Finding("volume-owner", Result.WARN, who, seen, PERMISSIONS, fix)
    else:
        yield Finding("volume-owner", Result.PASS, who, f"{name} is {shown(found.owner)}", PERMISSIONS)


def _overlaps(stored: Iterable[StoredVolume]) -> Iterator[Finding]:
    """Two volumes with one directory, or one inside the other: in the sorted list one comes right after the other."""
    ordered = sorted(stored, key=lambda v: v.path.rstrip("/") + "/")
    for number, one in enumerate(ordered):
        for other in ordered[number + 1 :]:
            if not f"{other.path}/".startswith(one.path.rstrip("/") + "/"):
                break
            seen = f"{one.name} ({one.path}) and {other.name} ({other.path}) hold the same files"
            yield Finding("volume-shared", Result.FAIL, "", seen, ISOLATION, "a directory of its own for each")


def _unnamed(declared_: set[str], containers: set[str], inspections: Iterable[Inspection]) -> Iterator[Finding]:
    """Volumes of the declared containers that are called otherwise than ``{service}-{container-id}-{purpose}``."""
    for inspected in inspections:
        for mount in inspected.mounts:
            own = mount.name.startswith(f"{inspected.name}-") or mount.name in declared_
            if inspected.name in containers and mount.kind == "volume" and mount.writable and not own:
                seen = f"{mount.name} at {mount.destination} is not called {inspected.name}-PURPOSE"
                fix = f"docker volume create {inspected.name}-PURPOSE, and move the data over"
                yield Finding("volume-name", Result.WARN, inspected.name, seen, NAMING, fix)
