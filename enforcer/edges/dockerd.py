"""Docker, as the enforcer asks it: who is there, on which networks, with which volumes, and what changes.

Every question is one request of Docker's API and every failure an ``EdgeError``, an answer of the wrong shape too:
``docker_errors.asking`` is where that is done. The shapes are those of the Engine API 1.41 (Docker 20.10) and later.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

from enforcer.core.model import Container, Network
from enforcer.edges.docker_answers import attachments_of, bridge_of, network_of
from enforcer.edges.docker_errors import asking, knock
from enforcer.edges.docker_fields import identity_of, joined, labels_of, name_of, number_of, text_of
from enforcer.edges.engine_api import EngineApi
from enforcer.errors import ContainerGone, EdgeError

if TYPE_CHECKING:
    import docker

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 20
"""How long one answer may take: a loaded engine needs seconds for an inspect, a hung one never answers."""

ACTIONS = {
    "container": ("create", "start", "die", "destroy", "rename"),
    "network": ("connect", "disconnect", "create", "destroy"),
    "volume": ("create", "mount", "unmount", "destroy"),
}
"""The events that change a fact; everything else (exec, health checks, resizes) is filtered out by the engine."""

IDLE = ("created", "exited", "dead")


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


class Stream(Protocol):
    """What a client gives of events."""

    def __next__(self) -> dict[str, Any]:
        """The next one."""

    def close(self) -> None:
        """End it."""


class Events:
    """The stream of events: an iterator that ends only by ``close``; an engine that goes away is an ``EdgeError``.

    The same event can come twice, and the engine remembers only its last 256: after each reconnection (with ``since``)
    read everything again.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._closed = False

    def __iter__(self) -> Iterator[DockerEvent]:
        return self

    def __next__(self) -> DockerEvent:
        """The next event, however long it takes. Raises EdgeError when the engine goes away."""
        try:
            with asking("the event stream"):
                return _event(next(self._stream))
        except (StopIteration, EdgeError) as e:
            if self._closed:
                raise StopIteration from None
            raise EdgeError("docker: the event stream ended; reconnecting is safe, nothing else is lost") from e

    def close(self) -> None:
        """End the stream, from any thread: a thread that waits in ``next`` returns."""
        self._closed = True
        with asking("closing the event stream"):
            self._stream.close()


class Dockerd:
    """Answers questions about one Docker engine. ``client``: a docker-py client or the engine's address.

    At a unix socket it is asked by a client of our own; ``sdk`` is docker-py's, for the edges that change something.
    """

    def __init__(self, client: docker.APIClient | docker.DockerClient | str) -> None:
        self._address = client if isinstance(client, str) else ""
        if not isinstance(client, str):
            self.sdk = cast("docker.APIClient", getattr(client, "api", client))
        if self._address.startswith("unix://"):
            with asking(f"no engine answers at {client}: start it, or name its socket"):
                self.api: Any = EngineApi(self._address.removeprefix("unix://"), TIMEOUT_SECONDS)
        else:
            self.api = self.sdk

    @cached_property
    def sdk(self) -> docker.APIClient:
        """docker-py's client: loaded when it is first asked for."""
        import docker  # noqa: PLC0415 -- 15 MB and 0.15 s, which an agent need not carry

        with asking(f"no engine answers at {self._address}: start it, or name its socket"):
            knock(self._address)
            made = docker.APIClient(base_url=self._address, version="auto", timeout=TIMEOUT_SECONDS)
            # requests would look for a proxy and for .netrc before each question: a fifth of the time that one takes
            made.trust_env = not made.base_url.startswith("http+docker:")
        return made

    def engine(self) -> Engine:
        """What the engine says about itself."""
        with asking("the engine's info"):
            found = self.api.info()
            return Engine(
                version=text_of(found, "ServerVersion"),
                cgroup_driver=text_of(found, "CgroupDriver"),
                storage_driver=text_of(found, "Driver"),
                root=text_of(found, "DockerRootDir"),
            )

    def containers(self) -> tuple[Container, ...]:
        """Every container, stopped ones too, by one request. A listing has no pids: ``pid`` is 0, ask ``detail``."""
        return tuple(detail.container for detail in self.listing())

    def listing(self) -> tuple[Detail, ...]:
        """The same with what else a listing tells: whose network namespace a container joins, not where its layer is."""
        with asking("the list of containers"):
            found = self.api.containers(all=True)
            return tuple(_listed(c) for c in found if c.get("Names"))  # no name: it is being removed

    def container(self, container: str) -> Container:
        """One container, by id or name, with its pid. Raises ContainerGone."""
        return self.detail(container).container

    def detail(self, container: str) -> Detail:
        """One container with its layer, by one request. Raises ContainerGone.

        One that the engine cannot tell about, say because its layer is lost, and that does not run, is as the listing has
        it: it must not keep us from all the others.
        """
        try:
            with asking(f"inspecting container {container}", gone=ContainerGone):
                return _inspected(self.api.inspect_container(container))
        except ContainerGone:
            raise
        except EdgeError as e:
            if found := self._idle(container):
                log.warning("%s; it does not run, and is taken for what the listing says", e)
                return found
            raise

    def _idle(self, container: str) -> Detail | None:
        with asking("the list of containers"):
            found = (c for c in self.api.containers(all=True) if c["Id"] == container and c.get("Names"))
            return next((_listed(c) for c in found if c.get("State") in IDLE), None)

    def networks(self) -> tuple[Network, ...]:
        """Every network, by one request. ``gateways`` are the configured ones."""
        return tuple(network for network, _ in self.bridged())

    def bridged(self) -> tuple[tuple[Network, str], ...]:
        """Every network with the host's interface on it ("" unless it is a bridge), by one request."""
        with asking("the list of networks"):
            return tuple((network_of(n), bridge_of(n)) for n in self.api.networks())

    def volumes(self) -> tuple[Volume, ...]:
        """Every volume, by one request."""
        with asking("the list of volumes"):
            return tuple(_volume(v) for v in self.api.volumes().get("Volumes") or ())

    def events(self, since: int | None = None) -> Events:
        """What changes from now on, or from ``since`` on (nanoseconds since 1970), as far as the engine remembers."""
        # docker-py hands `since` through; a string keeps the nanoseconds that its int would lose
        stamp = None if since is None else f"{since // 10**9}.{since % 10**9:09d}"
        filters = {"type": list(ACTIONS), "event": sorted({a for actions in ACTIONS.values() for a in actions})}
        with asking("the event stream"):
            if isinstance(self.api, EngineApi):
                return Events(self.api.events(since=stamp, filters=filters))
            return Events(self.sdk.events(since=cast(int, stamp), filters=filters, decode=True))

    def close(self) -> None:
        """Give the connections back."""
        self.api.close()
        if "sdk" in vars(self):
            self.sdk.close()


def _listed(found: dict[str, Any]) -> Detail:
    # `/db` is the name, `/web/db` an alias that a legacy link gave
    name = {"Name": next((n for n in found["Names"] if n.count("/") == 1), found["Names"][0])}
    mode = text_of(found.get("HostConfig") or {}, "NetworkMode")
    container = Container(
        id=identity_of(found),
        name=name_of(name).lstrip("/"),
        image=text_of(found, "Image"),
        labels=labels_of(found),
        attachments=attachments_of(found, mode=mode),
    )
    return Detail(container, joins=joined(mode))


def _inspected(found: dict[str, Any]) -> Detail:
    state, config = found.get("State") or {}, found.get("Config") or {}
    mode = text_of(found.get("HostConfig") or {}, "NetworkMode")
    layer = (found.get("GraphDriver") or {}).get("Data") or {}
    container = Container(
        id=identity_of(found),
        name=name_of(found).lstrip("/"),
        image=text_of(config, "Image"),
        labels=labels_of(config),
        attachments=attachments_of(found, mode=mode),
        pid=number_of(state, "Pid") if state.get("Running") else 0,
    )
    return Detail(container, upper=text_of(layer, "UpperDir"), merged=text_of(layer, "MergedDir"), joins=joined(mode))


def _volume(found: dict[str, Any]) -> Volume:
    options = found.get("Options") or {}
    bound = found.get("Driver") == "local" and {"bind", "rbind"} & set(text_of(options, "o").split(","))
    return Volume(name_of(found), text_of(found, "Mountpoint"), text_of(options, "device") if bound else None)


def _event(found: dict[str, Any]) -> DockerEvent:
    actor = found.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    identity, kind = text_of(actor, "ID"), text_of(found, "Type")
    labels = {"Labels": {k: v for k, v in attributes.items() if k not in ("name", "image")}}
    return DockerEvent(
        kind=kind,
        action=text_of(found, "Action"),
        id=identity,
        name=text_of(attributes, "name") or identity,
        time_ns=number_of(found, "timeNano"),
        container="" if kind == "container" else text_of(attributes, "container"),
        image=text_of(attributes, "image") if kind == "container" else "",
        labels=labels_of(labels) if kind == "container" else {},
    )
