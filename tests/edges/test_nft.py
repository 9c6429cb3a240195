"""The table in a real packet filter: what real packets do at it, in network namespaces of this module's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.namespace import Namespace, plug
from deploy.demo.process import await_that
from enforcer.core.egress import Chain, Opening, Pass, Rule
from enforcer.core.image import Range
from enforcer.edges.nft import Nft
from enforcer.edges.nft_news import Changes
from enforcer.errors import EdgeError, HostError

TABLE = "enforcer-test"
BRIDGE = "br-cell"
HOST4, HOST6, ONE4, ONE6, TWO4, TWO6 = (
    "172.30.0.1",
    "fd00:30::1",
    "172.30.0.2",
    "fd00:30::2",
    "172.30.0.3",
    "fd00:30::3",
)
OUT4, OUT6 = "203.0.113.10", "2001:db8::10"
GATE4, GATE6 = "203.0.113.1", "2001:db8::1"
"""The host's own addresses on the other side: no bridge's, and just as much the host."""

PORT, OTHER = 7001, 7002
UDP = 17
REPLIES, NEIGHBOURS, REST, OUT = (
    Rule(Chain.INPUT, "cell", BRIDGE, Pass.REPLIES),
    Rule(Chain.INPUT, "cell", BRIDGE, Pass.NEIGHBOURS),
    Rule(Chain.INPUT, "cell", BRIDGE),
    Rule(Chain.FORWARD, "cell", BRIDGE),
)
RULES = (REPLIES, NEIGHBOURS, REST, OUT)


@dataclass(frozen=True)
class Ground:
    """A host with a bridge, two containers on it and an outside, each a namespace; and the table of the host."""

    host: Namespace
    one: Namespace
    two: Namespace
    outside: Namespace
    table: Nft

    def keep(self, *rules: Rule, packets: dict[str, int] | None = None) -> bool:
        """Have the table hold these."""
        with self.host.entered():
            return self.table.keep(rules, packets or {})

    def counted(self, rule: Rule) -> int:
        """What a rule has counted."""
        with self.host.entered():
            return next((w.packets for w in self.table.read() or () if w.mark == rule.mark), -1)

    def await_counted(self, rule: Rule, packets: int) -> None:
        """A packet on a veth is dropped by whichever CPU takes it, a moment after it was sent."""
        await_that(f"{packets} packets counted", lambda: self.counted(rule) >= packets)
        assert self.counted(rule) == packets

    def nft(self, *words: str) -> str:
        """What another program does, or sees: only here is `nft` called."""
        return self.host.run("nft", *words).out


@pytest.fixture(scope="module")
def made() -> Iterator[Ground]:
    """The namespaces, closed: nothing leads out of them."""
    name = f"enf-nft-{os.getpid()}"
    host, one, two, outside = (Namespace(f"{name}-{part}") for part in ("host", "one", "two", "out"))
    with ExitStack() as undo:
        for space in (host, one, two, outside):
            undo.callback(space.remove)
            space.create()
        host.run("ip", "link", "add", BRIDGE, "type", "bridge")
        for address in (f"{HOST4}/24", f"{HOST6}/64"):
            host.run("ip", "address", "add", address, "dev", BRIDGE, *(("nodad",) if ":" in address else ()))
        for space, end, addresses in ((one, "one", (ONE4, ONE6)), (two, "two", (TWO4, TWO6))):
            plug((space, "eth0"), (host, end), ())
            host.run("ip", "link", "set", end, "master", BRIDGE)
            for address in addresses:
                bits = ("64", "nodad") if ":" in address else ("24",)
                space.run("ip", "address", "add", f"{address}/{bits[0]}", "dev", "eth0", *bits[1:])
        host.run("ip", "link", "set", BRIDGE, "up")
        for space in (one, two):
            space.run("ip", "route", "add", "default", "via", HOST4)
            space.run("ip", "-6", "route", "add", "default", "via", HOST6)
        plug((host, "out"), (outside, "eth0"), ((f"{GATE4}/24", f"{OUT4}/24"), (f"{GATE6}/64", f"{OUT6}/64")))
        outside.run("ip", "route", "add", "172.30.0.0/24", "via", GATE4)
        outside.run("ip", "-6", "route", "add", "fd00:30::/64", "via", GATE6)
        for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            host.run("sysctl", "-qw", setting)
        # as on a Docker host, where packets between two ports of a bridge pass the forward hook too
        host.run(
            "sysctl",
            "-qw",
            "net.bridge.bridge-nf-call-iptables=1",
            "net.bridge.bridge-nf-call-ip6tables=1",
            check=False,
        )
        host.assert_closed(own=("out",))
        yield Ground(host, one, two, outside, Nft(TABLE, "0123abcd"))


@pytest.fixture
def ground(made: Ground) -> Iterator[Ground]:
    """The same without a table."""
    made.nft("flush", "ruleset")
    yield made
    made.nft("flush", "ruleset")


@contextmanager
def listening(space: Namespace, address: str, port: int = PORT) -> Iterator[socket.socket]:
    """A UDP socket in a namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with space.entered():
        listener = socket.socket(family, socket.SOCK_DGRAM)
    with listener:
        listener.settimeout(20)
        with space.entered():
            scoped = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0][4]
        listener.bind(scoped)
        yield listener


def send(space: Namespace, address: str, text: bytes = b"x", port: int = PORT, *, times: int = 1) -> None:
    """UDP packets from a namespace."""
    with space.entered():
        found = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
        sender = socket.socket(*found[:3])
    with sender:
        for _ in range(times):
            sender.sendto(text, found[4])


def nothing_came(listener: socket.socket) -> bool:
    """Whether nothing waits at a socket."""
    listener.setblocking(False)
    try:
        return not listener.recv(100)
    except BlockingIOError:
        return True


def link_local(space: Namespace, interface: str, via: str) -> str:
    """The link-local address of an interface as another end of the link writes it."""
    words = space.run("ip", "-6", "-o", "address", "show", "dev", interface, "scope", "link").out.split()
    return words[words.index("inet6") + 1].partition("/")[0] + "%" + via


@pytest.mark.parametrize("address", [OUT4, OUT6])
def test_nothing_leaves(ground: Ground, address: str) -> None:
    """Without the table a packet arrives outside; with it none does, every one is counted, and none other."""
    with listening(ground.outside, address) as listener:
        send(ground.one, address, b"before")
        assert listener.recv(100) == b"before"
        assert ground.keep(*RULES)
        send(ground.one, address, times=5)
        ground.await_counted(OUT, 5)
        assert nothing_came(listener)
        assert ground.counted(REST) == 0


@pytest.mark.parametrize("address", [HOST4, HOST6, GATE4, GATE6])
def test_the_host_is_not_reached(ground: Ground, address: str) -> None:
    """None of its addresses, of either family, on the bridge or elsewhere."""
    with listening(ground.host, address) as listener:
        send(ground.one, address, b"before")
        assert listener.recv(100) == b"before"
        ground.keep(*RULES)
        send(ground.one, address, times=3)
        ground.await_counted(REST, 3)
        assert nothing_came(listener)


def test_the_host_is_not_reached_by_link_local_addresses(ground: Ground) -> None:
    """fe80:: of the bridge, where no rule lets neighbours through: not even the question for its address is answered."""
    address = link_local(ground.host, BRIDGE, "eth0")
    with listening(ground.host, "::") as listener:
        send(ground.one, address, b"before")
        assert listener.recv(100) == b"before"
        ground.keep(REPLIES, REST, OUT)
        send(ground.one, address, times=3)
        await_that("the packets to be dropped", lambda: ground.counted(REST) >= 3)
        assert nothing_came(listener)


@pytest.mark.parametrize(("host", "one", "two"), [(HOST4, ONE4, TWO4), (HOST6, ONE6, TWO6)])
def test_an_opening_is_for_one_address_and_its_ports(ground: Ground, host: str, one: str, two: str) -> None:
    """What it names passes; another port, and another container, do not."""
    opening = Rule(Chain.INPUT, "cell", BRIDGE, Opening(one, host, Range(PORT, PORT, UDP)))
    ground.keep(*RULES, opening)
    with listening(ground.host, host) as listener, listening(ground.host, host, OTHER) as other:
        send(ground.one, host, b"open")
        assert listener.recv(100) == b"open"
        send(ground.one, host, port=OTHER)
        send(ground.two, host)
        ground.await_counted(REST, 2)
        assert nothing_came(listener)
        assert nothing_came(other)
    [line] = [line for line in ground.nft("list", "table", "inet", TABLE).splitlines() if opening.mark in line]
    assert "counter packets 1 " in line


def test_an_opening_of_a_range_and_of_every_protocol(ground: Ground) -> None:
    """Both ends of a range are in it, what lies beyond is not; protocol 0 opens all, ping too."""
    ground.keep(*RULES, Rule(Chain.INPUT, "cell", BRIDGE, Opening(ONE4, HOST4, Range(PORT, OTHER, UDP))))
    with listening(ground.host, HOST4) as first, listening(ground.host, HOST4, OTHER) as last:
        for port in (PORT - 1, PORT, OTHER, OTHER + 1):
            send(ground.one, HOST4, str(port).encode(), port)
        assert (first.recv(100), last.recv(100)) == (b"7001", b"7002")
    ground.await_counted(REST, 2)
    ping = ("ping", "-c", "1", "-W", "1", "-n", HOST4)
    assert ground.one.run("busybox", *ping, check=False).status == 1
    ground.keep(*RULES, Rule(Chain.INPUT, "cell", BRIDGE, Opening(ONE4, HOST4, Range(0, 65535, 0))))
    assert ground.one.run("busybox", *ping, check=False).status == 0


@pytest.mark.parametrize(("host", "one"), [(HOST4, ONE4), (HOST6, ONE6)])
def test_the_host_can_ask_and_hear_the_answer(ground: Ground, host: str, one: str) -> None:
    """A health check of the host's works: what belongs to a connection that it began passes, both families."""
    ground.keep(*RULES)
    ground.host.run("ip", "neigh", "flush", "dev", BRIDGE)
    with listening(ground.one, one) as container, listening(ground.host, host) as asking:
        asking.sendto(b"how are you", (one, PORT))
        question, asker = container.recvfrom(100)
        container.sendto(b"well", asker)
        assert (question, asking.recv(100)) == (b"how are you", b"well")
    assert ground.counted(OUT) == 0


@pytest.mark.parametrize("two", [TWO4, TWO6])
def test_what_stays_on_the_bridge_is_left_alone(ground: Ground, two: str) -> None:
    """Two containers of one network speak with each other, although their packets pass the hook."""
    ground.keep(*RULES)
    with listening(ground.two, two) as listener:
        send(ground.one, two, b"neighbour")
        assert listener.recv(100) == b"neighbour"
    assert ground.counted(OUT) == 0


def test_other_networks_are_left_alone(ground: Ground) -> None:
    """A rule is for its bridge: the outside still reaches the host, which reaches the outside."""
    ground.keep(*RULES)
    with listening(ground.host, GATE4) as host, listening(ground.outside, OUT4) as outside:
        send(ground.outside, GATE4, b"in")
        send(ground.host, OUT4, b"out")
        assert (host.recv(100), outside.recv(100)) == (b"in", b"out")


def test_counters_survive_a_change(ground: Ground) -> None:
    """Rules that stay keep what they have counted; keeping the same again changes nothing."""
    ground.keep(*RULES)
    send(ground.one, OUT4, times=4)
    ground.await_counted(OUT, 4)
    assert not ground.keep(*RULES)
    other = (Rule(Chain.INPUT, "den", "br-den"), Rule(Chain.FORWARD, "den", "br-den"))
    assert ground.keep(*RULES, *other)
    assert ground.counted(OUT) == 4
    assert ground.keep(OUT, REST)
    assert (ground.counted(OUT), ground.counted(REPLIES), ground.counted(other[0])) == (4, -1, -1)
    assert not ground.keep(REST, OUT)


def test_what_lets_through_stands_before_what_drops(ground: Ground) -> None:
    """Whichever is written first."""
    ground.keep(REST, OUT)
    ground.keep(REST, OUT, REPLIES, NEIGHBOURS)
    with ground.host.entered():
        marks = [w.mark for w in ground.table.read() or () if w.chain == "input"]
    assert sorted(marks[:2]) == sorted((REPLIES.mark, NEIGHBOURS.mark))
    assert marks[2:] == [REST.mark]


@pytest.mark.parametrize(
    "damage",
    [
        ("flush", "ruleset"),
        ("delete", "table", "inet", TABLE),
        ("flush", "table", "inet", TABLE),
        ("flush", "chain", "inet", TABLE, "forward"),
        ("add", "table", "inet", TABLE, "{ flags dormant; }"),
        ("insert", "rule", "inet", TABLE, "forward", "accept"),
        ("insert", "rule", "inet", TABLE, "forward", "iifname", BRIDGE, "accept", "comment", '"enforcer 0123abcd"'),
    ],
    ids=" ".join,
)
def test_what_somebody_has_done_to_the_table_is_undone(ground: Ground, damage: tuple[str, ...]) -> None:
    """It is as it has to be again, it holds, and the counters go on from the number that is given."""
    ground.keep(*RULES)
    ground.nft(*damage)
    assert ground.keep(*RULES, packets={OUT.mark: 100, REST.mark: 7})
    assert not ground.keep(*RULES)
    before = ground.counted(OUT)
    assert before in (100, 0)  # a rule that was left alone keeps its own number
    with listening(ground.outside, OUT4) as listener:
        send(ground.one, OUT4)
        ground.await_counted(OUT, before + 1)
        assert nothing_came(listener)


def test_a_chain_that_was_made_anew_elsewhere_is_replaced(ground: Ground) -> None:
    """A chain of our name at another hook, or at none, holds nothing."""
    ground.keep(*RULES)
    ground.nft("flush", "chain", "inet", TABLE, "forward")
    ground.nft("delete", "chain", "inet", TABLE, "forward")
    ground.nft("add", "chain", "inet", TABLE, "forward")
    assert ground.keep(*RULES)
    assert "type filter hook forward priority filter - 10" in ground.nft("list", "table", "inet", TABLE)
    send(ground.one, OUT4)
    ground.await_counted(OUT, 1)


def test_another_programs_table_of_the_same_name_is_refused(ground: Ground) -> None:
    """Nothing in it is touched, and the message says what to do; removing ours leaves it, too."""
    ground.nft("add", "table", "inet", TABLE, '{ comment "enforcer ffffffff"; chain input { counter; }; }')
    before = ground.nft("list", "ruleset")
    for act in (lambda: ground.keep(*RULES), ground.keep, lambda: ground.counted(OUT)):
        with pytest.raises(EdgeError, match=f"nft delete table inet {TABLE}"):
            act()
    with ground.host.entered():
        assert not ground.table.remove()
    assert ground.nft("list", "ruleset") == before


def test_only_our_table_is_touched(ground: Ground) -> None:
    """Tables of the same name in other families, and others of the inet family, are as they were after all that we do."""
    ground.nft("add", "table", "ip", TABLE)
    ground.nft("add", "table", "inet", "mine", "{ chain forward { type filter hook forward priority 0; counter; }; }")
    before = ground.nft("list", "ruleset")
    ground.keep(*RULES)
    ground.keep(OUT)
    with ground.host.entered():
        assert (ground.table.remove(), ground.table.remove(), ground.table.read()) == (True, False, None)
    assert ground.nft("list", "ruleset") == before


def test_no_rules_are_no_table(ground: Ground) -> None:
    """Where nothing is guarded, nothing is left in the kernel."""
    assert not ground.keep()
    ground.keep(*RULES)
    assert ground.keep()
    assert ground.nft("list", "ruleset") == ""


def test_many_rules(ground: Ground) -> None:
    """Two thousand openings are one transaction, and are read again."""
    many = [
        Rule(Chain.INPUT, "cell", BRIDGE, Opening(f"172.30.{n >> 8}.{n & 255}", HOST4, Range(53, 53, UDP)))
        for n in range(2000)
    ]
    assert ground.keep(*RULES, *many)
    assert not ground.keep(*RULES, *many)
    with ground.host.entered():
        assert len(ground.table.read() or ()) == 2004


def test_a_transaction_that_fails_changes_nothing(ground: Ground) -> None:
    """An interface name that the kernel refuses: the error is ours, and the table is as it was."""
    ground.keep(*RULES)
    before = ground.nft("list", "ruleset")
    with pytest.raises((EdgeError, HostError)):
        ground.keep(OUT, Rule(Chain.INPUT, "bad", "b" * 40))
    assert ground.nft("list", "ruleset") == before


def test_news_of_changes(ground: Ground) -> None:
    """Any change by anybody is told, once for all that has gathered; without one, nothing is."""
    with ground.host.entered():
        changes = Changes()
    try:
        assert not changes.wait(0)
        for n in range(50):
            ground.nft("add", "table", "inet", f"other{n}")
        assert changes.wait(20)
        assert not changes.wait(0)
    finally:
        changes.close()


def test_without_nftables_the_host_cannot(ground: Ground) -> None:
    """A kernel that does not let us at it: one line that says what is needed."""
    program = (
        "import os; from enforcer.edges.nft import Nft; os.setuid(65534); "
        "from enforcer.errors import HostError\n"
        "try: Nft('t', 'o').read()\n"
        "except HostError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert "CONFIG_NF_TABLES" in done.stdout
    assert "CAP_NET_ADMIN" in done.stdout
