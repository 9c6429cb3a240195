"""Small hosts and policies: one drawn from the guide, and strategies that draw any."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import strategies as st

from enforcer.core.compile import compile
from enforcer.core.ids import Ids, allocate
from enforcer.core.image import Image
from enforcer.core.model import (
    ANY_PORT,
    Attachment,
    Container,
    DataObject,
    DataRule,
    DataTarget,
    Facts,
    Inode,
    Kind,
    Mode,
    NetRule,
    Network,
    ObjectId,
    Policy,
    PortRange,
    Selector,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
)

DEVICE = 0x800001
CANARY = Inode(DEVICE, 3)
TCP, UDP, ICMP = 6, 17, 1


def tcp(first: int, last: int | None = None) -> tuple[PortRange, ...]:
    """A TCP grant of one range."""
    return (PortRange(first, last or first, TCP),)


def container_id(number: int) -> str:
    """A container id as Docker writes it."""
    return f"{number:064x}"


def container(number: int, name: str, **places: str) -> Container:
    """A running container; ``places`` is network (``_`` for ``-``) = address."""
    attachments = tuple(Attachment(network.replace("_", "-"), (address,)) for network, address in places.items())
    return Container(id=container_id(number), name=name, attachments=attachments, pid=number, cgroup=1000 + number)


def facts(containers=(), networks=(), objects=()) -> Facts:
    """Facts with their keys."""
    return Facts({c.id: c for c in containers}, {n.name: n for n in networks}, {o.id: o for o in objects})


def data_object(kind: Kind, name: str, *inodes: int, path: str = "") -> DataObject:
    """A data object on the one device."""
    return DataObject(ObjectId(kind, name), tuple(Inode(DEVICE, i) for i in inodes), path or f"/{kind.value}/{name}")


def volume(name: str) -> DataTarget:
    """A volume, or a pattern of them."""
    return DataTarget(Kind.VOLUME, name)


GUIDE_NETWORKS = (
    Network("n-public", "public", False, (ip_network("172.20.0.0/16"),), ("172.20.0.1",)),
    Network("n-internal", "mcp-internal", True, (ip_network("172.21.0.0/16"),), ("172.21.0.1",)),
    Network("n-database", "database", True, (ip_network("172.22.0.0/16"),), ("172.22.0.1",)),
)
SELECTOR = container(1, "mcp-01-selector", mcp_internal="172.21.0.11")
BACKEND = container(2, "mcp-02-backend", mcp_internal="172.21.0.12")
ORCHESTRATOR = container(20, "mcp-20-orchestrator", mcp_internal="172.21.0.30", database="172.22.0.30")
WORKSTATION = container(30, "workstation", public="172.20.0.40", mcp_internal="172.21.0.40")
DATABASE = container(31, "database", database="172.22.0.50")
STRANGER = container(40, "stranger", public="172.20.0.60")
LURKER = container(41, "lurker", mcp_internal="172.21.0.61")

_AGENTS = ("mcp-01-selector", "mcp-02-backend", "mcp-20-orchestrator")
GUIDE_OBJECTS = (
    *(
        data_object(Kind.VOLUME, f"{name}-{purpose}", 100 + 10 * i + j)
        for i, name in enumerate(_AGENTS)
        for j, purpose in enumerate(("data", "logs", "config"))
    ),
    data_object(Kind.VOLUME, "database-data", 200),
    data_object(Kind.VOLUME, "scratch", 201),
    data_object(Kind.PATH, "/var/run/docker.sock", 202, path="/run/docker.sock"),
    *(data_object(Kind.LAYER, name, 300 + i) for i, name in enumerate((*_AGENTS, "database"))),
)
GUIDE_FACTS = facts(
    (SELECTOR, BACKEND, ORCHESTRATOR, WORKSTATION, DATABASE, STRANGER, LURKER), GUIDE_NETWORKS, GUIDE_OBJECTS
)
GUIDE = Policy(
    mode=Mode.ENFORCE,
    containers={
        "agents": Selector(name="mcp-*", excluded=("mcp-20-orchestrator",)),
        "orchestrator": Selector(name="mcp-20-orchestrator"),
        "gateway": Selector(name="workstation"),
        "database": Selector(name="database"),
    },
    protected=(
        volume("mcp-*"),
        volume("database-*"),
        DataTarget(Kind.LAYER, "mcp-*"),
        DataTarget(Kind.PATH, "/var/run/docker.sock"),
    ),
    data_rules=(
        DataRule(
            "data.rules[0]", ("agents",), (volume("{name}-data"), volume("{name}-logs")), (volume("{name}-config"),)
        ),
        DataRule("data.rules[1]", ("orchestrator",), (volume("{name}-data"),), (volume("mcp-*-config"),)),
        DataRule("data.rules[2]", ("database",), (volume("database-data"),)),
    ),
    internal=("mcp-internal", "database"),
    net_rules=(
        NetRule("network.rules[0]", ("agents",), (ToNetwork("mcp-internal"),)),
        NetRule("network.rules[1]", ("orchestrator",), (ToNetwork("mcp-internal"), ToContainer("database", tcp(5432)))),
        NetRule(
            "network.rules[2]",
            ("gateway",),
            (
                ToNetwork("mcp-internal"),
                ToCidr(ip_network("0.0.0.0/0"), (ip_network("169.254.169.254/32"),), tcp(443)),
            ),
        ),
        NetRule("network.rules[3]", ("database",)),
    ),
    hash="f" * 64,
)


def built(policy: Policy, host: Facts, *, generation: int = 1, ids: Ids | None = None) -> tuple[Image, Ids]:
    """The image of a policy on a host, and the ids that it was made with."""
    known = allocate(ids or Ids(), policy, host)
    return compile(policy, host, known, generation, canary=CANARY), known


# --- any host, any policy ---------------------------------------------------------------------------------------------

modes = st.sampled_from(Mode)
_names = st.sampled_from(["a", "b", "c", "ab"])
_networks = st.sampled_from(["n1", "n2", "n3"])
_patterns = st.sampled_from(["v1", "v2", "v*", "*", "{name}", "{name}-*"])
_targets = st.builds(DataTarget, kind=st.sampled_from([Kind.VOLUME, Kind.LAYER]), pattern=_patterns)
_who = st.lists(st.sampled_from(["all", "as", "b"]), min_size=1, max_size=2, unique=True).map(tuple)
_ports = st.sampled_from([(ANY_PORT,), tcp(80), tcp(443, 500), (PortRange(53, 53, UDP),), (*tcp(80), *tcp(90))])
_cidrs = st.sampled_from(
    [
        ip_network(text)
        for text in ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.0.2/32", "::/0", "fd00:1::/64", "2001:db8::/32")
    ]
)
_subnets = {"n1": ("10.1.0.0/16", "fd00:1::/64"), "n2": ("10.2.0.0/16",), "n3": ("10.3.0.0/24",)}
ADDRESSES = (
    "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.2", "10.3.0.2", "fd00:1::2", "10.9.9.9",
    "203.0.113.10", "2001:db8::1", "127.0.0.1", "::1", "0.0.0.0",  # noqa: S104 -- a destination, not a bind
)  # fmt: skip
PORTS = ((TCP, 80), (TCP, 443), (UDP, 53), (ICMP, 0))

_net_targets = st.one_of(
    st.builds(ToNetwork, network=st.sampled_from(["n1", "n2", "unknown"]), ports=_ports),
    st.builds(ToContainer, container=st.sampled_from(["as", "b", "c", "unknown"]), ports=_ports),
    st.builds(ToCidr, cidr=_cidrs, excluded=st.lists(_cidrs, max_size=2).map(tuple), ports=_ports),
    st.builds(ToHost, ports=_ports),
)
_optional_mode = st.none() | modes
_tuples_of_targets = st.lists(_targets, max_size=2).map(tuple)


def _numbered(prefix: str):
    return lambda rules: tuple(replace(rule, id=f"{prefix}.rules[{i}]") for i, rule in enumerate(rules))


_data_rules = st.lists(
    st.builds(
        DataRule,
        id=st.just(""),
        who=_who,
        read_write=_tuples_of_targets,
        read_only=_tuples_of_targets,
        mode=_optional_mode,
    ),
    max_size=3,
).map(_numbered("data"))
_net_rules = st.lists(
    st.builds(
        NetRule, id=st.just(""), who=_who, connect=st.lists(_net_targets, max_size=3).map(tuple), mode=_optional_mode
    ),
    max_size=3,
).map(_numbered("network"))

policies = st.builds(
    Policy,
    mode=modes,
    containers=st.just({"all": Selector(name="*"), "as": Selector(name="a*"), "b": Selector(name="b")}),
    protected=st.lists(
        st.sampled_from([volume("v*"), volume("v1"), volume("a-*"), DataTarget(Kind.LAYER, "*")]),
        max_size=3,
        unique=True,
    ).map(tuple),
    data_rules=_data_rules,
    internal=st.lists(_networks, max_size=1).map(tuple),
    net_rules=_net_rules,
)

_inode_lists = st.lists(st.integers(1, 6).map(lambda i: Inode(DEVICE, i + 10)), max_size=2, unique=True).map(tuple)


@st.composite
def hosts(draw) -> Facts:
    """Up to three containers that share names, inodes, addresses and networks in every way, also impossible ones."""
    numbers = draw(st.lists(st.integers(1, 4), max_size=3, unique=True))
    names = draw(st.permutations(["a", "b", "c", "ab"]))
    containers = [_drawn_container(draw, number, name) for number, name in zip(numbers, names, strict=False)]
    networks = [
        Network(f"id-{name}", name, draw(st.booleans()), tuple(map(ip_network, _subnets[name])), (_gateway(name),))
        for name in draw(st.lists(_networks, max_size=3, unique=True))
    ]
    volumes = draw(st.lists(st.sampled_from(["v1", "v2", "v3", "a-1", "other"]), max_size=4, unique=True))
    objects = [DataObject(ObjectId(Kind.VOLUME, name), draw(_inode_lists), f"/{name}") for name in volumes]
    objects += [DataObject(ObjectId(Kind.LAYER, c.name), draw(_inode_lists), "") for c in containers]
    return facts(containers, networks, objects)


def _gateway(network: str) -> str:
    return str(ip_network(_subnets[network][0])[1])


def _drawn_container(draw, number: int, name: str) -> Container:
    foreseen = draw(st.booleans())
    places = draw(st.lists(_networks, max_size=0 if foreseen else 2, unique=True))
    attachments = tuple(
        Attachment(place, tuple(draw(st.lists(st.sampled_from(ADDRESSES[1:6]), max_size=2, unique=True))))
        for place in places
    )
    cgroup = draw(st.sampled_from([0, 7, 1000 + number]))
    made = Container(container_id(number), name, attachments=attachments, pid=number, cgroup=cgroup)
    return replace(made, foreseen=foreseen)
