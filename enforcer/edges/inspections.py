"""Every container as the engine has it, with what the host says of its first process and of the directories mounted in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from enforcer.core.inspection import NO_HEALTH_CHECK, EngineSecurity, Inspection, Mounted, Owner
from enforcer.edges.credentials import credentials_of
from enforcer.edges.docker_errors import asking
from enforcer.edges.docker_fields import identity_of, name_of, number_of, text_of, texts_of
from enforcer.errors import ContainerGone

if TYPE_CHECKING:
    import docker

    from enforcer.edges.engine_api import EngineApi

USUAL_SOCKETS = ("/var/run/docker.sock", "/run/containerd/containerd.sock")
"""Where Docker's own packages let the engine and its containerd listen, beside the address that we ask."""

_MODES = {"net": "NetworkMode", "pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "userns": "UsernsMode"}
_NANO = 10**9


class Inspections:
    """Asks for each container. ``api`` is the engine's; ``places``: a volume's name → where its data lies."""

    def __init__(self, api: docker.APIClient | EngineApi, places: Mapping[str, str]) -> None:
        self._api, self._places = api, places

    def all(self) -> tuple[Inspection, ...]:
        """Every container by name, also those that do not run; one that is removed meanwhile is left out. EdgeError."""
        with asking("the list of containers"):
            listed = [identity_of(c) for c in self._api.containers(all=True) if c.get("Names")]
        found = (self.one(identity) for identity in listed)
        return tuple(sorted((i for i in found if i), key=lambda i: i.name))

    def one(self, container: str) -> Inspection | None:
        """The container of that name or id; None if there is none. Raises EdgeError."""
        try:
            with asking(f"container {container}", gone=ContainerGone):
                return self._read(self._api.inspect_container(container))
        except ContainerGone:
            return None

    def security(self, address: str) -> EngineSecurity:
        """What the engine, which listens at ``address``, confines containers by. Raises EdgeError."""
        with asking("the engine's info"):
            options = texts_of(self._api.info(), "SecurityOptions")
        listens = address.removeprefix("unix://")
        return EngineSecurity(
            seccomp=any(o.startswith("name=seccomp") for o in options),
            labels=any(o.startswith(("name=apparmor", "name=selinux")) for o in options),
            sockets=frozenset(os.path.realpath(s) for s in (listens, *USUAL_SOCKETS) if s.startswith("/")),
        )

    def _read(self, found: dict[str, Any]) -> Inspection:
        state, config, host = (found.get(key) or {} for key in ("State", "Config", "HostConfig"))
        health, running = state.get("Health") or {}, bool(state.get("Running"))
        said = (health.get("Log") or [{}])[-1]
        mounts = (self._mount(m) for m in found.get("Mounts") or ())
        return Inspection(
            id=identity_of(found),
            name=name_of(found).lstrip("/"),
            image=text_of(config, "Image"),
            status=text_of(state, "Status"),
            running=running,
            health=text_of(health, "Status") or NO_HEALTH_CHECK,
            health_said=" ".join(text_of(said, "Output").split()),
            user=text_of(config, "User"),
            uid=_uid(number_of(state, "Pid")) if running else None,
            networks=tuple(sorted((found.get("NetworkSettings") or {}).get("Networks") or {})),
            memory=number_of(host, "Memory"),
            cpus=_cpus(host),
            pids=number_of(host, "PidsLimit"),
            read_only=bool(host.get("ReadonlyRootfs")),
            privileged=bool(host.get("Privileged")),
            mode={kind: text_of(host, key) for kind, key in _MODES.items()},
            cap_add=tuple(c.upper().removeprefix("CAP_") for c in texts_of(host, "CapAdd")),
            cap_drop=tuple(c.upper().removeprefix("CAP_") for c in texts_of(host, "CapDrop")),
            security=texts_of(host, "SecurityOpt"),
            apparmor=text_of(found, "AppArmorProfile"),
            mounts=tuple(sorted(mounts, key=lambda m: m.destination)),  # the engine has them in another order each time
            published=_published(host),
        )

    def _mount(self, found: dict[str, Any]) -> Mounted:
        name, source = text_of(found, "Name"), text_of(found, "Source")
        path = self._places.get(name) or (os.path.realpath(source) if source else "")
        return Mounted(
            kind=text_of(found, "Type"),
            destination=name_of(found, "Destination"),
            name=name,
            path=path,
            writable=bool(found.get("RW")),
            owner=owner_of(path) if path else None,
        )


def owner_of(path: str) -> Owner | None:
    """Whose a directory of the host is; None where it is not, or cannot be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return Owner(found.st_uid, found.st_gid, found.st_mode & 0o7777)


def _uid(pid: int) -> int | None:
    """In a user namespace of its own it has other numbers than here: None."""
    try:
        found = credentials_of(pid)
    except ContainerGone:
        return None
    return None if found.apart else found.uid


def _cpus(host: dict[str, Any]) -> float:
    """However it was given: --cpus, or a quota of a period."""
    quota, period = number_of(host, "CpuQuota"), number_of(host, "CpuPeriod") or 100_000  # the kernel's default, in µs
    return number_of(host, "NanoCpus") / _NANO or quota / period


def _published(host: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """As configured: what an internal network keeps the engine from opening today is open after the next change."""
    ports = host.get("PortBindings") or {}
    named = {
        text_of({"port": port}, "port"): tuple(
            f"{text_of(b, 'HostIp') or '*'}:{text_of(b, 'HostPort') or 'any'}" for b in ports[port] or ()
        )
        for port in ports
    }
    return named | ({"all that the image exposes": ("any",)} if host.get("PublishAllPorts") else {})
