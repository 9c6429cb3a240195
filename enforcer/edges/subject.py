"""A container of our own in which a program of the host works on volumes, so that the policy holds for it as for any other.

Its image is nothing but mount points: what runs in it is the host's own /usr, mounted for reading. It has no network, no
writable root, no capabilities but those it is given, and its name is what the policy knows it by.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import docker
from docker.types import LogConfig, Mount

from enforcer.edges.borg import Ended, ended, message_of
from enforcer.edges.docker_errors import asking
from enforcer.edges.docker_fields import labels_of, number_of
from enforcer.edges.signals import disturbed, undisturbed
from enforcer.errors import ContainerGone, EdgeError

LABEL = "enforcer.vault"
"""Of our containers: the directory of backups that they work on."""

IMAGE, TAG = "enforcer-nothing", "1"
PROGRAMS = ("/usr", "/bin", "/lib", "/lib64")
POINTS = ("proc", "dev", "sys", "etc", "tmp", "usr", "bin", "lib", "lib64", "vault", "volumes")
VAULT, VOLUMES = "/vault", "/volumes"
"""Where the directory of backups and the volumes are mounted, each volume under its name."""

PROCESSES = 64
"""That may run in it: Borg and its threads are a dozen."""


@dataclass(frozen=True)
class Work:
    """What is to be done. ``volumes``: name → whether for writing; ``files``: the container's path → the host's, for reading.

    ``vault`` is the directory of backups, ``vault_writable`` whether it is mounted for writing.
    """

    name: str
    command: Sequence[str]
    volumes: Mapping[str, bool]
    vault: Path
    vault_writable: bool
    capabilities: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


class Subject:
    """A container that has been made and not started. ``api`` is the engine's."""

    def __init__(self, api: docker.APIClient, identity: str, name: str) -> None:
        self._api, self.id, self.name = api, identity, name

    def run(self, hear: Callable[[bytes], None]) -> Ended:
        """Run it to its end; ``hear`` has each line of standard error as it comes. Raises EdgeError."""
        out, err, rest = b"", [], b""
        with asking(f"container {self.name}"):
            stream = self._api.attach(self.id, stdout=True, stderr=True, stream=True, demux=True)
            self._api.start(self.id)
            for stdout, stderr in stream:
                out += stdout or b""
                *lines, rest = (rest + (stderr or b"")).split(b"\n")
                for line in lines:
                    hear(line)
                    err += [line] if message_of(line) else []  # hours of progress are not kept
            status = number_of(self._api.wait(self.id), "StatusCode")
        return ended(status, out, b"\n".join([*err, rest]))


@contextmanager
def subject(api: docker.APIClient, work: Work) -> Iterator[Subject]:
    """The container for some work, for the length of a ``with``: whatever happens it is gone afterwards. Raises EdgeError."""
    with undisturbed():
        with asking(f"container {work.name}"):
            identity = _create(api, work)
        try:
            with disturbed():
                yield Subject(api, identity, work.name)
        finally:
            remove(api, identity)


def _create(api: docker.APIClient, work: Work) -> str:
    made = api.create_container(
        _image(api),
        list(work.command),
        name=work.name,
        user="0:0",
        working_dir=VOLUMES,
        environment=dict(work.environment),
        labels={LABEL: str(work.vault)},
        host_config=api.create_host_config(
            network_mode="none",
            userns_mode="host",  # root of another user namespace could not read what is root's
            read_only=True,
            cap_drop=["ALL"],
            cap_add=list(work.capabilities),
            security_opt=["no-new-privileges"],
            pids_limit=PROCESSES,
            tmpfs={"/tmp": "mode=1777,size=256m,nosuid,nodev"},  # noqa: S108 -- the container's
            log_config=LogConfig(type="none"),
            mounts=_mounts(work),
        ),
    )
    return str(made["Id"])


def vault_of(api: docker.APIClient, name: str) -> str | None:
    """Whose a container of that name is: the directory of its backups, "" if it is none of ours, None if there is none."""
    try:
        with asking(f"container {name}", gone=ContainerGone):
            return labels_of(api.inspect_container(name)["Config"]).get(LABEL, "")
    except ContainerGone:
        return None


def working_in(api: docker.APIClient, vault: Path) -> tuple[str, ...]:
    """The ids of our containers that were made for a directory of backups. Raises EdgeError."""
    with asking("containers of backups"):
        found = api.containers(all=True, filters={"label": f"{LABEL}={vault}"})
    return tuple(str(c["Id"]) for c in found)


def remove(api: docker.APIClient, name: str) -> None:
    """Remove the container of that name, running or not. Raises EdgeError."""
    with asking(f"removing container {name}"):
        api.remove_container(name, force=True)


def _mounts(work: Work) -> list[Mount]:
    """No volume gets a copy of what the image has there, which would change its owner."""
    programs = [Mount(p, p, type="bind", read_only=True) for p in PROGRAMS if Path(p).exists()]
    files = [Mount(at, source, type="bind", read_only=True) for at, source in work.files.items()]
    vault = Mount(VAULT, str(work.vault), type="bind", read_only=not work.vault_writable)
    volumes = [
        Mount(f"{VOLUMES}/{name}", name, type="volume", read_only=not writable, no_copy=True)
        for name, writable in work.volumes.items()
    ]
    return [*programs, *files, vault, *volumes]


def _image(api: docker.APIClient) -> str:
    """The image, made where it is missing. Raises EdgeError where somebody else has its name."""
    name = f"{IMAGE}:{TAG}"
    for found in api.images(name):
        if LABEL not in labels_of(found):
            raise EdgeError(f"the image {name} is none of ours: remove it, or give it another name")
        return name
    api.import_image_from_data(_nothing(), repository=IMAGE, tag=TAG, changes=[f"LABEL {LABEL}="])
    return name


def _nothing() -> bytes:
    """A root with mount points only, as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in POINTS:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    return out.getvalue()
