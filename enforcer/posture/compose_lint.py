"""What ``enforcer compose lint`` finds: the one table of its checks, called as in ``posture.table`` where they mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from enforcer.core.checks import Check
from enforcer.core.compose_file import ComposeFile
from enforcer.core.document import Mark
from enforcer.posture import compose_case as case
from enforcer.posture import compose_confined as confined
from enforcer.posture import compose_made as made
from enforcer.posture import compose_shared as shared
from enforcer.posture import table
from enforcer.posture.finding import Finding, Result
from enforcer.posture.volumes import SECTION as VOLUMES

_SPECIFICATION = "Container Architecture, Container Specifications"
_CONFIGURATION = "Security Boundaries, 1. Container Security Configuration"
_TOPOLOGY = "Network Segmentation, 1. Network Topology"

NOT_FOLLOWED = "not-followed"


class Entry(NamedTuple):
    """One check of a service. ``section``: of the guide, or of Docker's benchmark where the guide is silent."""

    look: case.Check
    section: str


def _same(check: Check, look: case.Check) -> Entry:
    return Entry(look, table.TABLE[check].section)


TABLE: Mapping[str, Entry] = MappingProxyType(
    {
        Check.DATA_VOLUME: _same(Check.DATA_VOLUME, shared.data_volume),
        Check.SEGMENTATION: _same(Check.SEGMENTATION, made.segmentation),
        "network-internal": Entry(made.network_internal, _TOPOLOGY),
        Check.HEALTH: Entry(made.health, "Best Practices, 3. Health Check Standards"),
        Check.MEMORY_LIMIT: Entry(made.memory_limit, "Best Practices, 2. Resource Allocation Guidelines"),
        Check.CPU_LIMIT: Entry(made.cpu_limit, "Best Practices, 2. Resource Allocation Guidelines"),
        Check.PIDS_LIMIT: _same(Check.PIDS_LIMIT, made.pids_limit),
        Check.USER: Entry(confined.user, _CONFIGURATION),
        Check.READ_ONLY_ROOT: Entry(confined.read_only_root, _CONFIGURATION),
        "tmpfs-options": Entry(confined.tmpfs, _CONFIGURATION),
        Check.VOLUME_MOUNTS: Entry(shared.volume_mounts, "Data Isolation Strategy, 2. Filesystem Permissions"),
        Check.VOLUME_NAME: _same(Check.VOLUME_NAME, shared.volume_name),
        Check.CONFIG_WRITE: _same(Check.CONFIG_WRITE, shared.config_write),
        Check.VOLUME_SHARED: _same(Check.VOLUME_SHARED, shared.volume_shared),
        Check.NO_NEW_PRIVILEGES: Entry(confined.no_new_privileges, _CONFIGURATION),
        Check.CAPABILITY_DROP: _same(Check.CAPABILITY_DROP, confined.capability_drop),
        Check.ADDED_CAPABILITIES: _same(Check.ADDED_CAPABILITIES, confined.added_capabilities),
        Check.SECCOMP: _same(Check.SECCOMP, confined.seccomp),
        Check.APPARMOR: _same(Check.APPARMOR, confined.apparmor),
        Check.PRIVILEGED: _same(Check.PRIVILEGED, confined.privileged),
        Check.HOST_NETWORK: _same(Check.HOST_NETWORK, confined.host_network),
        Check.HOST_PID: _same(Check.HOST_PID, confined.host_pid),
        Check.HOST_IPC: _same(Check.HOST_IPC, confined.host_ipc),
        Check.HOST_UTS: _same(Check.HOST_UTS, confined.host_uts),
        Check.HOST_USERNS: _same(Check.HOST_USERNS, confined.host_userns),
        Check.DOCKER_SOCKET: _same(Check.DOCKER_SOCKET, confined.docker_socket),
        Check.PUBLISHED_PORTS: _same(Check.PUBLISHED_PORTS, made.published_ports),
        Check.IMAGE_TAG: _same(Check.IMAGE_TAG, confined.image_tag),
        "logging": Entry(made.logging, "Best Practices, 4. Logging Configuration"),
        "labels": Entry(made.labels, _SPECIFICATION),
        "restart": Entry(made.restart, _SPECIFICATION),
        "container-name": Entry(made.container_name, _SPECIFICATION),
    }
)
"""Every check that looks at one service."""

DECLARED: Mapping[str, str] = MappingProxyType(
    {
        "volume-name": table.TABLE[Check.VOLUME_NAME].section,
        "volume-options": VOLUMES,
        "network-name": _TOPOLOGY,
        "network-subnet": _TOPOLOGY,
    }
)
"""The checks of the file's own networks and volumes, with the guide's sections."""


@dataclass(frozen=True)
class Placed:
    """A finding, and where in the file; its ``container`` is the service, the network or the volume."""

    mark: Mark
    finding: Finding


def lint(file: ComposeFile) -> tuple[Placed, ...]:
    """Everything that is missing, in the order of the file."""
    found = [*_services(file), *_declared(file), *_elsewhere(file)]
    return tuple(sorted(found, key=lambda each: (each.mark, each.finding.check, each.finding.container)))


def _services(file: ComposeFile) -> Iterator[Placed]:
    for service in case.cases(file):
        for check, entry in TABLE.items():
            for missing in entry.look(service):
                yield _placed(check, service.it.name, entry.section, missing)


def _declared(file: ComposeFile) -> Iterator[Placed]:
    for check, entry, missing in shared.declared(file):
        yield _placed(check, entry.name, DECLARED[check], missing)


def _elsewhere(file: ComposeFile) -> Iterator[Placed]:
    for name, said in file.elsewhere:
        seen = f"{said.text} is not followed: what it brings is not looked at"
        missing = case.Missing(said.mark, Result.WARN, seen, "lint what `docker compose config` prints")
        yield _placed(NOT_FOLLOWED, name, _SPECIFICATION, missing)


def _placed(check: str, name: str, section: str, missing: case.Missing) -> Placed:
    finding = Finding(str(check), missing.result, name, missing.evidence, section, missing.fix)
    return Placed(missing.mark, finding)
