"""What a confined container asks Docker's resolver for: names on its networks pass, every other name stays where it is."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.model import Attachment, Hook, Network, Verdict
from enforcer.core.names import decoded
from tests.kernel.wire import Wire
from tests.scenarios import policy

RESOLVER = ("127.0.0.11", 53)
POLICY = """
version: 1
mode: {mode}
containers: {{beta: {{name: beta}}}}
network:
  internal: [inner]
  rules: [{{who: beta, connect: [{{network: inner}}]}}]
"""
LONG = "a" * 63
ODD = "at@z["
"""Beside the letters, on both sides: folding must leave them alone."""
BACK = "3." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"


@dataclass
class Resolver:
    """Listens where Docker's resolver does, in the near namespace, and remembers what came."""

    heard: list[bytes] = field(default_factory=list)

    def listen(self, wire: Wire) -> socket.socket:
        """Take everything that comes, until the socket is closed."""
        with wire.near.entered():
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listener.bind(RESOLVER)

        def take() -> None:
            while data := listener.recv(1024):
                self.heard.append(data)

        threading.Thread(target=take, daemon=True).start()
        return listener


@pytest.fixture(scope="module")
def resolver(wire: Wire) -> Iterator[Resolver]:
    """The world with beta on an internal network, with alpha, and a resolver that hears what gets through."""
    made, world = Resolver(), wire.world
    free = world.facts
    network = Network("n" * 64, "inner", True, (ip_network("172.30.0.0/24"),), ("172.30.0.1",))
    places = {
        "alpha": Attachment("inner", ("172.30.0.2",), ("db", "db.other", ODD)),
        "beta": Attachment("inner", ("172.30.0.3", "2001:db8::3"), links=(("alpha", "Boss"), ("nobody", "ghost"))),
    }
    containers = {
        i: replace(c, attachments=(places[c.name],)) if c.name in places else c for i, c in free.containers.items()
    }
    world.facts = replace(free, containers=containers, networks={"inner": network})
    listener = made.listen(wire)
    try:
        world.enforce(policy(POLICY.format(mode="enforce").encode()))
        yield made
    finally:
        with wire.near.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", RESOLVER)
        listener.close()
        world.facts = free


A, PTR, MX, TXT, AAAA, SRV = 1, 12, 15, 16, 28, 33


def query(name: str, questions: int = 1, *, type_: int = 0) -> bytes:
    """A DNS query for the address of a name, or for the name of an address."""
    type_ = type_ or (PTR if name.endswith(".arpa") else A)
    wire = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return b"\x12\x34\x01\0" + questions.to_bytes(2) + bytes(6) + wire + b"\0" + type_.to_bytes(2) + b"\0\x01"


def ask(wire: Wire, who: str, content: bytes):
    """A container sends a datagram to the resolver."""
    return wire.do(who, "datagram", *map(str, RESOLVER), content.hex())


@pytest.mark.parametrize(
    "name",
    [
        *("alpha", "beta", "alpha.inner", "db", "db.other", "2.0.30.172.in-addr.arpa", BACK),
        *("Alpha", "ALPHA", "dB", "DB.Other", ODD, ODD.upper()),
        *("Boss", "Boss.inner"),
    ],
)
def test_names_on_its_networks_are_answered(wire: Wire, resolver: Resolver, name: str) -> None:
    """Containers, their aliases, by any case, with the network's name or without, addresses backwards, and its own links."""
    seen = ask(wire, "beta", query(name))
    assert (seen.code, seen.counts, seen.records) == (0, {}, [])
    assert resolver.heard[-1] == query(name)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (query("secret.example.com"), "secret.example.com"),
        (query("alpha.example.com"), "alpha.example.com"),
        (query("alpha.INNER"), "alpha.INNER"),
        (query("2.0.30.172.In-Addr.arpa"), "2.0.30.172.In-Addr.arpa"),
        (query("at`z["), "at`z["),
        (query("AT@Z{"), "AT@Z{"),
        (query("boss"), "boss"),
        (query("Boss.Inner"), "Boss.Inner"),
        (query("ghost"), "ghost"),
        (query("stranger"), "stranger"),
        (query("2.113.0.203.in-addr.arpa"), "2.113.0.203.in-addr.arpa"),
        (query(f"{LONG}.x.com"), f"{LONG}.x.com"),
        (query(f"{LONG}.{LONG}.{LONG}.com"), ""),
        (query("alpha", questions=2), ""),
        (query("alpha", questions=0), ""),
        (query("alpha")[:17], ""),
        (query("."), ""),
        (query("alpha", type_=TXT), "alpha"),
        (query("alpha", type_=SRV), "alpha"),
        (query("alpha", type_=PTR), "alpha"),
        (query("ALPHA", type_=PTR), "ALPHA"),
        (query("2.0.30.172.in-addr.arpa", type_=A), "2.0.30.172.in-addr.arpa"),
        (b"not a query", ""),
        (b"", ""),
    ],
)
def test_every_other_question_stays(wire: Wire, resolver: Resolver, content: bytes, told: str) -> None:
    """Refused before it leaves the container's socket, counted under its own cause, recorded with the name."""
    before = len(resolver.heard)
    seen = ask(wire, "beta", content)
    assert seen.code == 77, seen.said
    home = wire.world.ids.network("n" * 64)
    assert seen.counts == {
        (wire.world.subject("beta"), home, Reserved.OUTSIDE_NAME, abi.INSIDE, 8, Verdict.DENIED, Hook.NAME): 1
    }
    [record] = seen.records
    assert (record.hook, record.peer) == (Hook.NAME, Reserved.OUTSIDE_NAME)
    assert decoded(bytes(record.path[: record.path_len])) == told
    assert len(resolver.heard) == before


@pytest.mark.parametrize("type_", [MX, AAAA])
def test_other_questions_that_docker_answers(wire: Wire, resolver: Resolver, type_: int) -> None:
    """For a mail exchanger and for the other family's address it has an answer of its own, if an empty one."""
    assert ask(wire, "beta", query("Alpha", type_=type_)).code == 0


def test_a_link_is_its_containers_own(wire: Wire, resolver: Resolver) -> None:
    """Docker would ask outside for it on behalf of any other container, also one on the same network."""
    before = len(resolver.heard)
    assert ask(wire, "alpha", query("Boss")).code == 77
    assert ask(wire, "alpha", query("beta")).code == 0
    assert resolver.heard[before:] == [query("beta")]


def test_bytes_that_are_no_ascii_are_no_letters(wire: Wire, resolver: Resolver) -> None:
    """A letter with its highest bit set is another byte."""
    content = query("alpha").replace(b"alpha", b"\xc1lpha")
    assert ask(wire, "beta", content).code == 77


def test_a_container_not_looked_at_may_ask_for_nothing(wire: Wire, resolver: Resolver) -> None:
    """It may be on internal networks: until somebody has looked, its questions stay where they are."""
    world = wire.world
    seen = world.facts
    new = {i: replace(c, attachments=(), foreseen=True) for i, c in seen.containers.items() if c.name == "beta"}
    world.facts = replace(seen, containers={**seen.containers, **new})
    try:
        world.enforce(policy(POLICY.format(mode="enforce").encode()))
        for name in ("alpha", "outside.example.com"):
            assert ask(wire, "beta", query(name)).code == 77
        assert wire.do("beta", "tcp", "203.0.113.10", "443").code == 77
        assert wire.do("beta", "tcp", "127.0.0.12", "53").code == 0
    finally:
        world.facts = seen
        world.enforce(policy(POLICY.format(mode="enforce").encode()))


def test_many_questions_in_one_datagram(wire: Wire, resolver: Resolver) -> None:
    """What the kernel is told to cut into several datagrams is several questions, and only the first could be read."""
    before = len(resolver.heard)
    two = query("alpha") + query("bravo")
    assert wire.do("beta", "segments", *map(str, RESOLVER), two.hex(), str(len(two) // 2)).code == 77
    assert wire.do("stranger", "segments", *map(str, RESOLVER), two.hex(), str(len(two) // 2)).code == 0
    assert resolver.heard[before:] == [query("alpha"), query("bravo")]


def test_quarantine_leaves_no_name(wire: Wire, resolver: Resolver) -> None:
    """Nothing is asked of the resolver, by whomever it could ask before: names on its networks, a container that was free."""
    world = wire.world
    free = world.facts
    world.facts = replace(free, quarantined=frozenset(free.containers))
    try:
        world.enforce(policy(POLICY.format(mode="enforce").encode()))
        for who in ("beta", "stranger"):
            assert ask(wire, who, query("alpha")).code == 77
            assert wire.do(who, "tcp", RESOLVER[0], "53").code == 77
    finally:
        world.facts = free
        world.enforce(policy(POLICY.format(mode="enforce").encode()))


def test_over_tcp_nothing_can_be_told_apart(wire: Wire, resolver: Resolver) -> None:
    """So the resolver is not reached by TCP at all; other loopback addresses are."""
    assert wire.do("beta", "tcp", RESOLVER[0], "53").code == 77
    assert wire.do("beta", "tcp", "127.0.0.12", "53").code == 0


def test_who_is_not_confined_asks_what_it_likes(wire: Wire, resolver: Resolver) -> None:
    """A container that no rule names, on no internal network."""
    seen = ask(wire, "stranger", query("outside.example.com"))
    assert (seen.code, seen.counts) == (0, {})
    assert resolver.heard[-1] == query("outside.example.com")


def test_monitor_mode_only_looks(wire: Wire, resolver: Resolver) -> None:
    """The question leaves, and is counted as observed."""
    wire.world.enforce(policy(POLICY.format(mode="monitor").encode()))
    seen = ask(wire, "beta", query("outside.example.com"))
    assert seen.code == 0
    [verdict] = [key[5] for key in seen.counts]
    assert verdict == Verdict.OBSERVED
    assert resolver.heard[-1] == query("outside.example.com")


def test_no_name_hides_behind_another(wire: Wire, resolver: Resolver) -> None:
    """Whoever makes names whose hashes are the same has each on record."""
    first = query(f"{'a' * 30}.com")
    second = bytes(byte ^ (0x80 if at in (12 + 7, 12 + 15) else 0) for at, byte in enumerate(first))
    wire.do("beta", "datagram", *map(str, RESOLVER), first.hex())
    for content in (first, second, second):
        deed = ("datagram", *map(str, RESOLVER), content.hex())
        subprocess.run(wire.world.command("beta", *deed, namespace=wire.near.name), check=False)
    records = [r for r in wire.world.read() if r.hook == Hook.NAME]
    assert second[12:-4] in {r.path[: r.path_len] for r in records}
