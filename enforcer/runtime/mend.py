"""Puts right what somebody has detached behind the agent's back: enforcement must hold, whoever took the link away."""

from __future__ import annotations

import logging
from collections.abc import Collection

from enforcer.core.model import Mechanism
from enforcer.edges.bpf.programs import PROGRAMS, Program
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import EdgeError
from enforcer.runtime.probes import Probes

log = logging.getLogger(__name__)


def reattach(probes: Probes, cgroups: Cgroups, groups: Collection[str]) -> tuple[str, ...]:
    """Attach anew what holds ``groups`` and was detached; the groups of which that was so. Not for two threads at once.

    What is pinned is attached, but for links to cgroups: such a link can be detached where it is pinned, so it is made anew.
    """
    held = {h.hook: h.mechanism for h in probes.holds}
    programs = [p for p in PROGRAMS if p.group in groups and p.mechanism is held.get(p.group)]
    if not programs:
        return ()  # nothing of ours is in the kernel for them: audit, say, only looks
    networks = [p for p in programs if p.mechanism is Mechanism.CGROUP]
    done = _attached(probes, [p for p in programs if p.mechanism is not Mechanism.CGROUP])
    if networks:
        done |= _covered(probes, cgroups, networks)
    return tuple(group for group in groups if group in done)


def _attached(probes: Probes, programs: Collection[Program]) -> set[str]:
    loader, built = probes._loader, probes._built
    pinned = {p.function for p in loader.attached(built)}
    lost = [p for p in programs if p.function not in pinned and loader.loaded(built, p)]
    failed = set()
    for function, program in {p.function: p for p in lost}.items():
        try:
            loader.attach(built, program)
        except EdgeError as e:
            log.error("%s cannot be attached again: %s", function, e)
            failed.add(function)
    probes._guard()
    return {p.group for p in lost if p.function not in failed}


def _covered(probes: Probes, cgroups: Cgroups, programs: Collection[Program]) -> set[str]:
    parents = dict(probes._covered)
    for link in (probes._built.links / f"{p.function}@{cgroup}" for p in programs for cgroup in parents):
        link.unlink(missing_ok=True)
    held = {h.hook for h in probes.cover(cgroups, parents.values()) if h.mechanism}
    return held & {p.group for p in programs}
