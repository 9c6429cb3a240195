"""Unmaking: the ledger read backwards, one function per kind of thing. What is gone already is fine, at every step."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, NotFound

from deploy.demo.ledger import Entry, Kind, Ledger
from deploy.demo.namespace import Namespace
from deploy.demo.pins import unload
from deploy.demo.process import Process, await_that
from enforcer.errors import EdgeError, EnforcerError

CGROUPS = Path("/sys/fs/cgroup")

Chosen = dict[str, str | list[str] | bool]
"""Filters as the Docker API takes them."""


def unmake(ledger: Ledger) -> list[str]:
    """Remove everything that the ledger names, last made first, and the ledger. The answer: what resisted, and why."""
    trouble = []
    for entry in reversed(ledger.entries()):
        try:
            _UNDO[entry.kind](*entry.words)
        except (EnforcerError, OSError) as e:
            trouble.append(f"{entry}: {e}")
    if not trouble:
        ledger.close()
    return trouble


def _stop(name: str, pid: str, started: str) -> None:
    Process(name=name, pid=int(pid), started=int(started)).stop(patience=30)


def _remove_namespace(name: str) -> None:
    Namespace(name).remove()


def _remove_link(namespace: str, interface: str) -> None:
    if not namespace or Path("/run/netns", namespace).exists():
        Namespace(namespace).run("ip", "link", "del", interface, check=False)


def _remove_objects(url: str, label: str, own: str = "") -> None:
    """What an engine of our own cannot remove any more is processes, cgroups and files: they go with it, next."""
    if own and not answers(url):
        return
    with suppress(EdgeError) if own else nullcontext():
        objects_left(url, label)


def answers(url: str) -> bool:
    """Whether a Docker engine answers there, by its API's _ping."""
    # by hand, because docker's client leaves a socket open behind every connection that fails
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        try:
            connection.connect(url.removeprefix("unix://"))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


def objects_left(url: str, label: str) -> list[str]:
    """Remove the containers, networks, volumes and images with the label; the names of those that are still there."""
    try:
        client = docker.DockerClient(base_url=url, timeout=60)
    except DockerException as e:
        raise EdgeError(f"docker at {url}: {e}") from e
    try:
        chosen: Chosen = {"label": label}
        _remove_labelled(client, chosen)
        return _labelled(client, chosen)
    except (DockerException, requests.RequestException) as e:
        raise EdgeError(f"docker at {url}: {e}") from e
    finally:
        client.close()


def _labelled(client: docker.DockerClient, chosen: Chosen) -> list[str]:
    found = [f"container {c.name}" for c in client.containers.list(all=True, filters=chosen)]
    found += [f"network {n.name}" for n in client.networks.list(filters=chosen)]
    found += [f"volume {v.name}" for v in client.volumes.list(filters=chosen)]
    return found + [f"image {i.short_id}" for i in client.images.list(filters=chosen)]


def _remove_labelled(client: docker.DockerClient, chosen: Chosen) -> None:
    for container in client.containers.list(all=True, filters=chosen, ignore_removed=True):
        with suppress(NotFound):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters=chosen):
        network.remove()
    for volume in client.volumes.list(filters=chosen):
        volume.remove(force=True)
    # the image that is built on the other is the newer one, and has to go first
    for image in sorted(client.images.list(filters=chosen), key=lambda i: str(i.attrs["Created"]), reverse=True):
        client.images.remove(str(image.id), force=True)


def _stop_shims(address: str) -> None:
    """Containers outlive a killed containerd: each has a shim, which carries our socket's path in its arguments."""
    for shim in _processes_with(b"-address", address.encode()):
        shim.stop(patience=1)


def _processes_with(*words: bytes) -> Iterator[Process]:
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
            stat = (directory / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if all(word in arguments for word in words):
            yield Process(name="containerd-shim", pid=int(directory.name), started=int(stat[19]))


def _remove_cgroup(name: str) -> None:
    """In every hierarchy: kill what is left in it (cgroup2 can), and remove the directories from the leaves up."""
    for kill in (*CGROUPS.glob(f"{name}/cgroup.kill"), *CGROUPS.glob(f"*/{name}/cgroup.kill")):
        kill.write_text("1")
    for top in cgroup_directories(name):
        for directory in sorted((top, *(d for d in top.rglob("*") if d.is_dir())), reverse=True):
            await_that(f"the cgroup {directory} to be empty", lambda d=directory: _rmdir(d), seconds=10)  # type: ignore[misc]


def cgroup_directories(name: str) -> list[Path]:
    """Where a cgroup of that name exists, in the unified hierarchy and in those of version 1."""
    return [d for d in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")) if d.is_dir()]


def _rmdir(directory: Path) -> bool:
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError as e:
        if e.errno == errno.EBUSY:
            return False
        raise
    return True


def _remove_directory(path: str) -> None:
    """Unmount what is mounted beneath, then delete; nothing is deleted across a mount."""
    for mount in reversed(mounts_under(path)):
        Namespace().run("umount", mount, check=False)
    if left := mounts_under(path):
        raise EdgeError(f"{left[0]} is still mounted: find who holds it with fuser -m, then run make demo-down")
    with suppress(FileNotFoundError):
        shutil.rmtree(path)


def mounts_under(path: str) -> list[str]:
    """The mount points at or beneath ``path``, in the order of mounting."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [p for p in points if p == path or p.startswith(f"{path}/")]


_UNDO: dict[Kind, Callable[..., None]] = {
    Kind.DIRECTORY: _remove_directory,
    Kind.NAMESPACE: _remove_namespace,
    Kind.LINK: _remove_link,
    Kind.CGROUP: _remove_cgroup,
    Kind.SHIMS: _stop_shims,
    Kind.PROCESS: _stop,
    Kind.OBJECTS: _remove_objects,
    Kind.PINS: unload,
}


def leftovers(entries: list[Entry]) -> list[str]:
    """What of the entries can still be found after ``unmake``."""
    return [str(entry) for entry in entries if _LEFT[entry.kind](entry)]


_LEFT: dict[Kind, Callable[[Entry], bool]] = {
    Kind.DIRECTORY: lambda e: Path(e.words[0]).exists(),
    Kind.NAMESPACE: lambda e: Path("/run/netns", e.words[0]).exists(),
    Kind.LINK: lambda e: not e.words[0] and Path("/sys/class/net", e.words[1]).exists(),
    Kind.CGROUP: lambda e: bool(cgroup_directories(e.words[0])),
    Kind.SHIMS: lambda e: any(_processes_with(e.words[0].encode())),
    Kind.PROCESS: lambda e: e.process().alive,
    Kind.OBJECTS: lambda _: False,  # asked of the engine itself while it still runs
    Kind.PINS: lambda e: Path(e.words[0]).exists(),
}
