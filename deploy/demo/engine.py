"""A Docker engine for the demo and for the tests: the one that runs, or one of our own that has no way out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from deploy.demo.ledger import Kind, Ledger
from deploy.demo.namespace import Namespace
from deploy.demo.process import Process, await_that, last_words
from deploy.demo.teardown import answers, unmake
from enforcer.errors import EdgeError, HostError
from enforcer.settings import default_parent

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
LABEL = "enforcer.demo"
"""What everything that is made in an engine is labelled with; the value is the ledger's name."""

CONTAINERD = """version = 2
root = "{0}/containerd/root"
state = "{0}/containerd/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{0}/containerd.sock"
"""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers at ``url``. Its networks live in ``namespace``; ``directory`` is ours to fill."""

    url: str
    namespace: Namespace
    directory: Path
    name: str
    own: bool

    @property
    def label(self) -> str:
        """The label, as Docker filters take it, that marks what is ours in this engine."""
        return f"{LABEL}={self.name}"

    @property
    def labels(self) -> dict[str, str]:
        """The same as a mapping, for whatever is made in the engine."""
        return {LABEL: self.name}

    @property
    def parent(self) -> str:
        """The cgroup above its containers: one of our name, or Docker's default for the driver of a running engine."""
        if self.own:
            return f"/{self.name}"
        client = self.client()
        try:
            return default_parent(str(client.info()["CgroupDriver"]))
        finally:
            client.close()

    def client(self, timeout: int = 60) -> docker.DockerClient:
        """A client of its own for the caller, who closes it."""
        return docker.DockerClient(base_url=self.url, timeout=timeout)

    def assert_closed(self, outlet: str = "", bridge: str = "") -> None:
        """``HostError`` unless all that is sent stays here. ``outlet`` is our veth to the internet of the demo.

        In a namespace of its own no other route may exist at all. With an engine of the user's, what the demo sends
        (to 203.0.113.0/24 and 2001:db8::/32 only) must leave through ``outlet``, also when ``bridge`` forwards it.
        """
        if self.own:
            self.namespace.assert_closed(own=(outlet,) if outlet else ())
        if not outlet:
            return
        forwarded = ("from", "172.20.255.254", "iif", bridge) if bridge else ()
        for address, extra in (("203.0.113.10", ()), ("2001:db8::10", ()), ("203.0.113.10", forwarded)):
            found = self.namespace.route_to(address, *extra)
            if found != outlet:
                raise HostError(f"{address} is reached through {found or 'nothing'}, not {outlet}; nothing was sent")


def running() -> str | None:
    """Where a Docker engine answers, by DOCKER_HOST or at the usual socket; None if none does."""
    url = os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET
    if not url.startswith("unix://"):
        raise HostError(f"DOCKER_HOST is {url}: the enforcer guards the engine of its own host; unset it")
    return url if answers(url) else None


def workplace(ledger: Ledger) -> Path:
    """A new directory, on a disk and with a path short enough for sockets in it (108 bytes, unix(7))."""
    directory = Path(tempfile.gettempdir() if os.environ.get("TMPDIR") else "/var/tmp", ledger.name)  # noqa: S108
    ledger.add(Kind.DIRECTORY, str(directory))
    directory.mkdir(mode=0o711)
    return directory


def adopt(ledger: Ledger, url: str) -> Engine:
    """Use an engine that runs already: nothing but what carries our label is ever touched in it."""
    directory = workplace(ledger)
    engine = Engine(url=url, namespace=Namespace(), directory=directory, name=ledger.name, own=False)
    ledger.add(Kind.OBJECTS, url, engine.label)
    return engine


def start_own(ledger: Ledger) -> Engine:
    """Start an engine in a network namespace that has no way out, with everything that it keeps in one directory."""
    directory = workplace(ledger)
    namespace = Namespace(ledger.name)
    ledger.add(Kind.NAMESPACE, namespace.name)
    namespace.create()
    ledger.add(Kind.CGROUP, ledger.name)
    ledger.add(Kind.SHIMS, f"{directory}/containerd.sock")
    url = f"unix://{directory}/docker.sock"
    engine = Engine(url=url, namespace=namespace, directory=directory, name=ledger.name, own=True)
    engine.assert_closed()
    _start_daemons(engine, ledger)
    ledger.add(Kind.OBJECTS, url, engine.label, "own")
    engine.assert_closed()
    return engine


def _start_daemons(engine: Engine, ledger: Ledger) -> None:
    """containerd by ourselves: dockerd would otherwise adopt one of the host's that listens at the usual place."""
    at = engine.directory
    config, log = at / "containerd.toml", at / "containerd.log"
    config.write_text(CONTAINERD.format(at))
    containerd = ledger.add_process(
        engine.namespace.start("containerd", "--config", str(config), name="containerd", log=log)
    )
    _await_daemon(containerd, log, (at / "containerd.sock").exists)
    log = at / "dockerd.log"
    dockerd = ledger.add_process(engine.namespace.start(*_dockerd(engine), name="dockerd", log=log))
    _await_daemon(dockerd, log, lambda: answers(engine.url))


def _dockerd(engine: Engine) -> tuple[str, ...]:
    at = engine.directory
    places = {
        "containerd": at / "containerd.sock",
        "data-root": at / "docker",
        "exec-root": at / "exec",
        "pidfile": at / "docker.pid",
        "host": engine.url,
        "config-file": at / "daemon.json",
        "cgroup-parent": engine.parent,
        "exec-opt": "native.cgroupdriver=cgroupfs",
        "storage-driver": "overlay2",
        "iptables": "true",
    }
    (at / "daemon.json").write_text("{}")  # not the host's /etc/docker/daemon.json
    return ("dockerd", *(f"--{option}={value}" for option, value in places.items()))


def _await_daemon(daemon: Process, log: Path, ready: Callable[[], bool]) -> None:
    await_that(f"{daemon.name} to answer, see {log}", lambda: not daemon.alive or ready(), seconds=60)
    if not daemon.alive:
        raise EdgeError(f"{daemon.name} ended at once: {last_words(log)}")


@contextmanager
def private_engine() -> Iterator[Engine]:
    """An engine of our own for the length of a ``with``; ``EdgeError`` at its end if something of it stays."""
    ledger = Ledger.open_new()
    try:
        yield start_own(ledger)
    finally:
        if trouble := unmake(ledger):
            raise EdgeError(f"left behind: {'; '.join(trouble)}")
