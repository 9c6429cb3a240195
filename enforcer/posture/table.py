"""The one table of checks: what each is called, which section of the guide asks for it, and the function that looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from enforcer.core.checks import Check
from enforcer.posture import checks_confined as confined
from enforcer.posture import checks_made as made
from enforcer.posture import checks_volumes as volumes
from enforcer.posture.case import Case, Look, Seen
from enforcer.posture.finding import Finding, Result

_SUITE = "Verification Procedures, 1. Complete MCP Containerization Check"
_VOLUMES = "Volume Management, 2. Verify Volume Isolation"
_SECURITY = "Security Boundaries, 2. Security Verification Script"
_CONFIGURATION = "Security Boundaries, 1. Container Security Configuration"
_BENCHMARK = "CIS Docker Benchmark 1.3.1,"

EXISTENCE = f"{_SUITE}, Test 1: Container Existence"


class Entry(NamedTuple):
    """One check. ``section``: of the guide, or of Docker's benchmark where the guide is silent."""

    look: Look
    section: str


TABLE: Mapping[Check, Entry] = MappingProxyType(
    {
        Check.DATA_VOLUME: Entry(volumes.data_volume, f"{_SUITE}, Test 2: Data Isolation"),
        Check.SEGMENTATION: Entry(made.segmentation, f"{_SUITE}, Test 3: Network Segmentation"),
        Check.HEALTH: Entry(made.health, f"{_SUITE}, Test 4: Health Checks"),
        Check.MEMORY_LIMIT: Entry(made.memory_limit, f"{_SUITE}, Test 5: Resource Limits"),
        Check.CPU_LIMIT: Entry(made.cpu_limit, f"{_SUITE}, Test 5: Resource Limits"),
        Check.USER: Entry(made.user, f"{_SUITE}, Test 6: Security Configuration"),
        Check.READ_ONLY_ROOT: Entry(confined.read_only_root, f"{_SUITE}, Test 6: Security Configuration"),
        Check.VOLUME_MOUNTS: Entry(volumes.volume_mounts, f"{_VOLUMES}, Test 1: volume mounts"),
        Check.VOLUME_NAME: Entry(volumes.volume_name, "Best Practices, 1. Volume Naming Convention"),
        Check.VOLUME_OWNER: Entry(volumes.volume_owner, f"{_VOLUMES}, Test 2: filesystem permissions"),
        Check.DATA_WRITE: Entry(volumes.data_write, f"{_VOLUMES}, Test 3: write access isolation"),
        Check.CONFIG_WRITE: Entry(volumes.config_write, "Data Isolation Strategy, 2. Filesystem Permissions"),
        Check.VOLUME_SHARED: Entry(volumes.volume_shared, "Common Issues & Fixes, Issue 3: Data Leakage"),
        Check.NO_NEW_PRIVILEGES: Entry(confined.no_new_privileges, _SECURITY),
        Check.CAPABILITY_DROP: Entry(confined.capability_drop, _CONFIGURATION),
        Check.ADDED_CAPABILITIES: Entry(confined.added_capabilities, f"{_CONFIGURATION}; {_BENCHMARK} 5.3"),
        Check.SECCOMP: Entry(confined.seccomp, f"{_CONFIGURATION}; {_BENCHMARK} 5.21"),
        Check.APPARMOR: Entry(confined.apparmor, f"{_CONFIGURATION}; {_BENCHMARK} 5.1"),
        Check.PIDS_LIMIT: Entry(made.pids_limit, f"{_CONFIGURATION}; {_BENCHMARK} 5.28"),
        Check.PRIVILEGED: Entry(confined.privileged, f"{_BENCHMARK} 5.4"),
        Check.HOST_NETWORK: Entry(confined.host_network, f"{_BENCHMARK} 5.9"),
        Check.HOST_PID: Entry(confined.host_pid, f"{_BENCHMARK} 5.15"),
        Check.HOST_IPC: Entry(confined.host_ipc, f"{_BENCHMARK} 5.16"),
        Check.HOST_UTS: Entry(confined.host_uts, f"{_BENCHMARK} 5.20"),
        Check.HOST_USERNS: Entry(confined.host_userns, f"{_BENCHMARK} 5.30"),
        Check.DOCKER_SOCKET: Entry(confined.docker_socket, f"{_BENCHMARK} 5.31"),
        Check.PUBLISHED_PORTS: Entry(confined.published_ports, "Network Segmentation, 1. Network Topology"),
        Check.IMAGE_TAG: Entry(confined.image_tag, f"{_BENCHMARK} 5.27"),
    }
)
"""Every check that looks at one container; ``container-existence`` looks at all of them (``posture.existence``)."""


def findings(cases: Iterable[Case], checks: Iterable[Check] = tuple(TABLE)) -> Iterator[Finding]:
    """All that these checks say of these containers, check by check as in the guide."""
    known = list(cases)
    for check in checks:
        entry = TABLE[check]
        for case in known:
            for seen in entry.look(case):
                yield finding(check, entry.section, case.it.name, accepted(check, case, seen))


def accepted(check: Check, case: Case, seen: Seen) -> Seen:
    """What the policy accepts of these containers passes, and the evidence says so."""
    if seen.result is Result.PASS or check not in case.wanted.accept:
        return seen
    return replace(
        seen, result=Result.PASS, evidence=f"{seen.evidence} (accepted by {' and '.join(case.wanted.rules)})"
    )


def finding(check: Check, section: str, container: str, seen: Seen) -> Finding:
    """The same as a finding, which names its check, its container and its section."""
    return Finding(str(check), seen.result, container, seen.evidence, section, seen.fix)
