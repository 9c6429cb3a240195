"""What the kernel is told is what the policy says.

The oracles below read policy and facts naively, one question at a time, and know nothing of rows, ids or prefixes.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core.address import packed
from enforcer.core.decide import judge_file, judge_net, judge_object
from enforcer.core.ids import Reserved, Special
from enforcer.core.image import (
    MAX_RANGES,
    NET,
    CidrKey,
    DeviceKey,
    Endpoint,
    EndpointKey,
    Image,
    InodeKey,
    MemberKey,
    NetKey,
    Object,
    Range,
    Row,
    RowKey,
    Subject,
    SubnetKey,
    Table,
    docker_id,
)
from enforcer.core.model import (
    ANY_PORT,
    READ_ONLY,
    Access,
    Attachment,
    DataObject,
    DataRule,
    DataTarget,
    Inode,
    Kind,
    Mode,
    NetRule,
    Network,
    ObjectId,
    OwnFile,
    Policy,
    PortRange,
    Selector,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
    Verdict,
)
from enforcer.core.ports import merge
from enforcer.core.prefixes import CidrGrant, slot_of, spread
from enforcer.core.select import fill, glob_match, named
from enforcer.errors import AbiError
from tests.unit.worlds import (
    ADDRESSES,
    BACKEND,
    CANARY,
    DATABASE,
    DEVICE,
    GUIDE,
    GUIDE_FACTS,
    GUIDE_NETWORKS,
    GUIDE_OBJECTS,
    LURKER,
    ORCHESTRATOR,
    PORTS,
    SELECTOR,
    STRANGER,
    TCP,
    UDP,
    WORKSTATION,
    built,
    container,
    container_id,
    data_object,
    facts,
    hosts,
    policies,
    tcp,
    volume,
)

R, W, X, C = Access.READ, Access.WRITE, Access.EXEC, Access.CONNECT
ALL = R | W | X | C


def inode_of(name: str, kind: Kind = Kind.VOLUME) -> Inode:
    """The first inode of an object of the guide's host."""
    return GUIDE_FACTS.objects[ObjectId(kind, name)].inodes[0]


def guide_file(who, name: str, asked: Access, kind: Kind = Kind.VOLUME):
    """What the kernel would say on the guide's host."""
    image, ids = built(GUIDE, GUIDE_FACTS)
    return judge_file(image, subject=ids.subject(who.id), inodes=[inode_of(name, kind)], asked=asked)


def guide_net(who, address: str, port: int = 80, *, protocol: int = TCP, policy=GUIDE, host=GUIDE_FACTS):
    """What the kernel would say on the guide's host."""
    image, ids = built(policy, host)
    return judge_net(image, subject=ids.subject(who.id), address=address, protocol=protocol, port=port)


# --- data -------------------------------------------------------------------------------------------------------------


def aliases(policy, host, object_id) -> set[ObjectId]:
    """The protected objects that share inodes with this one, directly or through others."""
    protected = [
        o for o in host.objects if any(t.kind == o.kind and glob_match(t.pattern, o.name) for t in policy.protected)
    ]
    if object_id not in protected:
        return set()
    group, grown = set(), {object_id}
    while group != grown:
        group = grown
        inodes = {i for o in group for i in host.objects[o].inodes}
        grown = group | {o for o in protected if inodes & set(host.objects[o].inodes)}
    return group


def oracle_data(policy, host, who, object_id) -> tuple[Access, Mode] | None:
    """What ``who`` is granted on an object, and in which mode; None if it is not protected."""
    group = aliases(policy, host, object_id)
    if not group:
        return None
    rules = [r for r in policy.data_rules if set(r.who) & named(policy, who)]
    granted, mentions = Access.NONE, []
    for rule in rules:
        for targets, bits in ((rule.read_write, ALL), (rule.read_only, READ_ONLY)):
            for target in targets:
                pattern = fill(target.pattern, who.name)
                if any(o.kind == target.kind and glob_match(pattern, o.name) for o in group):
                    granted |= bits
                    mentions.append(rule)
    if ObjectId(Kind.LAYER, who.name) in group:
        granted = ALL
    modes = [policy.mode if r.mode is None else r.mode for r in mentions or rules]
    return granted, max(modes, default=policy.mode)


@settings(deadline=None, max_examples=300)
@given(policy=policies, host=hosts())
def test_every_row_says_what_the_policy_says(policy, host):
    """For each container and each data object the kernel's answer is that of a naive reading, and has its reasons."""
    image, ids = built(policy, host)
    for who in host.containers.values():
        for object_id, found in host.objects.items():
            expected = oracle_data(policy, host, who, object_id)
            for inode in found.inodes:
                judged = judge_file(image, subject=ids.subject(who.id), inodes=[inode], asked=ALL)
                if expected is None:
                    others = [o for o in host.objects if inode in host.objects[o].inodes and aliases(policy, host, o)]
                    assert (judged.object == 0) is (not others)
                else:
                    assert (judged.granted, judged.mode) == expected


@settings(deadline=None)
@given(policy=policies, host=hosts())
def test_whoever_no_rule_names_may_touch_nothing_protected(policy, host):
    """Unnamed containers, born before the agent knows them, and the canary are granted no object at all."""
    image, _ = built(policy, host)
    protected = {v.id for k, v in image.objects.items() if k.inode != CANARY.inode}
    for number in protected:
        unnamed = judge_object(image, subject=Reserved.UNNAMED, number=number, asked=R)
        assert unnamed.granted == Access.NONE
        assert unnamed.mode == policy.mode
    canary = judge_file(image, subject=Reserved.CANARY, inodes=[CANARY], asked=R)
    assert canary == (Verdict.DENIED, Reserved.CANARY, Access.NONE, Mode.ENFORCE)


@pytest.mark.parametrize(
    ("who", "name", "asked", "verdict"),
    [
        (SELECTOR, "mcp-01-selector-data", R | W, Verdict.ALLOWED),
        (SELECTOR, "mcp-01-selector-config", R, Verdict.ALLOWED),
        (SELECTOR, "mcp-01-selector-config", W, Verdict.DENIED),
        (SELECTOR, "mcp-02-backend-data", R, Verdict.DENIED),
        (ORCHESTRATOR, "mcp-02-backend-config", R, Verdict.ALLOWED),
        (ORCHESTRATOR, "mcp-02-backend-data", R, Verdict.DENIED),
        (DATABASE, "database-data", R | W, Verdict.ALLOWED),
        (STRANGER, "database-data", R, Verdict.DENIED),
        (STRANGER, "scratch", R | W, Verdict.ALLOWED),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_guides_matrix(who, name, asked, verdict):
    """The guide's data access matrix holds for its own containers."""
    assert guide_file(who, name, asked).verdict is verdict


def test_a_container_owns_its_layer_only():
    """Its own writable layer is free to a container, sockets in it included; that of another is not."""
    assert guide_file(SELECTOR, "mcp-01-selector", ALL, Kind.LAYER).verdict is Verdict.ALLOWED
    assert guide_file(SELECTOR, "mcp-02-backend", R, Kind.LAYER).verdict is Verdict.DENIED


def test_a_path_is_protected_by_its_name_and_found_by_its_inode():
    """docker.sock is an object of its own; connecting to it comes with read-write, not with read-only."""
    target = DataTarget(Kind.PATH, "/var/run/docker.sock")
    rules = (
        DataRule("data.rules[0]", ("agents",), (target,)),
        DataRule("data.rules[1]", ("database",), (), (target,)),
    )
    image, ids = built(replace(GUIDE, data_rules=rules), GUIDE_FACTS)
    inodes = [inode_of("/var/run/docker.sock", Kind.PATH)]
    verdicts = [
        judge_file(image, subject=ids.subject(c.id), inodes=inodes, asked=C).verdict for c in (SELECTOR, DATABASE)
    ]
    assert verdicts == [Verdict.ALLOWED, Verdict.DENIED]


def test_the_nearest_object_answers():
    """A file in an inner object is judged by the inner one, although the outer one encloses it too."""
    outer = data_object(Kind.PATH, "/srv", 50, path="/srv")
    inner = data_object(Kind.VOLUME, "v", 51, path="/srv/v")
    beside = data_object(Kind.PATH, "/srv-b", 52, path="/srv-b")
    policy = replace(
        GUIDE,
        protected=(DataTarget(Kind.PATH, "/srv*"), volume("v")),
        data_rules=(DataRule("data.rules[0]", ("agents",), (DataTarget(Kind.PATH, "/srv"),)),),
    )
    image, ids = built(policy, facts((SELECTOR,), (), (outer, inner, beside)))
    subject = ids.subject(SELECTOR.id)
    file = Inode(DEVICE, 99)
    assert judge_file(image, subject=subject, inodes=[file, *outer.inodes], asked=W).verdict is Verdict.ALLOWED
    nested = judge_file(image, subject=subject, inodes=[file, *inner.inodes, *outer.inodes], asked=R)
    assert nested.verdict is Verdict.DENIED
    has_inner = {key.inode: value.has_inner for key, value in image.objects.items()}
    assert has_inner == {50: 1, 51: 0, 52: 0, CANARY.inode: 0}


def test_two_names_of_one_directory_are_one_object():
    """A grant for either of two volumes with the same directory holds, since the kernel sees one inode."""
    one, two = data_object(Kind.VOLUME, "v-one", 60, 61), data_object(Kind.VOLUME, "v-two", 61, 62)
    policy = replace(
        GUIDE, protected=(volume("v-*"),), data_rules=(DataRule("data.rules[0]", ("agents",), (volume("v-two"),)),)
    )
    image, ids = built(policy, facts((SELECTOR,), (), (two, one)))
    number = ids.object(ObjectId(Kind.VOLUME, "v-one"))
    assert {image.objects[InodeKey(i, DEVICE, 1)].id for i in (60, 61, 62)} == {number}
    assert image.rows[RowKey(1, ids.subject(SELECTOR.id), number)] == Row(int(ALL), Mode.ENFORCE)
    assert image.reasons[ids.subject(SELECTOR.id), number] == ("data.rules[0]",)


def test_a_containers_name_is_no_pattern():
    """A name with glob characters stands for itself in {name}: no container grants itself more by what it is called."""
    star = container(5, "mcp-*")
    image, ids = built(GUIDE, facts((star,), (), GUIDE_OBJECTS))
    found = judge_file(image, subject=ids.subject(star.id), inodes=[inode_of("mcp-02-backend-data")], asked=R)
    assert found.verdict is Verdict.DENIED


@pytest.mark.parametrize(
    ("policy_mode", "rule_modes", "expected"),
    [
        (Mode.ENFORCE, [], Mode.ENFORCE),
        (Mode.MONITOR, [], Mode.MONITOR),
        (Mode.ENFORCE, [Mode.MONITOR], Mode.MONITOR),
        (Mode.ENFORCE, [Mode.MONITOR, None], Mode.ENFORCE),
        (Mode.MONITOR, [None, Mode.ENFORCE], Mode.ENFORCE),
    ],
)
def test_the_mode_of_a_default_row(policy_mode, rule_modes, expected):
    """Enforce if one rule that names the container enforces; the policy's mode if none names it."""
    data = tuple(DataRule(f"d{i}", ("agents",), mode=mode) for i, mode in enumerate(rule_modes))
    net = tuple(NetRule(f"n{i}", ("agents",), mode=mode) for i, mode in enumerate(rule_modes))
    image, ids = built(replace(GUIDE, mode=policy_mode, data_rules=data, net_rules=net), GUIDE_FACTS)
    subject = ids.subject(SELECTOR.id)
    assert image.rows[RowKey(1, subject, 0)].mode is int(expected)
    assert image.net_subjects[NetKey(1, subject)].mode == expected


def test_subjects_and_devices():
    """Every container is prepared by its Docker id, armed by its cgroup if it has one; protected devices are known."""
    sleeping = replace(BACKEND, cgroup=0)
    image, ids = built(GUIDE, facts((SELECTOR, sleeping), (), GUIDE_OBJECTS), generation=5)
    numbers = {docker_id(c.id): ids.subject(c.id) for c in (SELECTOR, sleeping)}
    assert image.tables[Table.PREPARED] == numbers
    assert image.tables[Table.CGROUPS] == {SELECTOR.cgroup: Subject(ids.subject(SELECTOR.id), 1, SELECTOR.cgroup)}
    assert image.tables[Table.FILESYSTEMS] == {DeviceKey(5, DEVICE): 1}
    assert {key.generation for table in (image.rows, image.objects, image.net_subjects) for key in table} == {5}


def test_the_agents_own_lies_within_what_is_around_it():
    """Its files are objects of their own, whatever the policy protects around them, and what is around them is walked."""
    around = ObjectId(Kind.PATH, "/var/lib")
    outer, own, journal = Inode(DEVICE, 900), Inode(DEVICE, 901, version=7), Inode(DEVICE, 902)
    host = replace(
        facts((SELECTOR,), (), [DataObject(around, (outer,), "/var/lib")]),
        own=(OwnFile("/var/lib/enforcer", own), OwnFile("/var/log/enforcer", journal, journal=True)),
    )
    policy = Policy(Mode.MONITOR, protected=(DataTarget(Kind.PATH, "/var/lib"),))
    image, ids = built(policy, host)
    assert image.objects[InodeKey(900, DEVICE, 1)] == Object(ids.object(around), 1, 0)
    assert image.objects[InodeKey(901, DEVICE, 1)] == Object(Special.OWN, 1, 7)
    subject = ids.subject(SELECTOR.id)

    def verdict(inode: Inode, asked: Access) -> Verdict:
        return judge_file(image, subject=subject, inodes=[inode, outer], asked=asked).verdict

    assert (verdict(own, R), verdict(journal, R)) == (Verdict.DENIED, Verdict.ALLOWED)
    assert verdict(journal, W) is Verdict.DENIED
    assert verdict(outer, W) is Verdict.OBSERVED


def test_hard_links_are_their_objects_and_disks_are_all_that_is_on_them():
    """A file with a name elsewhere answers as the object wherever it is opened; the disk beneath is known as a device."""
    [first, *others] = GUIDE_OBJECTS
    linked = replace(first, links=(Inode(DEVICE, 950, version=3),))
    image, ids = built(GUIDE, replace(facts((SELECTOR,), (), [linked, *others]), disks=frozenset({DEVICE + 1})))
    assert image.objects[InodeKey(950, DEVICE, 1)] == Object(ids.object(first.id), 0, 3)
    assert DeviceKey(1, DEVICE + 1) in image.tables[Table.FILESYSTEMS]
    unlooked = [replace(first, unlooked=True)]
    assert any("too many files" in w for w in built(GUIDE, facts((SELECTOR,), (), unlooked))[0].warnings)


def test_a_short_container_id_is_our_bug():
    """An id that is not what Docker writes would silently never match in the kernel."""
    with pytest.raises(AbiError, match="64 hex digits"):
        built(GUIDE, facts((replace(SELECTOR, id="abc"),)))


# --- network ----------------------------------------------------------------------------------------------------------


def oracle_net(policy, host, image: Image, *, ids, who, address: str, port: int, protocol: int) -> tuple[bool, Mode]:
    """May ``who`` connect there, and in which mode? Who holds an address is taken from the image."""
    rules = [r for r in policy.net_rules if set(r.who) & named(policy, who)]
    own = {a.network for a in who.attachments}
    internal = {n.name for n in host.networks.values() if n.internal} | set(policy.internal)
    confined = bool(own) and own <= internal
    mode = max((policy.mode if r.mode is None else r.mode for r in rules), default=policy.mode)
    unknown = who.foreseen and bool(policy.net_rules or policy.internal)
    where = ip_address(address)
    holder = image.endpoints.get(EndpointKey(packed(address), image.generation))
    if where.is_loopback or where.is_unspecified or (holder and holder.subject == ids.subject(who.id)):
        return True, mode
    if unknown:
        return False, mode
    if not rules and not confined:
        return True, mode
    peer = host.containers.get(ids.container_of(holder.subject) or "") if holder else None
    place = next((n.name for n in host.networks.values() if holder and ids.network(n.id) == holder.network), "")
    targets = [t for r in rules for t in r.connect] if rules else [ToNetwork(n) for n in own]

    def reaches(target) -> bool:
        if not any(p.protocol in (0, protocol) and p.first <= port <= p.last for p in target.ports):
            return False
        match target:
            case ToNetwork():
                return peer is not None and place == target.network and (not confined or place in own)
            case ToContainer(container=name):
                meant = peer and (name in named(policy, peer) if name in policy.containers else peer.name == name)
                return bool(meant) and (not confined or bool(own & {a.network for a in peer.attachments}))
            case ToHost():
                return holder is not None and holder.subject == Reserved.HOST and place in own
            case ToCidr():
                inside = any(where in s for n in own if n in host.networks for s in host.networks[n].subnets)
                return (
                    where in target.cidr and not any(where in e for e in target.excluded) and (inside or not confined)
                )

    return any(reaches(t) for t in targets), mode


@settings(deadline=None, max_examples=400)
@given(policy=policies, host=hosts())
def test_every_connection_is_judged_as_the_policy_says(policy, host):
    """For each container, address, protocol and port the kernel's answer is that of a naive reading."""
    image, ids = built(policy, host)
    for who in host.containers.values():
        for address in ADDRESSES:
            for protocol, port in PORTS:
                found = judge_net(image, subject=ids.subject(who.id), address=address, protocol=protocol, port=port)
                expected = oracle_net(
                    policy, host, image, ids=ids, who=who, address=address, port=port, protocol=protocol
                )
                assert ((found.verdict is Verdict.ALLOWED), found.mode) == expected


@pytest.mark.parametrize(
    ("who", "address", "port", "verdict"),
    [
        (SELECTOR, "172.21.0.12", 8080, Verdict.ALLOWED),
        (SELECTOR, "172.21.0.1", 22, Verdict.DENIED),
        (SELECTOR, "203.0.113.10", 443, Verdict.DENIED),
        (SELECTOR, "172.22.0.50", 5432, Verdict.DENIED),
        (ORCHESTRATOR, "172.22.0.50", 5432, Verdict.ALLOWED),
        (ORCHESTRATOR, "172.22.0.50", 22, Verdict.DENIED),
        (WORKSTATION, "203.0.113.10", 443, Verdict.ALLOWED),
        (WORKSTATION, "203.0.113.10", 80, Verdict.DENIED),
        (WORKSTATION, "169.254.169.254", 443, Verdict.DENIED),
        (DATABASE, "172.22.0.30", 80, Verdict.DENIED),
        (STRANGER, "203.0.113.10", 80, Verdict.ALLOWED),
        (LURKER, "172.21.0.12", 80, Verdict.ALLOWED),
        (LURKER, "203.0.113.10", 80, Verdict.DENIED),
        (LURKER, "172.21.0.1", 80, Verdict.DENIED),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_the_guides_network(who, address, port, verdict):
    """The guide's segmentation holds: agents among themselves, the gateway out, the unnamed on its internal network."""
    assert guide_net(who, address, port).verdict is verdict


def test_what_an_attempt_is_counted_for():
    """Outside counts for the internal network that would have been left; inside for the network that it is on."""
    _, ids = built(GUIDE, GUIDE_FACTS)
    internal, database = ids.network("n-internal"), ids.network("n-database")
    outside = guide_net(SELECTOR, "203.0.113.10")
    assert (outside.external, outside.network, outside.peer) == (True, internal, 0)
    gateway = guide_net(SELECTOR, "172.21.0.1")
    assert (gateway.external, gateway.network, gateway.host) == (False, internal, True)
    nobody = guide_net(DATABASE, "172.22.0.99")
    assert (nobody.external, nobody.network, nobody.peer) == (False, database, 0)
    peer = guide_net(DATABASE, "172.22.0.30")
    assert (peer.external, peer.network, peer.peer) == (False, database, ids.subject(ORCHESTRATOR.id))
    assert guide_net(ORCHESTRATOR, "203.0.113.10").network == database
    assert guide_net(WORKSTATION, "203.0.113.10", 80).network == internal


def test_a_mapped_address_is_ipv4():
    """::ffff:a.b.c.d is judged as a.b.c.d, in what is asked and in what a rule says."""
    assert guide_net(WORKSTATION, "::ffff:203.0.113.10", 443).verdict is Verdict.ALLOWED
    rules = (NetRule("r", ("agents",), (ToCidr(ip_network("::ffff:203.0.113.0/120")),)),)
    open_agent = replace(SELECTOR, attachments=())
    host = replace(GUIDE_FACTS, containers={open_agent.id: open_agent})
    assert guide_net(open_agent, "203.0.113.10", policy=replace(GUIDE, net_rules=rules), host=host).verdict == 0


def test_all_of_ipv6_is_not_ipv4():
    """A grant of ::/0 holds no IPv4 address, although IPv4 lies within the same 128 bits."""
    rules = (NetRule("r", ("gateway",), (ToCidr(ip_network("::/0")),)),)
    policy = replace(GUIDE, net_rules=rules)
    assert guide_net(WORKSTATION, "2001:db8::1", policy=policy).verdict is Verdict.ALLOWED
    assert guide_net(WORKSTATION, "203.0.113.10", policy=policy).verdict is Verdict.DENIED


def test_a_named_container_on_internal_networks_stays_there():
    """A CIDR grant is cut to its own subnets, a foreign network is not granted, and both are said."""
    rules = (
        NetRule("network.rules[0]", ("agents",), (ToCidr(ip_network("0.0.0.0/0")), ToNetwork("public"))),
        NetRule("network.rules[1]", ("agents",), (ToContainer("stranger"),)),
    )
    policy = replace(GUIDE, net_rules=rules)
    image, _ = built(policy, GUIDE_FACTS)
    assert guide_net(SELECTOR, "172.21.0.12", policy=policy).verdict is Verdict.ALLOWED
    assert guide_net(SELECTOR, "203.0.113.10", policy=policy).verdict is Verdict.DENIED
    assert guide_net(SELECTOR, "172.20.0.60", policy=policy).verdict is Verdict.DENIED
    cut = [w for w in image.warnings if "internal networks only (mcp-internal)" in w]
    assert [w.split(" is not")[0] for w in cut] == [
        "network.rules[0]: cidr 0.0.0.0/0 beyond their own subnets",
        "network.rules[0]: network 'public'",
        "network.rules[1]: container 'stranger'",
    ]


def test_docker_says_internal_too():
    """A network that only Docker calls internal confines as one that the policy names."""
    policy = replace(GUIDE, internal=())
    assert guide_net(LURKER, "203.0.113.10", policy=policy).verdict is Verdict.DENIED
    open_networks = {n.name: replace(n, internal=False) for n in GUIDE_NETWORKS}
    host = replace(GUIDE_FACTS, networks=open_networks)
    assert guide_net(LURKER, "203.0.113.10", policy=policy, host=host).verdict is Verdict.ALLOWED


def test_containers_with_the_same_grants_share_a_profile():
    """The rows of a profile are written once, however many containers have it."""
    image, ids = built(GUIDE, GUIDE_FACTS)
    profile = {c.name: image.net_subjects[NetKey(1, ids.subject(c.id))].profile for c in (SELECTOR, BACKEND, LURKER)}
    assert len(set(profile.values())) == 1
    assert image.net_subjects[NetKey(1, ids.subject(DATABASE.id))].profile not in profile.values()


def test_places():
    """Addresses lead to who holds them, subnets to their network, and members are written down."""
    six = Network("n6", "six", False, (ip_network("fd00:6::/64"),), ("fd00:6::1",))
    who = replace(container(7, "x"), attachments=(Attachment("six", ("fd00:6::7",)),))
    image, ids = built(GUIDE, facts((who,), (six,)), generation=2)
    number, subject = ids.network("n6"), ids.subject(who.id)
    assert image.endpoints == {
        EndpointKey(packed("fd00:6::7"), 2): Endpoint(subject, number),
        EndpointKey(packed("fd00:6::1"), 2): Endpoint(Reserved.HOST, number),
    }
    assert image.subnets == {SubnetKey(32 + 64, 2, packed("fd00:6::")): number}
    assert image.tables[Table.MEMBERS] == {MemberKey(2, subject, number): 1}


def test_an_address_claimed_twice_is_said():
    """The host keeps its address, then running containers keep theirs; whoever claims it too is warned about."""
    thief = replace(container(8, "aaa", mcp_internal="172.21.0.11"), pid=0)
    bridge = container(9, "zzz", mcp_internal="172.21.0.1")
    image, ids = built(GUIDE, facts((SELECTOR, thief, bridge), GUIDE_NETWORKS))
    assert image.endpoints[EndpointKey(packed("172.21.0.11"), 1)].subject == ids.subject(SELECTOR.id)
    assert image.endpoints[EndpointKey(packed("172.21.0.1"), 1)].subject == Reserved.HOST
    assert [w.split(":")[0] for w in image.warnings if "belongs to another" in w] == [
        "container 'zzz'",
        "container 'aaa'",
    ]


def test_unnamed_and_canary_on_the_network():
    """A container that the agent has not heard of may connect nowhere if the policy speaks of the network, nor the canary."""
    image, _ = built(GUIDE, GUIDE_FACTS)
    verdicts = [
        judge_net(image, subject=who, address="203.0.113.10", protocol=UDP, port=53).verdict
        for who in (Reserved.UNNAMED, Reserved.CANARY, 12345)
    ]
    assert verdicts == [Verdict.DENIED, Verdict.DENIED, Verdict.DENIED]
    silent, _ = built(replace(GUIDE, net_rules=(), internal=()), GUIDE_FACTS)
    found = judge_net(silent, subject=Reserved.UNNAMED, address="203.0.113.10", protocol=UDP, port=53)
    assert found.verdict is Verdict.ALLOWED


# --- prefixes and ports -----------------------------------------------------------------------------------------------

_v4 = st.builds(lambda a, n: ip_network((f"10.0.0.{a}", n), strict=False), st.integers(0, 15), st.integers(26, 32))
_v6 = st.builds(lambda a, n: ip_network((f"fd00::{a:x}", n), strict=False), st.integers(0, 15), st.integers(122, 128))
_wide = st.sampled_from([ip_network(t) for t in ("0.0.0.0/0", "::/0", "::/64", "::/80", "10.0.0.0/28")])
_prefixes = _v4 | _v6 | _wide
_grants = st.builds(
    CidrGrant,
    cidr=_prefixes,
    excluded=st.lists(_prefixes, max_size=2).map(tuple),
    ranges=st.integers(1, 3).map(lambda port: (Range(10 * port, 10 * port, TCP),)),
)
_addresses = st.builds(
    ip_address, st.integers(0, 15).map(lambda a: f"10.0.0.{a}") | st.sampled_from(["11.0.0.1", "::2"])
)


@settings(deadline=None, max_examples=300)
@given(grants=st.lists(_grants, max_size=6), address=_addresses)
def test_the_longest_prefix_holds_the_sum(grants, address):
    """The one answer of the longest prefix is the union of all grants that hold at the address."""
    here = int(ip_network(address).network_address) | (0xFFFF << 32 if address.version == 4 else 0)
    table = spread(grants)
    holding = [slot for slot in table if here >> (128 - slot.bits) == slot.start >> (128 - slot.bits)]
    longest = table[max(holding, key=lambda slot: slot.bits)] if holding else ()
    wanted = [g for g in grants if address in g.cidr and not any(address in e for e in g.excluded)]
    assert longest == merge(frozenset(r for g in wanted for r in g.ranges))


def test_a_hundred_thousand_exceptions_take_one_pass():
    """Work grows with the number of prefixes, not with its square: the slots made are counted, not the time."""
    excluded = tuple(ip_network((i << 8, 32)) for i in range(100_000))
    everything = CidrGrant(ip_network("0.0.0.0/0"), excluded, (Range(443, 443, TCP),))
    table = spread([everything])
    assert len(table) == 100_001
    assert table[slot_of(excluded[5])] == ()


_ranges = st.builds(
    lambda first, span, protocol: Range(first, min(65535, first + span), protocol),
    st.integers(0, 20),
    st.integers(0, 5),
    st.sampled_from([0, 6, 17]),
)


@given(ranges=st.frozensets(_ranges, max_size=8))
def test_merged_ports_are_the_same_ports_in_fewer_ranges(ranges):
    """Merging changes no answer, leaves no two ranges of a protocol that touch, and is its own fixed point."""
    merged = merge(ranges)
    for protocol in (6, 17, 1):
        for port in range(30):
            before = any(r.protocol in (0, protocol) and r.first <= port <= r.last for r in ranges)
            assert before is any(r.protocol in (0, protocol) and r.first <= port <= r.last for r in merged)
    assert all(a.last + 1 < b.first for a, b in pairwise(merged) if a.protocol == b.protocol)
    assert merge(frozenset(merged)) == merged


def test_more_ranges_than_a_row_holds():
    """What does not fit is not granted, and said: in one grant and in the sum of several."""
    single = ToNetwork("mcp-internal", tuple(PortRange(p, p, TCP) for p in range(10, 60, 2)))
    sums = [ToCidr(ip_network("203.0.113.0/24"), (), tcp(p)) for p in range(10, 60, 2)]
    rules = (NetRule("network.rules[0]", ("gateway",), (single, *sums)),)
    policy = replace(GUIDE, net_rules=rules)
    image, _ = built(policy, GUIDE_FACTS)
    assert guide_net(WORKSTATION, "172.21.0.12", 10, policy=policy).verdict is Verdict.ALLOWED
    assert guide_net(WORKSTATION, "172.21.0.12", 58, policy=policy).verdict is Verdict.DENIED
    assert guide_net(WORKSTATION, "203.0.113.7", 58, policy=policy).verdict is Verdict.DENIED
    assert all(ports.count <= MAX_RANGES for ports in (*image.net_rows.values(), *image.cidrs.values()))
    assert [w for w in image.warnings if "25 port ranges" in w and "network.rules[0]" in w]
    assert [w for w in image.warnings if "a cidr is granted 25 port ranges" in w]


def test_cidr_keys_match_generation_and_profile_whole():
    """The prefix length counts the 64 bits before the address, and IPv4 the 96 bits of its mapping."""
    image, ids = built(GUIDE, GUIDE_FACTS, generation=3)
    profile = image.net_subjects[NetKey(3, ids.subject(WORKSTATION.id))].profile
    assert set(image.cidrs) == {
        CidrKey(64 + 96, 3, profile, packed("0.0.0.0")),  # noqa: S104 -- a prefix
        CidrKey(64 + 128, 3, profile, packed("169.254.169.254")),
    }


# --- reasons and warnings ---------------------------------------------------------------------------------------------


def test_reasons_name_the_rules():
    """An event can say which rules its row comes from, and for the network which rules name the container."""
    image, ids = built(GUIDE, GUIDE_FACTS)
    subject = ids.subject(SELECTOR.id)
    assert image.reasons[subject, ids.object(ObjectId(Kind.VOLUME, "mcp-01-selector-config"))] == ("data.rules[0]",)
    assert image.reasons[subject, NET] == ("network.rules[0]",)
    assert (ids.subject(STRANGER.id), NET) not in image.reasons


def test_the_guides_policy_has_nothing_to_warn_about():
    """On the host that it was written for, a policy is silent."""
    assert built(GUIDE, GUIDE_FACTS)[0].warnings == ()


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"protected": (volume("nope-*"),)}, "data.protected[0]: volume 'nope-*' matches nothing on this host"),
        (
            {"protected": (DataTarget(Kind.PATH, "/srv/x"),)},
            "data.protected[0]: path '/srv/x' does not exist on this host",
        ),
        (
            {"data_rules": (DataRule("data.rules[0]", ("agents",), (volume("scratch"),)),)},
            "data.rules[0]: volume 'scratch' is not protected: any container may touch it",
        ),
        ({"internal": ("moon",)}, "network.internal: there is no network 'moon' on this host"),
        (
            {"net_rules": (NetRule("network.rules[0]", ("gateway",), (ToNetwork("moon"),)),)},
            "network.rules[0]: there is no network 'moon' on this host: no grant",
        ),
        (
            {"net_rules": (NetRule("network.rules[0]", ("nobody",), (ToContainer("moon"),)),)},
            "network.rules[0]: there is no container 'moon' on this host: no grant",
        ),
        (
            {
                "containers": {"gateway": Selector(name="workstation"), "database": Selector(name="db-*")},
                "net_rules": (NetRule("network.rules[0]", ("gateway",), (ToContainer("database"),)),),
            },
            "network.rules[0]: 'database' means what containers.database selects, "
            "and the container 'database' is not among it",
        ),
        (
            {
                "containers": {"gateway": Selector(name="workstation"), "none": Selector(name="none")},
                "net_rules": (NetRule("network.rules[0]", ("gateway",), (ToContainer("none"),)),),
            },
            "network.rules[0]: containers.none selects no container on this host: no grant",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_is_accepted_but_does_nothing_is_said(change, warning):
    """Whatever the policy says and this host cannot hold becomes a line for the operator."""
    assert warning in built(replace(GUIDE, **change), GUIDE_FACTS)[0].warnings


def test_an_object_without_a_directory_is_said():
    """A protected volume whose directory does not exist yet is guarded by nothing, and that is no secret."""
    bare = data_object(Kind.VOLUME, "mcp-new")
    assert any("'mcp-new' has no directory yet" in w for w in built(GUIDE, facts((), (), (bare,)))[0].warnings)


def test_the_hosts_own_address_needs_a_rule_of_its_own():
    """A network grant holds no bridge gateway; a host grant does, on its ports only."""
    rules = (NetRule("r", ("agents",), (ToNetwork("mcp-internal"), ToHost(tcp(53)))),)
    policy = replace(GUIDE, net_rules=rules)
    assert guide_net(SELECTOR, "172.21.0.1", 53, policy=policy).verdict is Verdict.ALLOWED
    assert guide_net(SELECTOR, "172.21.0.1", 22, policy=policy).verdict is Verdict.DENIED
    assert guide_net(SELECTOR, "172.21.0.12", 22, policy=policy).verdict is Verdict.ALLOWED


def test_overlapping_subnets_are_said():
    """Two networks with one subnet: the first by name answers for it, and the other is warned about."""
    twin = Network("n-twin", "twin", False, (ip_network("172.21.0.0/16"),))
    image, ids = built(GUIDE, facts((), (*GUIDE_NETWORKS, twin)))
    assert image.subnets[SubnetKey(32 + 96 + 16, 1, packed("172.21.0.0"))] == ids.network("n-internal")
    assert "network 'twin': another network has the subnet 172.21.0.0/16 too" in image.warnings


@pytest.mark.parametrize(
    ("subnet", "inside", "outside"), [("10.0.0.0/8", "10.255.1.2", "11.0.0.1"), ("10.9.8.7/32", "10.9.8.7", "10.9.8.8")]
)
def test_subnets_of_any_size(subnet, inside, outside):
    """An attempt is inside a network that has the address, however wide or narrow it is."""
    odd = Network("n-odd", "odd", True, (ip_network(subnet),))
    inmate = container(7, "inmate", odd="10.9.8.7")
    image, ids = built(GUIDE, facts((inmate,), (odd,)))
    found = [judge_net(image, subject=ids.subject(inmate.id), address=a, protocol=6, port=1) for a in (inside, outside)]
    assert [f.external for f in found] == [False, True]


def test_a_container_with_two_addresses_is_reached_at_both():
    """A grant by name holds for every address that the container has, on whichever network, of either family."""
    far = replace(
        BACKEND,
        attachments=(
            Attachment("database", ("172.22.0.9", "2001:db8::9")),
            Attachment("mcp-internal", ("172.21.0.9",)),
        ),
    )
    policy = replace(GUIDE, net_rules=(NetRule("r", ("agents",), (ToContainer(far.name, tcp(443)),)),), internal=())
    networks = tuple(replace(n, internal=False) for n in GUIDE_NETWORKS)
    image, ids = built(policy, facts((SELECTOR, far), networks))
    for address in ("172.22.0.9", "2001:db8::9", "172.21.0.9"):
        found = judge_net(image, subject=ids.subject(SELECTOR.id), address=address, protocol=6, port=443)
        assert found.verdict is Verdict.ALLOWED


def test_a_network_that_is_removed_while_it_is_in_use():
    """What is attached to it may reach nothing by it, and is confined no less for it."""
    image, ids = built(GUIDE, facts((SELECTOR, BACKEND), ()))
    for address in ("172.21.0.12", "203.0.113.1"):
        found = judge_net(image, subject=ids.subject(SELECTOR.id), address=address, protocol=6, port=443)
        assert found.verdict is Verdict.DENIED


def test_a_rule_without_ports_opens_all():
    """A grant that names no port holds for every protocol, ICMP too."""
    assert ToNetwork("x").ports == (ANY_PORT,)
    assert guide_net(SELECTOR, "172.21.0.12", 0, protocol=1).verdict is Verdict.ALLOWED
    assert container_id(1) == SELECTOR.id
