"""The guide's world in any size, as facts: agents with three volumes each, on one internal network."""

from __future__ import annotations

from ipaddress import ip_network

from enforcer.core.model import Attachment, Container, DataObject, Facts, Inode, Kind, Network, ObjectId

INTERNAL = "mcp-internal"
PURPOSES = ("data", "logs", "config")


def facts(agents: int) -> Facts:
    """A host with so many running agents, named and numbered as the guide does; at most 60,000."""
    containers = [_agent(number) for number in range(1, agents + 1)]
    internal = Network(f"{1:064x}", INTERNAL, internal=True, subnets=(ip_network("172.21.0.0/16"),))
    database = Network(f"{2:064x}", "database", internal=True, subnets=(ip_network("172.22.0.0/16"),))
    objects = [o for number, c in enumerate(containers, 1) for o in _objects(c.name, first=number * 4)]
    return Facts(
        containers={c.id: c for c in containers},
        networks={n.name: n for n in (internal, database)},
        objects={o.id: o for o in objects},
    )


def _agent(number: int) -> Container:
    address = f"172.21.{number // 250}.{number % 250 + 2}"
    return Container(
        id=f"{number:064x}",
        name=f"mcp-{number:02}-agent",
        image="mcp/agent:1",
        attachments=(Attachment(INTERNAL, (address,)),),
        pid=number,
        cgroup=1_000_000 + number,
    )


def _objects(name: str, *, first: int) -> list[DataObject]:
    ids = [ObjectId(Kind.VOLUME, f"{name}-{purpose}") for purpose in PURPOSES]
    return [DataObject(i, (Inode(8 << 20 | 1, first + n),)) for n, i in enumerate([*ids, ObjectId(Kind.LAYER, name)])]
