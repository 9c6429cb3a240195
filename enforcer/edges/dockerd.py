"""Docker, as the enforcer asks it: who is there, on which networks, with which volumes, and what changes.

Every question is one request of Docker's API and every failure an ``EdgeError``; what docker-py, requests and urllib3
raise is turned into it in one place, ``_asking``. The shapes are those of the Engine API 1.41 (Docker 20.10) and later.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, cast

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound, StreamParseError
from docker.types import CancellableStream

from enforcer.core.model import Attachment, Container, Network
from enforcer.errors import ContainerGone, EdgeError

TIMEOUT_SECONDS = 20
"""How long one answer may take: a loaded engine needs seconds for an inspect, a hung one never answers."""

ACTIONS = {
    "container": ("create", "start", "die", "destroy", "rename"),
    "network": ("connect", "disconnect", "create", "destroy"),
    "volume": ("create", "mount", "unmount", "destroy"),
}
"""The events that change a fact; everything else (exec, health checks, resizes) is filtered out by the engine."""

_FOREIGN = (
    DockerException,
    StreamParseError,  # a stream that ends in the middle of an event; docker-py derives it from RuntimeError
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    json.JSONDecodeError,
    OSError,
)


@dataclass(frozen=True)
class Detail:
    """One inspected container. ``upper`` and ``merged`` are the host paths of its overlay layer, "" where it has none.

    ``joins`` is the id or name of the container whose network namespace it shares, "" if it has its own.
    """

    container: Container
    upper: str = ""
    merged: str = ""
    joins: str = ""


@dataclass(frozen=True)
class Volume:
    """A volume: where the engine keeps it, and the directory that a local volume with ``o=bind`` shows there."""

    name: str
    mountpoint: str
    device: str | None = None


@dataclass(frozen=True)
class Engine:
    """What the engine says about itself. ``cgroup_driver`` is ``cgroupfs`` or ``systemd``, ``root`` its data root."""

    version: str
    cgroup_driver: str
    storage_driver: str
    root: str


@dataclass(frozen=True)
class DockerEvent:
    """One event. ``id`` and ``name`` are those of the thing of ``kind`` (a volume's id is its name).

    ``container`` is the id of the container that a network or a volume was joined with or parted from, else "".
    ``image`` and ``labels`` are a container's, as the event of its creation tells them.
    ``time_ns`` is UTC in nanoseconds since 1970, by the engine's clock.
    """

    kind: str
    action: str
    id: str
    name: str
    time_ns: int
    container: str = ""
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


class Events:
    """The stream of events: an iterator that ends only by ``close``; an engine that goes away is an ``EdgeError``.

    The same event can come twice, and the engine remembers only its last 256: after each reconnection (with ``since``)
    read everything again.
    """

    def __init__(self, stream: CancellableStream[dict[str, Any]]) -> None:
        self._stream = stream
        self._closed = False

    def __iter__(self) -> Iterator[DockerEvent]:
        return self

    def __next__(self) -> DockerEvent:
        """The next event, however long it takes. Raises EdgeError when the engine goes away."""
        try:
            with _asking("the event stream"):
                return _event(next(self._stream))
        except (StopIteration, EdgeError) as e:
            if self._closed:
                raise StopIteration from None
            raise EdgeError("docker: the event stream ended; reconnecting is safe, nothing else is lost") from e

    def close(self) -> None:
        """End the stream, from any thread: a thread that waits in ``next`` returns."""
        self._closed = True
        with _asking("closing the event stream"):
            self._stream.close()


class Dockerd:
    """Answers questions about one Docker engine. ``client`` is a docker-py client or the engine's address."""

    def __init__(self, client: docker.APIClient | docker.DockerClient | str) -> None:
        if isinstance(client, str):
            with _asking(f"no engine answers at {client}: start it, or name its socket"):
                _knock(client)
                client = docker.APIClient(base_url=client, version="auto", timeout=TIMEOUT_SECONDS)
        self._api: docker.APIClient = client.api if isinstance(client, docker.DockerClient) else client

    def engine(self) -> Engine:
        """What the engine says about itself."""
        with _asking("the engine's info"):
            found = self._api.info()
        return Engine(
            version=found.get("ServerVersion", ""),
            cgroup_driver=found.get("CgroupDriver", ""),
            storage_driver=found.get("Driver", ""),
            root=found.get("DockerRootDir", ""),
        )

    def containers(self) -> tuple[Container, ...]:
        """Every container, stopped ones too, by one request. A listing has no pids: ``pid`` is 0, ask ``detail``."""
        with _asking("the list of containers"):
            found = self._api.containers(all=True)
        return tuple(_listed(c) for c in found if c.get("Names"))  # no name: it is being removed

    def container(self, container: str) -> Container:
        """One container, by id or name, with its pid. Raises ContainerGone."""
        return self.detail(container).container

    def detail(self, container: str) -> Detail:
        """One container with its layer, by one request. Raises ContainerGone."""
        with _asking(f"inspecting container {container}", gone=ContainerGone):
            found = self._api.inspect_container(container)
        return _inspected(found)

    def networks(self) -> tuple[Network, ...]:
        """Every network, by one request. ``gateways`` are the configured ones."""
        return tuple(network for network, _ in self.bridged())

    def bridged(self) -> tuple[tuple[Network, str], ...]:
        """Every network with the host's interface on it ("" unless it is a bridge), by one request."""
        with _asking("the list of networks"):
            found = self._api.networks()
        return tuple((_network(n), _bridge(n)) for n in found)

    def volumes(self) -> tuple[Volume, ...]:
        """Every volume, by one request."""
        with _asking("the list of volumes"):
            found = self._api.volumes()
        return tuple(_volume(v) for v in found.get("Volumes") or ())

    def events(self, since: int | None = None) -> Events:
        """What changes from now on, or from ``since`` on (nanoseconds since 1970), as far as the engine remembers."""
        # docker-py hands `since` through; a string keeps the nanoseconds that its int would lose
        stamp = None if since is None else cast(int, f"{since // 10**9}.{since % 10**9:09d}")
        filters = {"type": list(ACTIONS), "event": sorted({a for actions in ACTIONS.values() for a in actions})}
        with _asking("the event stream"):
            return Events(self._api.events(since=stamp, filters=filters, decode=True))

    def close(self) -> None:
        """Give the connections back."""
        self._api.close()


@contextmanager
def _asking(what: str, gone: type[EdgeError] = EdgeError) -> Iterator[None]:
    """The one place where a foreign error becomes ours: ``gone`` if the engine knows no such thing, else EdgeError."""
    try:
        yield
    except NotFound as e:
        raise gone(f"docker: {what}: {_reason(e)}") from e
    except _FOREIGN as e:
        raise EdgeError(f"docker: {what}: {_reason(e)}") from e


def _knock(url: str) -> None:
    """Connect once ourselves: docker-py leaks the socket of a connection that fails."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(TIMEOUT_SECONDS)
            door.connect(url.removeprefix("unix://"))


def _reason(error: Exception) -> str:
    said = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return " ".join(str(said).split())


def _listed(found: dict[str, Any]) -> Container:
    # `/db` is the name, `/web/db` an alias that a legacy link gave
    name = next((n for n in found["Names"] if n.count("/") == 1), found["Names"][0])
    mode = (found.get("HostConfig") or {}).get("NetworkMode", "")
    return Container(
        id=found["Id"],
        name=name.lstrip("/"),
        image=found.get("Image", ""),
        labels=dict(found.get("Labels") or {}),
        attachments=_attachments(found, mode=mode),
    )


def _inspected(found: dict[str, Any]) -> Detail:
    state, config = found.get("State") or {}, found.get("Config") or {}
    mode = (found.get("HostConfig") or {}).get("NetworkMode", "")
    layer = (found.get("GraphDriver") or {}).get("Data") or {}
    container = Container(
        id=found["Id"],
        name=found["Name"].lstrip("/"),
        image=config.get("Image", ""),
        labels=dict(config.get("Labels") or {}),
        attachments=_attachments(found, mode=mode),
        pid=state.get("Pid", 0) if state.get("Running") else 0,
    )
    joins = mode.removeprefix("container:") if mode.startswith("container:") else ""
    return Detail(container, upper=layer.get("UpperDir", ""), merged=layer.get("MergedDir", ""), joins=joins)


def _attachments(found: dict[str, Any], *, mode: str) -> tuple[Attachment, ...]:
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    if not networks and mode and not mode.startswith("container:"):  # created, and the engine has not yet said where
        networks = {"bridge" if mode == "default" else mode: None}
    return tuple(Attachment(name, _addresses(networks[name] or {})) for name in sorted(networks))


def _addresses(endpoint: dict[str, Any]) -> tuple[str, ...]:
    return tuple(a for a in (endpoint.get("IPAddress"), endpoint.get("GlobalIPv6Address")) if a)


def _network(found: dict[str, Any]) -> Network:
    pools = (found.get("IPAM") or {}).get("Config") or ()
    return Network(
        id=found["Id"],
        name=found["Name"],
        internal=bool(found.get("Internal")),
        subnets=tuple(ip_network(p["Subnet"], strict=False) for p in pools if p.get("Subnet")),
        gateways=tuple(p["Gateway"].partition("/")[0] for p in pools if p.get("Gateway")),
    )


def _bridge(found: dict[str, Any]) -> str:
    if found.get("Driver") != "bridge":
        return ""
    named = (found.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(named or f"br-{found['Id'][:12]}")


def _volume(found: dict[str, Any]) -> Volume:
    options = found.get("Options") or {}
    bound = found.get("Driver") == "local" and {"bind", "rbind"} & set(options.get("o", "").split(","))
    return Volume(found["Name"], found.get("Mountpoint", ""), options.get("device") if bound else None)


def _event(found: dict[str, Any]) -> DockerEvent:
    actor = found.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    identity, kind = actor.get("ID", ""), found.get("Type", "")
    return DockerEvent(
        kind=kind,
        action=found.get("Action", ""),
        id=identity,
        name=attributes.get("name", identity),
        time_ns=found.get("timeNano", 0),
        container="" if kind == "container" else attributes.get("container", ""),
        image=attributes.get("image", "") if kind == "container" else "",
        labels={k: v for k, v in attributes.items() if k not in ("name", "image")} if kind == "container" else {},
    )
