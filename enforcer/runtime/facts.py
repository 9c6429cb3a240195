"""What the host is now, put together from Docker, cgroups and inodes: the input of ``core.compile``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from enforcer.core.model import (
    Attachment,
    Container,
    DataObject,
    Facts,
    Inode,
    Kind,
    Network,
    ObjectId,
    OwnFile,
    Policy,
)
from enforcer.core.objects import protect
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Detail, Dockerd, DockerEvent, Volume
from enforcer.edges.inodes import Inodes
from enforcer.edges.procfs import Procfs, host_addresses, overlay_upper
from enforcer.errors import ContainerGone

Objects = dict[ObjectId, DataObject]

STARTING = frozenset({("container", "create"), ("network", "connect"), ("volume", "mount")})
"""What happens before the engine has started a container: it holds the container's lock and answers no inspection then."""


def concerned(event: DockerEvent) -> str:
    """The id of the container that an event concerns, "" if none: what ``Survey.after`` reads again."""
    return event.id if event.kind == "container" else event.container


class Survey:
    """Reads the host: everything with ``full``, and with ``after`` only what one event may have changed.

    ``paths`` are the host paths that the policy names; a reloaded policy needs a new survey. ``own``: the agent's own paths,
    and whether each is the journal. ``protected`` tells which objects are worth looking for links to. ``bridged`` is told the
    host's interface on each network (Docker id), before the facts that name the network. One thread uses it.
    """

    def __init__(  # noqa: PLR0913 -- each is a neighbour, or a question, of its own
        self,
        dockerd: Dockerd,
        cgroups: Cgroups,
        paths: Iterable[str],
        *,
        own: Mapping[Path, bool] | None = None,
        protected: Callable[[Facts], Iterable[ObjectId]] = lambda _: (),
        bridged: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        self._dockerd, self._cgroups, self._paths = dockerd, cgroups, tuple(paths)
        self._own, self._protected, self._bridged = own or {}, protected, bridged
        self._links: dict[ObjectId, DataObject] = {}
        self._procfs = Procfs()
        self._inodes = Inodes(procfs=self._procfs)
        self._details: dict[str, Detail] = {}
        self._layers: Objects = {}
        self._volumes: Objects = {}
        self._networks: dict[str, Network] = {}

    def full(self) -> Facts:
        """Read everything: one request per container and three more. Raises EdgeError, HostError."""
        self._inodes = Inodes(procfs=self._procfs)
        self._read_networks()
        self._read_volumes()
        self._details, self._layers = {}, {}
        for listed in self._dockerd.containers():
            self._read_container(listed.id)
        return self._facts()

    def going_on(self, other: Survey) -> Facts:
        """What another survey of this host knows, with this one's eyes: only its own paths are looked at. Raises HostError."""
        self._details, self._networks, self._volumes = dict(other._details), dict(other._networks), dict(other._volumes)
        self._layers, self._links = dict(other._layers), dict(other._links)
        return self._facts()

    def after(self, event: DockerEvent) -> Facts:
        """Read again what ``event`` concerns: at most two requests. Raises EdgeError, HostError."""
        self._inodes = Inodes(procfs=self._procfs)
        container = concerned(event)
        if event.kind == "volume":
            self._read_volumes()
        if event.kind == "network" and event.action in ("create", "destroy"):
            self._read_networks()
        if container:
            self._read_container(container, starting=(event.kind, event.action) in STARTING)
        return self._facts()

    def look_for_links(self) -> Facts | None:
        """Look for names elsewhere of one protected object's files, which may take a second; None if all have been looked at."""
        facts = self._facts()
        waiting = (facts.objects[i] for i in self._protected(facts) if i.kind is not Kind.LAYER)
        found = next((o for o in waiting if not self._linked(o)), None)
        if found is None:
            return None
        links, whole = self._inodes.links(found.path) if os.path.isdir(found.path) else ((), True)
        self._links[found.id] = replace(found, links=links, unlooked=not whole)
        return self._facts() if links or not whole else facts

    def _linked(self, found: DataObject) -> DataObject | None:
        """The object with its links, if they have been looked for since it was made."""
        known = self._links.get(found.id)
        return known if known and known.inodes[:1] == found.inodes[:1] else None

    def _read_networks(self) -> None:
        own = host_addresses()
        found = self._dockerd.bridged()
        self._bridged({network.id: bridge for network, bridge in found})
        self._networks = {n.name: _with_gateways(n, own.get(bridge, ())) for n, bridge in found}

    def _read_volumes(self) -> None:
        self._volumes = dict(_volume(v, self._inodes) for v in self._dockerd.volumes())

    def _read_container(self, container: str, *, starting: bool = False) -> None:
        before = self._details.pop(container, None)
        if before:
            self._layers.pop(ObjectId(Kind.LAYER, before.container.name), None)
        try:
            detail = (starting and self._listed(container, before)) or self._dockerd.detail(container)
        except ContainerGone:
            return
        detail = self._with_cgroup(detail)
        self._details[detail.container.id] = detail
        layer = self._layer(detail)
        self._layers[layer.id] = layer

    def _listed(self, container: str, before: Detail | None) -> Detail | None:
        """A container that does not run yet, from the listing: an inspection would come after its first instruction.

        None if it runs, or if the listing does not tell on which networks it is.
        """
        if before and before.container.pid:
            return None
        listed = (d for d in self._dockerd.listing() if d.container.id == container)
        found = next((d for d in listed if d.joins or d.container.attachments), None)
        return found and replace(before or found, container=_told(found.container, before), joins=found.joins)

    def _with_cgroup(self, detail: Detail) -> Detail:
        found = detail.container
        if not found.pid:
            return detail
        try:
            path = container_cgroup(self._cgroups.of_pid(found.pid), found.id)
            cgroup = self._cgroups.id_of(path) if path else 0
        except ContainerGone:
            cgroup = 0
        nested = self._cgroups.below(path) if cgroup else ()
        return replace(detail, container=replace(found, cgroup=cgroup, nested=nested, pid=found.pid if cgroup else 0))

    def _layer(self, detail: Detail) -> DataObject:
        found = detail.container
        try:
            upper = detail.upper or (overlay_upper(self._procfs.mounts(found.pid)) if found.pid else "")
        except ContainerGone:
            upper = ""
        inodes = self._inodes.layer(upper, detail.merged, pid=found.pid)
        return DataObject(ObjectId(Kind.LAYER, found.name), inodes, path=upper)

    def _facts(self) -> Facts:
        objects: Objects = {**self._volumes, **self._layers}
        claimed = frozenset(inode for o in objects.values() for inode in o.inodes)
        for path in self._paths:
            found = _path(path, self._inodes, claimed=claimed)
            if found.inodes:
                objects[found.id] = found
        for object_id, found in objects.items():
            if known := self._linked(found):
                objects[object_id] = replace(found, links=known.links, unlooked=known.unlooked)
        devices = {inode.device for o in objects.values() for inode in o.inodes}
        return Facts(
            containers=_containers(self._details, self._networks),
            networks=self._networks,
            objects=objects,
            own=tuple(self._own_files()),
            disks=self._inodes.disks(devices),
        )

    def _own_files(self) -> Iterator[OwnFile]:
        for path, journal in self._own.items():
            if inode := self._inodes.inode_of(path):
                yield OwnFile(os.path.realpath(path), inode, journal)


def paths_of(policy: Policy) -> tuple[str, ...]:
    """The host paths that a policy names: the survey has to look at them."""
    rules = (t for rule in policy.data_rules for t in (*rule.read_write, *rule.read_only))
    return tuple(
        sorted({t.pattern for t in (*policy.protected, *rules) if t.kind is Kind.PATH and "{" not in t.pattern})
    )


def survey_of(
    policy: Policy,
    dockerd: Dockerd,
    cgroups: Cgroups,
    own: Mapping[Path, bool],
    bridged: Callable[[Mapping[str, str]], None],
) -> Survey:
    """A survey with a policy's eyes: it knows the paths that the policy names and what it protects."""
    protected = partial(_protected, policy)
    return Survey(dockerd, cgroups, paths_of(policy), own=own, protected=protected, bridged=bridged)


def _protected(policy: Policy, facts: Facts) -> Iterable[ObjectId]:
    return protect(policy, facts).objects


def container_cgroup(path: str, container: str) -> str:
    """The part of a process's cgroup path that is the container's: its first process may have moved deeper.

    "" if the path does not name the container: the pid has been given to another process since.
    """
    parts = path.split("/")
    depth = next((n for n, part in enumerate(parts, 1) if container in part), 0)
    return "/".join(parts[:depth])


def collect(dockerd: Dockerd, cgroups: Cgroups, paths: Iterable[str]) -> Facts:
    """The host as it is now; ``paths`` are the host paths that the policy names. Raises EdgeError, HostError."""
    return Survey(dockerd, cgroups, paths).full()


def _containers(details: Mapping[str, Detail], networks: Mapping[str, Network]) -> dict[str, Container]:
    return {i: replace(d.container, attachments=_attached(d, details, networks)) for i, d in details.items()}


def _attached(detail: Detail, details: Mapping[str, Detail], networks: Mapping[str, Network]) -> tuple[Attachment, ...]:
    """Where a container is attached: by network names; one that joins another's namespace is where that one is."""
    if detail.joins:
        hosts = (d for d in details.values() if detail.joins in (d.container.id, d.container.name))
        # the addresses stay the other one's: an address names one container
        found = tuple(Attachment(a.network) for d in hosts for a in d.container.attachments)
    else:
        found = detail.container.attachments
    names = {n.id: n.name for n in networks.values()}
    return tuple(replace(a, network=names.get(a.network, a.network)) for a in found)


def _told(listed: Container, before: Detail | None) -> Container:
    """What a listing tells of a container, with the aliases and links that only an inspection does, if there was one before."""
    known = {a.network: a for a in before.container.attachments} if before else {}
    places = ((a, known.get(a.network, a)) for a in listed.attachments)
    return replace(listed, attachments=tuple(replace(a, names=k.names, links=k.links) for a, k in places))


def _with_gateways(network: Network, own: tuple[str, ...]) -> Network:
    return replace(network, gateways=tuple(dict.fromkeys((*network.gateways, *own))))


def _volume(found: Volume, inodes: Inodes) -> tuple[ObjectId, DataObject]:
    identity = ObjectId(Kind.VOLUME, found.name)
    return identity, DataObject(
        identity, inodes.volume(found.mountpoint, found.device), path=os.path.realpath(found.device or found.mountpoint)
    )


def _path(path: str, inodes: Inodes, *, claimed: frozenset[Inode]) -> DataObject:
    """A host path. Mounts beneath it that are volumes or layers stay those: a container's own root among them."""
    own, *beneath = inodes.roots_of(path) or (None,)
    kept = (own, *(i for i in beneath if i not in claimed)) if own else ()
    return DataObject(ObjectId(Kind.PATH, path), kept, path=os.path.realpath(path))
