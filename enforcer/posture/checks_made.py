"""The guide's containerization check on one container: its health, its limits, its user, and where it is attached."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from enforcer.core.inspection import NO_HEALTH_CHECK
from enforcer.posture.case import Case, Seen, broken, passed, warned

MIB = 1 << 20
_HEALTHY, _STARTING = "healthy", "starting"
BORROWED = ("host", "container:")
_ROOT = re.compile(r"root|0*")


def segmentation(case: Case) -> Iterator[Seen]:
    """Is it on the networks that it is wanted on? One too many is found by `verify network`."""
    own, wanted = set(case.it.networks), case.wanted.networks
    if case.it.mode.get("net", "").startswith(BORROWED):
        return  # it has none of its own: that is for host-network to say
    for network in sorted(wanted - own):
        yield warned(
            f"not on {network}: it is on {', '.join(sorted(own)) or 'no network'}",
            f"docker network connect {shlex.quote(network)} {case.it.name}",
        )
    if wanted and wanted <= own:
        yield passed(f"on {', '.join(sorted(wanted))}")


def health(case: Case) -> Iterator[Seen]:
    """Does its health check pass?"""
    said, name = case.it.health, case.it.name
    if said == _HEALTHY:
        yield passed("healthy")
    elif said == NO_HEALTH_CHECK and case.wanted.health:
        yield warned(
            "no health check is configured",
            'compose: healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:${PORT}/health"], interval: 30s, '
            "timeout: 10s, retries: 3, start_period: 40s}",
        )
    elif said == NO_HEALTH_CHECK:
        yield passed("no health check, and none is wanted")
    elif not case.it.running:
        yield warned(f"it does not run; its last health was {said}", f"docker start {name}")
    elif said == _STARTING:
        yield warned("its health check has not passed yet", "wait for the check's start_period, then verify again")
    else:
        last = f": {case.it.health_said}" if case.it.health_said else ""
        yield broken(f"{said}{last}", f"docker logs --tail 100 {name}")


def memory_limit(case: Case) -> Iterator[Seen]:
    """Is its memory limited, and to what it should be?"""
    most = case.wanted.limits.memory
    size = f"{most // MIB or 512}M"
    fix = f"docker update --memory {size} --memory-swap {size} {case.it.name}"
    yield _limited(case.it.memory / MIB, most / MIB, what="memory", unit="MiB", fix=fix)


def cpu_limit(case: Case) -> Iterator[Seen]:
    """Are its processors limited, and to what they should be?"""
    most = case.wanted.limits.cpus
    fix = f"docker update --cpus {most or 0.5:g} {case.it.name}"
    yield _limited(case.it.cpus, most, what="CPU", unit="CPUs", fix=fix)


def pids_limit(case: Case) -> Iterator[Seen]:
    """Is the number of its processes limited? A fork bomb is everybody's on the host."""
    most = case.wanted.limits.pids
    fix = f"docker update --pids-limit {most or 100} {case.it.name}"
    yield _limited(case.it.pids, most, what="pids", unit="processes", fix=fix)


def user(case: Case) -> Iterator[Seen]:
    """Does it run as somebody else than root, and as the user that it should?"""
    said, uid, wanted = case.it.user, case.it.uid, case.wanted.user
    now = "" if uid is None else f", its first process has uid {uid}"
    shown = f"user {said}" if said else "no user is set"
    fix = f'compose: user: "{wanted or "1001:1001"}", or USER in its Dockerfile'
    if _ROOT.fullmatch(said.partition(":")[0]) or uid == 0:
        yield warned(f"{shown}, which is root{now}", fix)
    elif wanted and said != wanted and not _same_user(said, uid, wanted):
        yield warned(f"{shown}{now}, where {wanted} is wanted", fix)
    else:
        yield passed(f"{shown}{now}")


def _same_user(said: str, uid: int | None, wanted: str) -> bool:
    """``1001`` for ``1001:1001``: who gives no group gets the one of /etc/passwd; or a name whose uid is the wanted one."""
    name, _, group = wanted.partition(":")
    own, _, own_group = said.partition(":")
    return (own == name or str(uid) == name) and own_group in ("", group)


def _limited(own: float, most: float, *, what: str, unit: str, fix: str) -> Seen:
    if not own:
        return warned(f"no {what} limit is set", fix)
    if most and own > most:
        return warned(f"the {what} limit is {own:g} {unit}, where at most {most:g} is wanted", fix)
    return passed(f"limited to {own:g} {unit}")
