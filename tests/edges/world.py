"""A small world in an engine: what the recorded answers were recorded from, and what the live tests look at."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import docker
from docker.types import IPAMConfig, IPAMPool

IMAGE = "edges/base:1"
LABELS = {"mcp.id": "01", "com.docker.compose.service": "selector"}


def build(client: docker.DockerClient, *, device: Path, labels: Mapping[str, str]) -> None:
    """Fill an engine. ``device`` is an empty directory to bind a volume to; ``labels`` mark everything as ours."""
    import_image(client, IMAGE)
    marks = dict(labels)
    networks = client.networks
    networks.create("public", ipam=_pools("172.20.0.0/16"), labels=marks)
    networks.create("mcp-internal", ipam=_pools("172.21.0.0/16"), internal=True, labels=marks)
    six = _pools("172.22.0.0/16", "fd00:22::/64")
    networks.create("database", ipam=six, internal=True, enable_ipv6=True, labels=marks)
    bind = {"type": "none", "o": "bind", "device": str(device)}
    client.volumes.create("mcp-01-selector-data", driver="local", driver_opts=bind, labels=marks)
    client.volumes.create("mcp-01-selector-logs", labels=marks)
    mounts = {name: {"bind": f"/app/{name[-4:]}"} for name in ("mcp-01-selector-data", "mcp-01-selector-logs")}
    selector = sleeper(client, "mcp-01-selector", labels=LABELS | marks, network="mcp-internal", volumes=mounts)
    selector.start()
    workstation = sleeper(client, "workstation", labels=marks, network="public")
    networks.get("mcp-internal").connect(workstation)
    workstation.start()
    sleeper(client, "database", labels=marks, network="database")
    sleeper(client, "sidecar", labels=marks, network_mode="container:mcp-01-selector").start()
    sleeper(client, "hostly", labels=marks, network_mode="host").start()


def sleeper(client: docker.DockerClient, name: str, *, image: str = IMAGE, **options: object):
    """A container that waits, created and not started."""
    return client.containers.create(image, ["sleep", "3600"], name=name, init=False, **options)


def import_image(client: docker.DockerClient, name: str) -> None:
    """An image with a static busybox and nothing else, made without a registry."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        listed = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True)
        for applet in listed.stdout.split():
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                tar.addfile(link)
    repository, _, tag = name.partition(":")
    client.api.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)


def _pools(*subnets: str) -> IPAMConfig:
    return IPAMConfig(pool_configs=[IPAMPool(subnet=s) for s in subnets])
