"""``volumes create``: carries a plan out, step by step; what is interrupted goes on with the next run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from enforcer.core.inspection import Owner
from enforcer.edges.volumes import Volumes, make_directory, own
from enforcer.posture.volumes import Step, Todo


def carry_out(steps: Iterable[Step], volumes: Volumes, owner: Owner) -> tuple[tuple[Step, str], ...]:
    """What was done, with each step. The directory comes first, so that no volume is there without one. Raises EdgeError."""
    return tuple((step, _carry_out(step, volumes, owner)) for step in steps)


def _carry_out(step: Step, volumes: Volumes, owner: Owner) -> str:
    if step.todo is Todo.REFUSE:
        return "left alone"
    if step.todo is Todo.KEEP:
        return "exists"
    if step.todo is Todo.OWN:
        own(Path(step.path), owner)
        return "owner changed"
    device = step.options.get("device")
    made = make_directory(Path(device), owner) if device else False
    stored = volumes.create(step.volume, step.options)
    if not device:
        own(Path(stored.path), owner)
    return "created" if made or not device else f"created, on what {device} holds already"
