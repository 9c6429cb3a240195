"""What a Compose file has of volumes: the guide's three for each container, by their names, and no one else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from enforcer.core.compose import GATEWAY, KEEPERS, VOLUMES
from enforcer.core.compose_file import TMPFS, VOLUME, ComposeFile, Entry, Mount, pairs_of, texts_of
from enforcer.posture.compose_case import Missing, ServiceCase, Source, cases, external, fails, holds, real_name, warns

_DATA, _LOGS, _CONFIG = VOLUMES
ENGINE = "/var/lib/docker"
"""Where the engine keeps volumes and what containers write."""


def _mount_for(case: ServiceCase, purpose: str, place: str) -> Mount | None:
    """The mount that stands for a purpose: by its volume's name, or by its place."""
    own = f"{case.name}-{purpose}"
    by_name = [mount for mount in case.mounts if mount.kind == VOLUME and case.source(mount).name == own]
    by_place = [mount for mount in case.mounts if mount.target.rstrip("/") == place]
    return next(iter([*by_name, *by_place]), None)


def data_volume(case: ServiceCase) -> Iterator[Missing]:
    """Has it a data volume of its own? A directory of the host at its place is none, as in the guide. A gateway keeps nothing."""
    if case.type == GATEWAY:
        return
    found = _mount_for(case, _DATA.purpose, _DATA.destination)
    name = f"{case.name}-{_DATA.purpose}"
    fix = f"volumes: [{name}:{_DATA.destination}:rw]"
    if found is None:
        yield fails(case.it.at("volumes"), f"nothing is mounted for {name}", fix)
    elif found.kind != VOLUME:
        yield fails(found.mark, f"a {found.kind} of {found.source or 'memory'} is mounted for {name}", fix)
    elif found.read_only:
        yield fails(found.mark, f"{name} is mounted read-only", fix)


def volume_mounts(case: ServiceCase) -> Iterator[Missing]:
    """Are its logs and its configuration mounted?"""
    for volume in (_LOGS, _CONFIG) if case.type in KEEPERS else ():
        found = _mount_for(case, volume.purpose, volume.destination)
        if found is None or found.kind == TMPFS:
            end = "ro" if volume.read_only else "rw"
            fix = f"volumes: [{case.name}-{volume.purpose}:{volume.destination}:{end}]"
            mark = found.mark if found else case.it.at("volumes")
            yield warns(mark, f"nothing that lasts is mounted for {case.name}-{volume.purpose}", fix)


def config_write(case: ServiceCase) -> Iterator[Missing]:
    """Is configuration, its own and others', for reading only?"""
    for mount in case.mounts:
        name = case.source(mount).name
        if not mount.read_only and (
            mount.target.rstrip("/") == _CONFIG.destination or name.endswith(f"-{_CONFIG.purpose}")
        ):
            fix = f"volumes: [{mount.source}:{mount.target}:ro]"
            yield warns(mount.mark, f"{mount.target} is mounted for writing, and it may only read it", fix)


def volume_name(case: ServiceCase) -> Iterator[Missing]:
    """Is what is mounted called {service}-{container-id}-{purpose}? The data rules of a policy rely on it."""
    own, every = f"{case.name}-", tuple(f"{each.name}-" for each in cases(case.file))
    for mount in (m for m in case.mounts if m.kind == VOLUME):
        if not mount.source:
            fix = f"volumes: [{case.name}-…:{mount.target}]"
            yield warns(mount.mark, f"the volume at {mount.target} has no name: it is lost with the container", fix)
        elif not case.source(mount).name.startswith(
            every if mount.read_only else own
        ):  # the orchestrator reads others'
            seen = f"{mount.source} at {mount.target} is not called after its container, {case.name}-…"
            yield warns(mount.mark, seen, f"volumes: {case.name}-…: {{name: {case.name}-…}}, and move the data over")


def volume_shared(case: ServiceCase) -> Iterator[Missing]:
    """Has it data of others? Configuration, and directories of the host, that all who have them only read are no leak."""
    for said in texts_of(case.it.node("volumes_from")):
        yield fails(said.mark, f"volumes_from: {said.text}: it has every volume of another", "list its own volumes")
    for mount in case.mounts:
        path = case.source(mount).path
        if path and (holds(path, ENGINE) or holds(ENGINE, path)):
            fix = "take it out of volumes; name the volume that it needs"
            yield fails(mount.mark, f"{path} at {mount.target} holds the volumes of every container", fix)
        elif sharers := sorted(_sharers(case, mount)):
            seen = f"{mount.source} at {mount.target} is mounted in {', '.join(sharers)} too"
            yield fails(
                mount.mark, seen, f"volumes: [{case.name}-{_DATA.purpose}:{mount.target}]: one of its own for each"
            )


def _sharers(case: ServiceCase, mount: Mount) -> Iterator[str]:
    for other in cases(case.file):
        if other.it is not case.it:
            for theirs in other.mounts:
                here, there = case.source(mount), other.source(theirs)
                if _same(here, there) and not (mount.read_only and theirs.read_only and _open(here) and _open(there)):
                    yield other.it.name
                    break


def _same(here: Source, there: Source) -> bool:
    """Do two mounts lead to the same files?"""
    if here.path and there.path:
        return holds(here.path, there.path) or holds(there.path, here.path)
    return bool(here.name) and here.name == there.name


def _open(source: Source) -> bool:
    """The guide's "shared libraries" and metadata may be read by many; data and logs never."""
    return not source.name.endswith((f"-{_DATA.purpose}", f"-{_LOGS.purpose}"))


def declared(file: ComposeFile) -> Iterator[tuple[str, Entry, Missing]]:
    """What is to be said of the file's own networks and volumes: the check's name, the entry, what is missing."""
    for entry in (*file.networks.values(), *file.volumes.values()):
        if not real_name(entry):
            volume = entry.name in file.volumes
            seen = f"Compose puts its project's name before {entry.name}, and a policy would not know it"
            check = "volume-name" if volume else "network-name"
            yield check, entry, warns(entry.mark, seen, f"{entry.name}: {{name: {entry.name}}}")
    for network in file.networks.values():
        if not external(network) and not _subnets(network):
            fix = f"networks: {network.name}: {{ipam: {{config: [{{subnet: 172.21.0.0/16}}]}}}}"
            yield "network-subnet", network, warns(network.mark, f"{network.name} has no subnet of its own", fix)
    data = {f"{each.name}-{_DATA.purpose}" for each in cases(file)}
    for each in file.volumes.values():
        if not external(each) and data & {each.name, real_name(each)}:
            yield from (("volume-options", each, missing) for missing in _options(each))


def _subnets(network: Entry) -> bool:
    """Has it a subnet, in one of the entries of its address plan?"""
    config = network.node("ipam", "config")
    return any(pairs.get("subnet") for pairs in map(pairs_of, getattr(config, "nodes", ())))


def _options(volume: Entry) -> Iterable[Missing]:
    """The guide's data volumes lie on a directory of the host; the engine takes only an absolute path."""
    options, name = pairs_of(volume.node("driver_opts")), volume.text("name") or volume.name
    fix = f"driver_opts: {{type: none, o: bind, device: /srv/mcp/data/{name.removesuffix('-data')}}}"
    if "bind" not in options.get("o", "").split(","):
        yield warns(volume.at("driver_opts"), f"{name} is no directory of the host", fix)
    elif not options.get("device", "").startswith(("/", "$")):
        seen = f"{options.get('device') or 'no device'} is relative, and the engine's own directory is not this one"
        yield warns(volume.at("driver_opts"), seen, fix)
