"""One container as the checks of its posture see it: everything is known, nothing is read any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from enforcer.core.inspection import EngineSecurity, Inspection, Mounted
from enforcer.core.model import Access
from enforcer.core.outcome import Written
from enforcer.posture.finding import Result
from enforcer.posture.wanted import Wanted, WantedVolume


@dataclass(frozen=True)
class Sharer:
    """Another container that has the same data mounted. ``granted``: what the policy grants it; None: it is not protected."""

    name: str
    writable: bool
    granted: Access | None


@dataclass(frozen=True)
class Reached:
    """A mount, and what it leads to: ``granted`` by protected object (what the policy grants of it), and who else is there."""

    mount: Mounted
    granted: Mapping[str, Access] = field(default_factory=dict)
    sharers: tuple[Sharer, ...] = ()


@dataclass(frozen=True)
class Case:
    """``tried``: by destination, how an attempt to write there ended; empty for a container that does not run."""

    it: Inspection
    wanted: Wanted = field(default_factory=Wanted)
    reached: tuple[Reached, ...] = ()
    tried: Mapping[str, Written] = field(default_factory=dict)
    engine: EngineSecurity = field(default_factory=EngineSecurity)

    def mount_for(self, volume: WantedVolume) -> Reached | None:
        """The mount that stands for a wanted volume: by its place, or, where that is free, by its name."""
        for reached in self.reached:
            mount = reached.mount
            if mount.destination == volume.destination if volume.destination else mount.name == volume.name:
                return reached
        return None


@dataclass(frozen=True)
class Seen:
    """What one check says of one container."""

    result: Result
    evidence: str
    fix: str = ""


Look = Callable[[Case], Iterable[Seen]]
"""A check: pure."""


def passed(evidence: str) -> Seen:
    """As it should be."""
    return Seen(Result.PASS, evidence)


def warned(evidence: str, fix: str) -> Seen:
    """For a person to look at."""
    return Seen(Result.WARN, evidence, fix)


def broken(evidence: str, fix: str) -> Seen:
    """It undoes what isolates the container."""
    return Seen(Result.FAIL, evidence, fix)
