"""The guide's world in a Docker engine: three networks, twenty agents with their volumes, the gateway, the database."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool, Mount

from deploy.demo.engine import Engine
from deploy.demo.images import USER, Images
from deploy.demo.internet import ADDRESS
from enforcer.errors import HostError

AGENTS = tuple(
    f"mcp-{rest}"
    for rest in (
        "01-selector",
        "02-go-backend-browser-automation-engineer",
        "03-database-orchestration-specialist",
        "04-integration-specialist-slack-webhooks",
        "05-workflow",
        "06-project-builder",
        "07-code-quality",
        "08-performance",
        "09-error-tracker",
        "10-security",
        "11-accessibility",
        "12-integration",
        "13-docs-auditor",
        "14-advanced-automation",
        "15-api-integration",
        "16-data-processing",
        "17-learning-platform",
        "18-community-hub",
        "19-deployment",
        "20-orchestrator",
    )
)
"""The guide's names ("Create Isolated Volumes")."""

ORCHESTRATOR = AGENTS[-1]
PUBLIC, INTERNAL, DATABASE = "public", "mcp-internal", "database"
NETWORKS = {PUBLIC: ("172.20.0.0/16", False), INTERNAL: ("172.21.0.0/16", True), DATABASE: ("172.22.0.0/16", True)}
"""The guide's networks: subnet, and whether it is internal ("Network Topology")."""

PARALLEL = 4
"""Containers created at a time: more gain nothing on two cores."""


def port_of(agent: str) -> int:
    """The agent's MCP_PORT: 8081 for mcp-01, 8082 for mcp-02, as in the guide's scrape targets."""
    return 8080 + int(agent.split("-")[1])


def secret_of(owner: str) -> str:
    """What stands in the data of ``owner``, and must never be read by another."""
    return f"the secret of {owner}"


@dataclass(frozen=True)
class World:
    """The engine and what is in it; the client is shared and thread-safe."""

    engine: Engine
    images: Images
    client: docker.DockerClient

    @property
    def bridge(self) -> str:
        """The host interface of the public network."""
        return f"{self.engine.name}pub"

    def device_of(self, agent: str) -> Path:
        """The host directory behind the agent's data volume, as the guide's script lays it out."""
        return self.engine.directory / "data" / agent

    def close(self) -> None:
        """Let go of the client; the containers stay until the ledger is unmade."""
        self.client.close()


def build_world(engine: Engine, images: Images) -> World:
    """Make it all. ``HostError`` if the engine has something of these names or subnets already."""
    world = World(engine=engine, images=images, client=engine.client())
    _assert_vacant(world)
    for name, (subnet, internal) in NETWORKS.items():
        _make_network(world, name, subnet=subnet, internal=internal)
    for agent in AGENTS:
        _make_volumes(world, agent)
    _make_volume(world, "database-data", {})
    _fill(world)
    _in_parallel(lambda agent: _start_agent(world, agent), AGENTS)
    _start_others(world)
    return world


def _in_parallel(work: Callable[[str], object], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        list(pool.map(work, names))


def _assert_vacant(world: World) -> None:
    names = {*AGENTS, "workstation", "database", "mallory", "stranger"}
    taken = names & {c.name for c in world.client.containers.list(all=True)}
    taken |= set(NETWORKS) & {n.name for n in world.client.networks.list()}
    taken |= {v.name for v in world.client.volumes.list() if v.name.startswith(("mcp-", "database-"))}
    if taken:
        some = ", ".join(sorted(taken)[:3])
        raise HostError(f"this engine already has {some}: run make demo OWN_ENGINE=1, which starts another engine")


def _make_network(world: World, name: str, *, subnet: str, internal: bool) -> None:
    options = {"com.docker.network.bridge.name": world.bridge} if name == PUBLIC else {}
    try:
        world.client.networks.create(
            name,
            driver="bridge",
            internal=internal,
            options=options,
            labels=world.engine.labels,
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)]),
        )
    except APIError as e:
        raise HostError(
            f"network {name} on {subnet}: {e.explanation}; make demo OWN_ENGINE=1 uses another engine"
        ) from e


def _make_volumes(world: World, agent: str) -> None:
    """Data on a directory of the host, logs and config plain: the guide's "Create Isolated Volumes"."""
    device = world.device_of(agent)
    device.mkdir(parents=True)
    _make_volume(world, f"{agent}-data", {"type": "none", "o": "bind", "device": str(device)})
    _make_volume(world, f"{agent}-logs", {})
    _make_volume(world, f"{agent}-config", {})


def _make_volume(world: World, name: str, options: dict[str, str]) -> None:
    world.client.volumes.create(name, driver="local", driver_opts=options, labels=world.engine.labels)


def _fill(world: World) -> None:
    """A secret in each agent's data and a configuration in its config, owned as the guide says."""
    for agent in AGENTS:
        _write(world.device_of(agent) / "secret.txt", secret_of(agent))
        config = Path(world.client.volumes.get(f"{agent}-config").attrs["Mountpoint"])
        _write(config / "agent.json", json.dumps({"mcp_id": agent, "port": port_of(agent)}))
    _write(Path(world.client.volumes.get("database-data").attrs["Mountpoint"]) / "table.txt", secret_of("database"))


def _write(file: Path, text: str) -> None:
    file.write_text(text + "\n")
    for path in (file.parent, file):
        os.chown(path, USER, USER)


def limits(engine_info: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The guide's resource limits that this engine can set, and the names of those that it cannot."""
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "memory": ("MemoryLimit", {"mem_limit": "512m", "mem_reservation": "256m"}),
        "cpus": ("CpuCfsQuota", {"nano_cpus": 500_000_000}),
        "pids": ("PidsLimit", {"pids_limit": 100}),
    }
    can = {name: options for name, (flag, options) in wanted.items() if engine_info.get(flag)}
    return {k: v for options in can.values() for k, v in options.items()}, [n for n in wanted if n not in can]


def _common(world: World) -> dict[str, Any]:
    """What every container has. The resolver is one that nobody answers: no look-up may leave the machine."""
    return {
        "detach": True,
        "labels": world.engine.labels,
        "dns": [ADDRESS],
        "dns_search": ["."],
        "restart_policy": {"Name": "unless-stopped"},
    }


def _hardened(world: World) -> dict[str, Any]:
    """The guide's "Container Security Configuration"."""
    granted, _ = limits(world.client.info())
    return {
        **_common(world),
        **granted,
        "user": f"{USER}:{USER}",
        "read_only": True,
        "tmpfs": {"/tmp": "noexec,nosuid,size=100M", "/run": "noexec,nosuid,size=50M"},  # noqa: S108  in the container
        "security_opt": ["no-new-privileges"],
        "cap_drop": ["ALL"],
    }


def _start_agent(world: World, agent: str) -> None:
    options = _hardened(world)
    number = agent.split("-")[1]
    kind = "orchestrator" if agent == ORCHESTRATOR else "agent"
    mcp = {"mcp.id": agent.removeprefix("mcp-"), "mcp.type": kind, "mcp.version": "1.0.0"}
    options["labels"] = {**options["labels"], **mcp}
    world.client.containers.run(
        world.images.agent,
        name=agent,
        hostname=f"mcp-{number}",
        environment={"MCP_ID": agent.removeprefix("mcp-"), "MCP_PORT": str(port_of(agent))},
        mounts=_mounts_of(agent),
        network=INTERNAL,
        **options,
    )


def _mounts_of(agent: str) -> list[Mount]:
    own = [volume_at(f"{agent}-data", "/app/data"), volume_at(f"{agent}-logs", "/app/logs")]
    own.append(volume_at(f"{agent}-config", "/app/config", read_only=True))
    if agent != ORCHESTRATOR:
        return own
    # the orchestrator sees everyone's metadata by right, and one agent's data by somebody's mistake
    others = [volume_at(f"{name}-config", f"/agents/{name}/config", read_only=True) for name in AGENTS[:-1]]
    return [*own, *others, volume_at(f"{AGENTS[0]}-data", f"/agents/{AGENTS[0]}/data", read_only=True)]


def volume_at(name: str, where: str, *, read_only: bool = False) -> Mount:
    """A named volume mounted at ``where`` in the container."""
    return Mount(target=where, source=name, type="volume", read_only=read_only)


def _start_others(world: World) -> None:
    gateway = {**_common(world)}
    gateway["labels"] = {**gateway["labels"], "com.docker.compose.service": "workstation"}
    world.client.networks.get(INTERNAL).connect(
        world.client.containers.run(
            world.images.base,
            ["httpd", "-f", "-p", "3000", "-h", "/srv"],
            name="workstation",
            network=PUBLIC,
            **gateway,
        )
    )
    world.client.containers.run(
        world.images.base,
        ["httpd", "-f", "-p", "5432", "-h", "/srv"],
        name="database",
        network=DATABASE,
        mounts=[volume_at("database-data", "/var/lib/database")],
        **_hardened(world),
    )
    world.client.containers.run(
        world.images.base,
        ["sleep", "infinity"],
        name="mallory",
        network_mode="none",
        mounts=[Mount(target="/host", source=str(world.engine.directory / "data"), type="bind")],
        **_without_dns(world),
    )


def _without_dns(world: World) -> dict[str, Any]:
    return {k: v for k, v in _common(world).items() if not k.startswith("dns")}


def standing(world: World) -> list[str]:
    """The names of the world's containers that run now."""
    return sorted(str(c.name) for c in world.client.containers.list(filters={"label": world.engine.label}))


EXPECTED = tuple(sorted((*AGENTS, "workstation", "database", "mallory")))
"""Who must still stand when the story ends."""
