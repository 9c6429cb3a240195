"""What no call is judged for, on a wire: raw and packet sockets, ICMP, other protocols, flows from before, answers, quarantine.

The ground truth is counted by nftables in the namespace at the other end: what our counters say was stopped did not arrive.
"""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.model import Hook, Mechanism, Verdict
from enforcer.runtime.records import address_of
from tests.kernel.wire import FAR, NEAR, OTHER, SCTP, Wire, packets, say

KINDS = [("raw", "1"), ("raw", "255"), ("raw6", "58"), ("packet", "3")]


@pytest.mark.parametrize(("kind", "protocol"), KINDS)
def test_who_is_not_granted_them_gets_no_raw_and_no_packet_socket(wire: Wire, kind: str, protocol: str) -> None:
    """Refused when it is made, counted and recorded once; whoever no rule names gets one."""
    wire.allow()
    seen = wire.do("alpha", "make-socket", kind, protocol)
    packet = kind == "packet"
    killed = packet and wire.world.held("packet") is Mechanism.TRACEPOINT
    verdict = Verdict.KILLED if killed else Verdict.DENIED
    assert seen.code == (-signal.SIGKILL if killed else 77), seen.said
    peer = Reserved.PACKET_SOCKET if packet else Reserved.RAW_SOCKET
    assert seen.counts == {(wire.world.subject("alpha"), 0, peer, abi.INSIDE, 8, verdict, Hook.SOCKET): 1}
    [record] = seen.records
    assert (record.hook, record.peer, record.verdict) == (Hook.SOCKET, peer, verdict)
    assert wire.do("stranger", "make-socket", kind, protocol).code == 0
    assert wire.do("watched", "make-socket", kind, protocol).code == 0


def test_what_a_rule_grants(wire: Wire) -> None:
    """A rule grants kinds of socket; with ICMP come the raw sockets that ping needs, and no other kind."""
    wire.allow(sockets="[raw, packet]")
    assert [wire.do("alpha", "make-socket", kind, protocol).code for kind, protocol in KINDS] == [0, 0, 0, 0]
    wire.allow("[icmp]")
    assert [wire.do("alpha", "make-socket", kind, protocol).code == 0 for kind, protocol in KINDS] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_pings_are_judged_packet_by_packet(wire: Wire, version: int) -> None:
    """With ICMP granted to one address, a ping arrives there and nowhere else; a datagram does not."""
    wire.allow("[icmp]")
    before, name = wire.arrived(), ("icmp", "icmpv6")[version]
    assert wire.do("alpha", "ping", FAR[version]).code == 0
    seen = wire.do("alpha", "ping", OTHER[version])
    assert seen.code == 77, seen.said
    [record] = seen.records
    assert (record.hook, record.protocol, record.class_) == (Hook.EGRESS, (1, 58)[version], abi.EXTERNAL)
    assert wire.do("alpha", "sendto", FAR[version], "9").code == 77
    assert wire.arrived()[name] - before[name] == 1


def test_other_protocols_are_judged_with_their_ports(wire: Wire) -> None:
    """SCTP goes to the granted port only; many packets of one flow are one attempt, and each is counted as a packet."""
    wire.allow("[5000/sctp]", sockets="[raw]")
    before, stopped = wire.arrived(), packets(wire.world)
    assert wire.do("alpha", "raw", FAR[0], str(SCTP), "5000").code == 0
    seen = wire.do("alpha", "raw", FAR[0], str(SCTP), "5001", "7")
    assert seen.code == 77, seen.said
    assert (sum(seen.counts.values()), len(seen.records), packets(wire.world) - stopped) == (1, 1, 7)
    [record] = seen.records
    assert (record.hook, record.protocol, record.port) == (Hook.EGRESS, SCTP, 5001)
    assert wire.arrived()["sctp"] - before["sctp"] == 1


def test_one_attempt_is_counted_once_however_often_it_is_made(wire: Wire) -> None:
    """A socket that sends the same again and again makes one attempt; the next socket makes another."""
    wire.allow()
    for _ in range(2):
        seen = wire.do("beta", "send-again", FAR[0], "53", "100")
        assert seen.said.strip() == "100"
        assert (sum(seen.counts.values()), len(seen.records)) == (1, 1)
    observed = wire.do("watched", "send-again", FAR[0], "53", "100")
    assert observed.said.strip() == "0"
    assert (sum(observed.counts.values()), len(observed.records)) == (1, 1)


def test_a_change_elsewhere_makes_no_new_attempt(wire: Wire) -> None:
    """What is refused, or only watched, is judged anew when the policy changes; the same answer again is not counted again."""
    wire.allow()
    for who in ("beta", "watched"):
        with wire.running(who, "resend", FAR[0], "53") as sender:
            before = wire.counted(who)
            answers = {say(sender, "one")}
            for port in (445, 446, 447):
                wire.allow(f"[{port}/tcp]")
                answers.add(say(sender, "again"))
            assert answers == {"EPERM" if who == "beta" else "sent"}
            assert wire.counted(who) == before + 1


@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_a_flow_older_than_the_policy_is_judged(wire: Wire, version: int) -> None:
    """An open connection that a new policy does not allow is cut off at its next packet, counted once, as often as it is sent."""
    wire.allow("[443/tcp]")
    with (
        wire.running("", "serve", FAR[version], "443", "tcp", at=wire.far),
        wire.running("alpha", "talk", FAR[version], "443") as talker,
    ):
        assert say(talker, "one") == "one"
        wire.allow("[444/tcp]")
        wire.world.read()
        stopped = packets(wire.world)
        assert say(talker, "two") in ("silence", "EPERM")
        # a socket that an earlier test has left may still be trying, elsewhere
        [record] = [r for r in wire.world.read() if address_of(r) == FAR[version]]
        assert (record.hook, record.port, record.count) == (Hook.EGRESS, 443, 1)
        assert packets(wire.world) > stopped
        wire.allow("[443/tcp]")  # so that the socket can end


@pytest.mark.parametrize("kind", ["tcp", "udp"])
@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_answers_are_free(wire: Wire, kind: str, version: int) -> None:
    """A container that may connect nowhere serves whoever comes, also when its listener is closed by then."""
    wire.allow()
    beta = wire.world.subject("beta")
    counted = {key: n for key, n in wire.world.maps.counts().items() if key[0] == beta}
    with wire.running("beta", "serve", NEAR[version], "8080", kind):
        if kind == "tcp":
            with wire.running("", "talk", NEAR[version], "8080", at=wire.far) as talker:
                assert [say(talker, word) for word in ("one", "two")] == ["one", "two"]
                wire.allow("[445/tcp]")
                assert say(talker, "three") == "three"
        else:
            asked = "import socket,sys;s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,socket.SOCK_DGRAM)"
            asked += ";s.settimeout(5);s.sendto(b'x',(sys.argv[1],8080));print(s.recv(9).decode())"
            assert wire.far.run("python3", "-c", asked, NEAR[version]).out.strip() == "x"
    assert {key: n for key, n in wire.world.maps.counts().items() if key[0] == beta} == counted


def test_the_other_side_cannot_give_back_what_the_policy_has_taken(wire: Wire) -> None:
    """A datagram from the peer of a flow that was begun here makes it none of the peer's: a revoked grant stays revoked."""
    wire.allow("[53/udp]")
    knock = "import socket;s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.bind(('',53));s.sendto(b'x',('%s',5353))"
    with wire.running("alpha", "resend", FAR[0], "53", "5353") as sender:
        assert say(sender, "one") == "sent"
        wire.allow("[54/udp]")
        wire.far.run("python3", "-c", knock % NEAR[0])
        assert say(sender, "two") == "EPERM"


def test_quarantine_cuts_everything_at_once(wire: Wire) -> None:
    """Both ways, flows that are open and new ones, whatever the rules grant; loopback stays, and release gives it all back."""
    world = wire.world
    wire.allow("[443/tcp]")
    identity = next(c.id for c in world.facts.containers.values() if c.name == "alpha")
    free = world.facts
    with (
        wire.running("", "serve", FAR[0], "443", "tcp", at=wire.far),
        wire.running("alpha", "talk", FAR[0], "443") as talker,
    ):
        assert say(talker, "one") == "one"
        try:
            world.facts = replace(free, quarantined=frozenset({identity}))
            wire.allow("[443/tcp]")
            arrived = wire.arrived()["tcp"]
            assert say(talker, "two") in ("silence", "EPERM")
            seen = wire.do("alpha", "send-again", FAR[0], "53", "50")
            assert (seen.said.strip(), len(seen.records)) == ("50", 1)
            assert wire.do("alpha", "tcp", FAR[0], "443").code == 77
            assert wire.do("alpha", "tcp", "127.0.0.1", "9").code == 0
            assert wire.arrived()["tcp"] == arrived
        finally:
            world.facts = free
            wire.allow("[443/tcp]")
        assert wire.do("alpha", "tcp", FAR[0], "443").code == 0
