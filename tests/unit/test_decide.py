"""The decision without a kernel, case by case."""

from __future__ import annotations

import pytest

from enforcer.core.address import packed
from enforcer.core.decide import decide, judge_file, judge_net, judge_object, ports_allow
from enforcer.core.ids import Reserved
from enforcer.core.image import (
    MAX_RANGES,
    CidrKey,
    DockerId,
    Endpoint,
    EndpointKey,
    Image,
    InodeKey,
    MemberKey,
    NetKey,
    NetRowKey,
    NetSubject,
    Object,
    Ports,
    Range,
    Row,
    RowKey,
    SubnetKey,
    Table,
    Target,
    docker_id,
)
from enforcer.core.model import Access, Inode, Mode, Verdict

SUBJECT, PEER, OBJECT, NETWORK, PROFILE = 16, 17, 18, 19, 20
WEB = Ports(1, (Range(80, 80, 6),))
NOTHING = Ports(0, ())


def data_image(*rows: tuple[int, Row], generation: int = 1) -> Image:
    """One object at inode 5 of device 1, and the rows of the subject."""
    return Image(
        1,
        tables={
            Table.OBJECTS: {InodeKey(5, 1, generation): Object(OBJECT, 0)},
            Table.ROWS: {RowKey(generation, SUBJECT, number): row for number, row in rows},
        },
    )


def net_image(rows=None, cidrs=None, *, regime: int = 1, mode: Mode = Mode.ENFORCE) -> Image:
    """A subject at 10.0.0.2 and a peer at 10.0.0.3 on a network with the bridge 10.0.0.1."""
    places = {"10.0.0.2": SUBJECT, "10.0.0.3": PEER, "10.0.0.1": int(Reserved.HOST)}
    return Image(
        1,
        tables={
            Table.NET_SUBJECTS: {NetKey(1, SUBJECT): NetSubject(PROFILE, 99, regime, mode)},
            Table.NET_ROWS: {NetRowKey(1, PROFILE, *key): ports for key, ports in (rows or {}).items()},
            Table.CIDRS: {CidrKey(64 + 96 + bits, 1, PROFILE, packed(a)): p for (a, bits), p in (cidrs or {}).items()},
            Table.ENDPOINTS: {EndpointKey(packed(a), 1): Endpoint(s, NETWORK) for a, s in places.items()},
            Table.SUBNETS: {SubnetKey(32 + 96 + 24, 1, packed("10.0.0.0")): NETWORK},
            Table.MEMBERS: {MemberKey(1, SUBJECT, NETWORK): 1},
        },
    )


def net_verdict(image: Image, address: str, *, subject: int = SUBJECT, protocol: int = 6, port: int = 80) -> Verdict:
    """The verdict alone."""
    return judge_net(image, subject=subject, address=address, protocol=protocol, port=port).verdict


@pytest.mark.parametrize("mode", Mode)
def test_what_is_granted_is_allowed_in_every_mode(mode):
    """The mode speaks only about what is not granted."""
    assert decide(Access.READ | Access.EXEC, Access.READ, mode) is Verdict.ALLOWED


def test_one_bit_too_many_is_too_many():
    """An access is allowed as a whole or not at all."""
    assert decide(Access.READ, Access.READ | Access.WRITE, Mode.ENFORCE) is Verdict.DENIED
    assert decide(Access.READ, Access.READ | Access.WRITE, Mode.MONITOR) is Verdict.OBSERVED


def test_a_file_in_no_object_is_free():
    """What the policy does not protect is nobody's business."""
    image = data_image((0, Row(0, 1)))
    found = judge_file(image, subject=SUBJECT, inodes=[Inode(1, 6), Inode(1, 7)], asked=Access.WRITE)
    assert (found.verdict, found.object) == (Verdict.ALLOWED, 0)


def test_an_object_of_another_generation_is_not_there():
    """Rows that are not published yet answer nothing."""
    image = data_image((0, Row(0, 1)), generation=2)
    assert judge_file(image, subject=SUBJECT, inodes=[Inode(1, 5)], asked=Access.READ).object == 0


def test_its_row_then_the_default_row_then_nothing():
    """A subject without a row for the object falls back on its default row; without that it is denied."""
    row, default = (OBJECT, Row(Access.READ, Mode.ENFORCE)), (0, Row(0, Mode.MONITOR))
    answers = [
        judge_object(data_image(*rows), subject=SUBJECT, number=OBJECT, asked=Access.READ)
        for rows in ([row, default], [default], [])
    ]
    assert [a.verdict for a in answers] == [Verdict.ALLOWED, Verdict.OBSERVED, Verdict.DENIED]
    assert [a.granted for a in answers] == [Access.READ, Access.NONE, Access.NONE]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "::", "0.0.0.0", "::ffff:127.0.0.1", "10.0.0.2"],  # noqa: S104 -- a destination
)
def test_what_stays_within_the_container_is_free(address):
    """Loopback, the unspecified address and the container's own need no grant, even where nothing is granted."""
    assert net_verdict(net_image(), address) is Verdict.ALLOWED


def test_a_subject_without_a_network_row_is_denied():
    """Who is governed and has no row gets nothing but loopback, as in the kernel."""
    found = judge_net(net_image(), subject=77, address="10.0.0.3", protocol=6, port=80)
    assert (found.verdict, found.mode, found.external) == (Verdict.DENIED, Mode.ENFORCE, True)
    assert net_verdict(net_image(), "127.0.0.1", subject=77) is Verdict.ALLOWED


def test_who_is_not_governed_may_go_anywhere():
    """No network rule concerns it."""
    assert net_verdict(net_image(regime=0), "203.0.113.10") is Verdict.ALLOWED


def test_monitor_lets_through_and_says_so():
    """In monitor mode an attempt is observed, not denied."""
    assert net_verdict(net_image(mode=Mode.MONITOR), "203.0.113.10") is Verdict.OBSERVED


@pytest.mark.parametrize(
    ("address", "to_network", "to_subject", "verdict"),
    [
        ("10.0.0.3", WEB, None, Verdict.ALLOWED),
        ("10.0.0.3", None, (PEER, WEB), Verdict.ALLOWED),
        ("10.0.0.3", NOTHING, (PEER, WEB), Verdict.ALLOWED),
        ("10.0.0.3", None, (PEER + 1, WEB), Verdict.DENIED),
        ("10.0.0.1", WEB, None, Verdict.DENIED),
        ("10.0.0.1", None, (int(Reserved.HOST), WEB), Verdict.ALLOWED),
        ("10.0.0.9", WEB, None, Verdict.DENIED),
    ],
)
def test_grants_by_network_and_by_container_add_up(address, to_network, to_subject, verdict):
    """A network grant holds for its containers but not for the host on it or for an address that nobody has."""
    rows = {}
    if to_network is not None:
        rows[Target.TO_NETWORK, NETWORK] = to_network
    if to_subject is not None:
        rows[Target.TO_SUBJECT, to_subject[0]] = to_subject[1]
    assert net_verdict(net_image(rows), address) is verdict


def test_only_the_longest_prefix_answers():
    """An exception inside a granted prefix is denied, a grant inside the exception is allowed again."""
    cidrs = {("203.0.0.0", 8): WEB, ("203.0.113.0", 24): NOTHING, ("203.0.113.7", 32): WEB}
    image = net_image(cidrs=cidrs)
    assert [net_verdict(image, a) for a in ("203.1.1.1", "203.0.113.1", "203.0.113.7")] == [
        Verdict.ALLOWED,
        Verdict.DENIED,
        Verdict.ALLOWED,
    ]


def test_an_exception_takes_nothing_from_a_container_grant():
    """CIDR exceptions limit that CIDR grant only."""
    image = net_image({(Target.TO_SUBJECT, PEER): WEB}, {("0.0.0.0", 0): WEB, ("10.0.0.3", 32): NOTHING})  # noqa: S104 -- a destination
    assert net_verdict(image, "10.0.0.3") is Verdict.ALLOWED


@pytest.mark.parametrize(("protocol", "port", "allowed"), [(6, 80, True), (17, 80, False), (6, 81, False)])
def test_protocol_and_port_must_match(protocol, port, allowed):
    """80/tcp is neither 80/udp nor 81/tcp."""
    assert ports_allow(WEB, protocol, port) is allowed


def test_malformed_ports_grant_nothing():
    """A count past the array is no value that the agent writes."""
    assert not ports_allow(Ports(MAX_RANGES + 1, (Range(0, 65535, 0),)), 6, 80)


def test_inside_and_outside():
    """Outside is counted for the home network; inside for the network of the address, with its holder."""
    image = net_image()
    inside = judge_net(image, subject=SUBJECT, address="10.0.0.3", protocol=6, port=80)
    nobody = judge_net(image, subject=SUBJECT, address="10.0.0.200", protocol=6, port=80)
    outside = judge_net(image, subject=SUBJECT, address="10.0.1.1", protocol=6, port=80)
    bridge = judge_net(image, subject=SUBJECT, address="10.0.0.1", protocol=6, port=80)
    assert (inside.external, inside.network, inside.peer, inside.host) == (False, NETWORK, PEER, False)
    assert (nobody.external, nobody.network, nobody.peer) == (False, NETWORK, 0)
    assert (outside.external, outside.network, outside.peer) == (True, 99, 0)
    assert (bridge.external, bridge.peer, bridge.host) == (False, Reserved.HOST, True)


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("10.1.2.3", b"\xff\xff\x0a\x01\x02\x03"),
        ("::ffff:10.1.2.3", b"\xff\xff\x0a\x01\x02\x03"),
        ("fe80::1%eth0", b"\x01"),
    ],
)
def test_addresses_are_sixteen_bytes(text, last):
    """Both families are one in the kernel; a scope is not part of an address."""
    assert len(packed(text)) == 16
    assert packed(text).endswith(last)
    assert packed(packed(text)) == packed(text)


@pytest.mark.parametrize("wrong", ["10.0.0.256", "", "host", b"\x7f\x00\x00\x01"])
def test_what_is_no_address_is_refused(wrong):
    """An address is never guessed."""
    with pytest.raises(ValueError, match=r"address|16 bytes"):
        packed(wrong)


def test_a_docker_id_is_its_digits():
    """The kernel compares the 64 digits as Docker writes them."""
    assert docker_id("ab" * 32) == DockerId(b"ab" * 32)
