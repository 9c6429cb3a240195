"""Containers of which each breaks exactly one thing that `enforcer verify` checks: the table, and how they are made."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.types import Mount

from deploy.demo.engine import Engine
from deploy.demo.images import BUSYBOX, USER, Images
from deploy.demo.process import await_that
from enforcer.core.checks import Check
from enforcer.posture.finding import Result

INSIDE, OUTSIDE = "mcp-internal", "public"
GOOD, CREATED = "mcp-vc-good", "mcp-vc-created"
SECOND = 1_000_000_000  # Docker counts in ns
PURPOSES = {"data": False, "logs": False, "config": True}

POLICY = b"""
version: 1
mode: enforce
containers:
  checked: {name: "mcp-vc-*"}
  strict: {name: mcp-vc-no-health}
data:
  protected: [{volume: "mcp-vc-*"}]
  rules:
    - {who: checked, read-write: ["{name}-data", "{name}-logs"], read-only: ["{name}-config"]}
network:
  internal: [mcp-internal]
  rules:
    - {who: checked, connect: [{network: mcp-internal}]}
posture:
  rules:
    - who: checked
      names: [mcp-vc-good]
      user: "1001:1001"
      volumes: {data: /app/data, logs: /app/logs, config: "/app/config:ro"}
      limits: {memory: 64M, cpus: 0.5, pids: 50}
      health: optional             # a health check of each of them every second is more than the machine can do
    - {who: strict, health: required}
"""


@dataclass(frozen=True)
class Broken:
    """One row: what is different (``options`` of its creation, mounts by place, directories by purpose), and what that breaks."""

    name: str
    check: Check
    result: Result
    options: Mapping[str, Any] = field(default_factory=dict)
    mounts: Mapping[str, Mount | None] = field(default_factory=dict)
    directories: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Purpose → owner and mode."""
    started: bool = True


def volume(name: str, at: str, *, read_only: bool = False) -> Mount:
    """A named volume, which does not take over what the image has at that place: neither files nor owner."""
    return Mount(target=at, source=name, type="volume", read_only=read_only, no_copy=True)


def bind(path: str, at: str) -> Mount:
    """A directory or file of the host, read-only."""
    return Mount(target=at, source=path, type="bind", read_only=True)


def table(directory: str = "", socket: str = "") -> tuple[Broken, ...]:
    """Every check that looks at one container, broken at least once. ``directory`` and ``socket``: the engine's."""
    return (*_made(), *_volumes(directory), *_confined(socket))


def _made() -> tuple[Broken, ...]:
    warn, fail = Result.WARN, Result.FAIL
    ours = {purpose: (0, 0o750) for purpose in ("data", "logs")}
    other = {purpose: (1002, 0o750) for purpose in ("data", "logs")}
    return (
        Broken("segment", Check.SEGMENTATION, warn, {"network": OUTSIDE}),
        Broken("no-health", Check.HEALTH, warn, {"healthcheck": {"test": ["NONE"]}}),
        Broken("starting", Check.HEALTH, warn, {"healthcheck": {"test": ["CMD", "true"], "interval": 900 * SECOND}}),
        Broken(
            "ill", Check.HEALTH, fail, {"healthcheck": {"test": ["CMD", "false"], "interval": 3 * SECOND, "retries": 1}}
        ),
        Broken("no-memory", Check.MEMORY_LIMIT, warn, {"mem_limit": 0}),
        Broken("much-memory", Check.MEMORY_LIMIT, warn, {"mem_limit": "128m"}),
        Broken("no-cpu", Check.CPU_LIMIT, warn, {"nano_cpus": 0}),
        Broken("much-cpu", Check.CPU_LIMIT, warn, {"nano_cpus": 0, "cpu_quota": 100_000, "cpu_period": 100_000}),
        Broken("no-pids", Check.PIDS_LIMIT, warn, {"pids_limit": 0}),
        Broken("many-pids", Check.PIDS_LIMIT, warn, {"pids_limit": 60}),
        Broken("root", Check.USER, warn, {"user": "0"}, directories=ours),
        Broken("other-user", Check.USER, warn, {"user": "1002:1002"}, directories=other),
        Broken("tag", Check.IMAGE_TAG, warn, {"image": "tag"}),
    )


def _volumes(directory: str) -> tuple[Broken, ...]:
    warn, fail = Result.WARN, Result.FAIL
    at = "/app/data"
    return (
        Broken("no-data", Check.DATA_VOLUME, fail, mounts={at: None}),
        Broken("host-data", Check.DATA_VOLUME, fail, mounts={at: Mount(at, f"{directory}/host-data", type="bind")}),
        Broken("no-logs", Check.VOLUME_MOUNTS, warn, mounts={"/app/logs": None}),
        Broken("odd-name", Check.VOLUME_NAME, warn, mounts={at: volume("odd-data", at)}),
        Broken("open", Check.VOLUME_OWNER, warn, directories={"data": (USER, 0o777)}),
        Broken("closed", Check.DATA_WRITE, fail, directories={"data": (USER, 0o550)}),
        Broken("fixed", Check.DATA_WRITE, fail, mounts={at: volume("mcp-vc-fixed-data", at, read_only=True)}),
        Broken(
            "config", Check.CONFIG_WRITE, warn, mounts={"/app/config": volume("mcp-vc-config-config", "/app/config")}
        ),
        Broken(
            *("own-config", Check.CONFIG_WRITE, fail),
            mounts={"/app/config": volume("mcp-vc-own-config-config", "/app/config")},
            directories={"config": (USER, 0o750)},
        ),
        Broken("thief", Check.VOLUME_SHARED, fail, mounts={"/stolen": volume("mcp-vc-victim-data", "/stolen")}),
        Broken("common", Check.VOLUME_SHARED, warn, mounts={"/common": volume("vc-common", "/common")}),
    )


def _confined(socket: str) -> tuple[Broken, ...]:
    warn, fail = Result.WARN, Result.FAIL
    return (
        Broken("root-fs", Check.READ_ONLY_ROOT, warn, {"read_only": False}),
        Broken("setuid", Check.NO_NEW_PRIVILEGES, warn, {"security_opt": []}),
        Broken("caps-kept", Check.CAPABILITY_DROP, warn, {"cap_drop": ["NET_RAW"]}),
        Broken("cap-chown", Check.ADDED_CAPABILITIES, warn, {"cap_add": ["CHOWN"]}),
        Broken("cap-admin", Check.ADDED_CAPABILITIES, fail, {"cap_add": ["SYS_ADMIN"]}),
        Broken("seccomp", Check.SECCOMP, warn, {"security_opt": ["no-new-privileges", "seccomp=unconfined"]}),
        Broken("apparmor", Check.APPARMOR, warn, {"security_opt": ["no-new-privileges", "apparmor=unconfined"]}),
        # the machine of the tests has not the capabilities that a privileged container is given: it is only created
        Broken("privileged", Check.PRIVILEGED, fail, {"privileged": True}, started=False),
        Broken("host-net", Check.HOST_NETWORK, fail, {"network": None, "network_mode": "host"}),
        Broken("joined", Check.HOST_NETWORK, warn, {"network": None, "network_mode": f"container:{GOOD}"}),
        Broken("host-pid", Check.HOST_PID, fail, {"pid_mode": "host"}),
        Broken("host-ipc", Check.HOST_IPC, fail, {"ipc_mode": "host"}),
        Broken("host-uts", Check.HOST_UTS, warn, {"uts_mode": "host"}),
        Broken("host-userns", Check.HOST_USERNS, warn, {"userns_mode": "host"}),
        Broken("socket", Check.DOCKER_SOCKET, fail, mounts={"/socket": bind(socket, "/socket")}),
        Broken("ports", Check.PUBLISHED_PORTS, fail, {"ports": {"8080/tcp": None}}),
    )


class Ground:
    """The containers of the table in an engine, beside a good one that runs and a good one that was only created."""

    def __init__(self, engine: Engine, client: docker.DockerClient, images: Images) -> None:
        self.engine, self.client, self.images = engine, client, images
        self.rows = table(str(engine.directory), engine.url.removeprefix("unix://"))

    def make(self) -> None:
        """All of them, started and with their health known; a stranger that shares a volume, a good one without tools."""
        for name, internal in ((INSIDE, True), (OUTSIDE, False)):
            self.client.networks.create(name, internal=internal, labels=self.engine.labels)
        Path(self.engine.directory, "host-data").mkdir(mode=0o750)
        os.chown(Path(self.engine.directory, "host-data"), USER, USER)
        self.directory("odd-data", USER, 0o750)
        self.directory("vc-common", 0, 0o755)
        self.directory("mcp-vc-victim-data", USER, 0o750)
        healthy = {"healthcheck": {"test": ["CMD", "true"], "interval": 5 * SECOND}}
        self.add(Broken("good", Check.EXISTENCE, Result.PASS, healthy))
        self.add(Broken("created", Check.EXISTENCE, Result.PASS, started=False))
        self.client.containers.run(
            *(self.images.base, ["sleep", "infinity"]),
            **{"name": "stranger", "detach": True, "network_mode": "none", "labels": self.engine.labels},
            mounts=[volume("vc-common", "/common")],
        )
        for row in (*self.rows, *self._odd()):
            self.add(row)
        self._await("good", "healthy")
        self._await("ill", "unhealthy")

    def _odd(self) -> tuple[Broken, ...]:
        """What the guide's scripts misread: a quota that is no NanoCpus, an image without tools, data in the layer."""
        quota = {"nano_cpus": 0, "cpu_quota": 25_000, "cpu_period": 100_000}
        bare = {"image": bare_image(self.client, self.engine.labels), "user": "0", "entrypoint": ["/sleep"]}
        ours = {purpose: (0, 0o750) for purpose in ("data", "logs")}
        layer = {"read_only": False}
        return (
            Broken("quota", Check.EXISTENCE, Result.PASS, quota),
            Broken("bare", Check.EXISTENCE, Result.PASS, bare, directories=ours),
            Broken("layer", Check.EXISTENCE, Result.PASS, layer, mounts={"/app/data": None}),
        )

    def directory(self, name: str, owner: int, mode: int) -> None:
        """A volume, and whose its directory is."""
        made = self.client.volumes.create(name, labels=self.engine.labels)
        os.chown(made.attrs["Mountpoint"], owner, owner)
        Path(made.attrs["Mountpoint"]).chmod(mode)

    def add(self, row: Broken) -> None:
        """A container as the guide wants it, but for what the row says."""
        name = f"mcp-vc-{row.name}"
        places = {}
        for purpose, read_only in PURPOSES.items():
            owner, mode = row.directories.get(purpose, (0, 0o755) if read_only else (USER, 0o750))
            self.directory(f"{name}-{purpose}", owner, mode)
            places[f"/app/{purpose}"] = volume(f"{name}-{purpose}", f"/app/{purpose}", read_only=read_only)
        mounts = {**places, **row.mounts}
        options = {**self._good(), **row.options, "mounts": [m for m in mounts.values() if m]}
        image = {"tag": self.images.agent, "id": self.client.images.get(self.images.agent).id}.get(
            options["image"], options["image"]
        )
        del options["image"]
        options = {k: v for k, v in options.items() if v is not None}
        made = self.client.containers.create(image, name=name, **options)
        if row.started:
            made.start()

    def _good(self) -> dict[str, Any]:
        return {
            "image": "id",
            "user": f"{USER}:{USER}",
            "entrypoint": ["sleep"],
            "command": ["infinity"],
            "init": True,
            "read_only": True,
            "tmpfs": {"/tmp": "noexec,nosuid,size=10M"},  # noqa: S108  in the container
            "security_opt": ["no-new-privileges"],
            "cap_drop": ["ALL"],
            "mem_limit": "64m",
            "nano_cpus": 250_000_000,
            "pids_limit": 50,
            "network": INSIDE,
            "healthcheck": {"test": ["NONE"]},
            "labels": self.engine.labels,
        }

    def _await(self, name: str, health: str) -> None:
        def there() -> bool:
            return self.client.api.inspect_container(f"mcp-vc-{name}")["State"]["Health"]["Status"] == health

        await_that(f"mcp-vc-{name} to be {health}", there, seconds=60)


def bare_image(client: docker.DockerClient, labels: Mapping[str, str]) -> str:
    """An image of one program, which can only sleep: there is no shell, no `id` and no `touch` in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("sleep")
        content = BUSYBOX.read_bytes()
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    changes = [f"LABEL {key}={value}" for key, value in labels.items()]
    client.api.import_image_from_data(out.getvalue(), repository="vc-bare", tag="1", changes=changes)
    return str(client.images.get("vc-bare:1").id)
