"""Where the mounts of containers lead: to which protected objects, what the policy grants of them, and who else has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from enforcer.core.compile import compile
from enforcer.core.decide import judge_object
from enforcer.core.explain import object_number
from enforcer.core.ids import Ids, allocate
from enforcer.core.inspection import Inspection, Mounted
from enforcer.core.model import Access, Facts, Kind, ObjectId, Policy
from enforcer.core.objects import protect
from enforcer.posture.case import Reached, Sharer

_GENERATION = 1


@dataclass(frozen=True)
class _Use:
    """One container's mount, and what the policy grants it of each protected object behind it."""

    who: Inspection
    mount: Mounted
    granted: Mapping[str, Access]


class Mounts:
    """The decision that the kernel makes (``core.decide``), asked of what is mounted where."""

    def __init__(self, policy: Policy, facts: Facts, inspections: Iterable[Inspection]) -> None:
        self._ids = allocate(Ids(), policy, facts)
        self._image = compile(policy, facts, self._ids, _GENERATION)
        objects = protect(policy, facts).objects
        self._paths = [(o.path, object_id) for object_id, o in objects.items() if o.path]
        self._numbers = {o: object_number(self._image, facts, self._ids, o) for o in objects}
        known = (i for i in inspections if i.id in facts.containers)
        self._uses = [_Use(i, m, self._granted(i, m)) for i in known for m in i.mounts if m.path]

    def of(self, inspected: Inspection) -> tuple[Reached, ...]:
        """Every mount of a container, by place."""
        own = {u.mount.destination: u for u in self._uses if u.who.id == inspected.id}
        mounts = sorted(inspected.mounts, key=lambda m: m.destination)
        return tuple(
            Reached(m, own[m.destination].granted, tuple(self._sharers(inspected, m)))
            if m.destination in own
            else Reached(m)
            for m in mounts
        )

    def _granted(self, who: Inspection, mount: Mounted) -> dict[str, Access]:
        return {
            f"{object_id.kind} {object_id.name}": judge_object(
                self._image, subject=self._ids.subject(who.id), number=self._numbers[object_id], asked=Access.NONE
            ).granted
            for path, object_id in self._paths
            if _overlap(path, mount.path) and not _is_own_layer(object_id, who)
        }

    def _sharers(self, who: Inspection, mount: Mounted) -> Iterator[Sharer]:
        own = self._granted(who, mount)
        for use in self._uses:
            if use.who.id != who.id and _overlap(use.mount.path, mount.path):
                common = [use.granted[name] for name in own if name in use.granted]
                readable = all(Access.READ in granted for granted in common)
                granted = None if not common else Access.READ if readable else Access.NONE
                yield Sharer(use.who.name, use.mount.writable, granted)


def _is_own_layer(object_id: ObjectId, who: Inspection) -> bool:
    return object_id == ObjectId(Kind.LAYER, who.name)


def _overlap(one: str, other: str) -> bool:
    """Is one the other, or inside it?"""
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)
