"""What is backed up: the volumes of the containers that the policy governs, or those that are named."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from enforcer.core.backup import SavedVolume
from enforcer.core.inspection import Inspection
from enforcer.core.volume import StoredVolume
from enforcer.errors import UsageError

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
"""A volume that nobody has named: what an image declares and nobody mounts anything over."""


@dataclass(frozen=True)
class Selection:
    """``containers``: whose logs are kept. ``writers``: id → name of each running container that may write to them."""

    volumes: tuple[SavedVolume, ...]
    containers: tuple[str, ...]
    writers: Mapping[str, str]


@dataclass(frozen=True)
class Asked:
    """Names that were given: containers and volumes; none of either means all that the policy governs."""

    containers: Sequence[str] = ()
    volumes: Sequence[str] = ()


def select(
    governed: Collection[str], inspections: Iterable[Inspection], stored: Iterable[StoredVolume], asked: Asked
) -> Selection:
    """``governed``: the ids of the containers that the policy names. Raises UsageError for a name that is not there."""
    others = tuple(inspections)
    there = {v.name: v for v in stored}
    _refuse_unknown("container", asked.containers, {i.name for i in others})
    _refuse_unknown("volume", asked.volumes, there)
    chosen = [i for i in others if i.name in asked.containers] or _concerned(governed, others, asked)
    names = set(asked.volumes) or {m for i in chosen for m in _volumes(i) if not _ANONYMOUS.fullmatch(m)}
    if not names:
        raise UsageError("there is nothing to back up: no container that the policy names has a named volume")
    volumes = [there[name] for name in sorted(names) if name in there]
    return Selection(
        tuple(_saved(v, others) for v in volumes),
        tuple(sorted(i.name for i in chosen)),
        {i.id: i.name for i in others if i.running and any(writes_to(i, v) for v in volumes)},
    )


def writes_to(inspected: Inspection, volume: StoredVolume) -> bool:
    """Whether a container has the volume mounted for writing, or the directory behind it, one in it or one above it."""
    own = volume.path.rstrip("/") + "/"
    writable = [m for m in inspected.mounts if m.writable]
    paths = [m.path.rstrip("/") + "/" for m in writable if m.path]
    return volume.name in {m.name for m in writable} or any(p.startswith(own) or own.startswith(p) for p in paths)


def _concerned(governed: Collection[str], others: Sequence[Inspection], asked: Asked) -> list[Inspection]:
    if asked.volumes:
        return [i for i in others if set(asked.volumes) & set(_volumes(i))]
    return [i for i in others if i.id in governed]


def _volumes(inspected: Inspection) -> list[str]:
    return [m.name for m in inspected.mounts if m.kind == "volume" and m.name]


def _saved(volume: StoredVolume, others: Iterable[Inspection]) -> SavedVolume:
    users = tuple(sorted(i.name for i in others if volume.name in _volumes(i)))
    return SavedVolume(volume.name, volume.driver, dict(volume.options), dict(volume.labels), users)


def _refuse_unknown(kind: str, given: Iterable[str], there: Iterable[str]) -> None:
    known = set(there)
    if unknown := sorted(set(given) - known):
        raise UsageError(f"there is no {kind} {', '.join(unknown)}")
