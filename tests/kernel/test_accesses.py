"""What is allowed is noted while somebody asks for it: exactly, by who, what and how; nothing else, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from enforcer import abi
from enforcer.core.model import Access, Hook, Mechanism, Verdict
from enforcer.runtime.records import address_text
from tests.kernel.conftest import World
from tests.kernel.wire import FAR, NEAR, Wire, say
from tests.scenarios import policy, volume

OUTSIDE = "203.0.113.9"


class Notes:
    """Begins rounds, and tells what the one before has noted."""

    def __init__(self, world: World) -> None:
        self.world, self.round = world, 1
        world.maps.begin_round(1)

    def take(self) -> dict[tuple[object, ...], int]:
        """What the round has noted, which ends: (container, what, access, hook) → how often."""
        ended, self.round = self.round, self.round + 1
        self.world.maps.begin_round(self.round)
        found: Counter[tuple[object, ...]] = Counter()
        for raw, value in list(self.world.maps.accesses()):
            key = abi.decode(abi.AccessKey, raw)
            if key.round == ended and 0 < value.first_ns <= value.last_ns:
                found[self._named(key)] += value.count
                self.world.maps.forget("accesses", raw)
        return dict(found)

    def _named(self, key: abi.AccessKey) -> tuple[object, ...]:
        ids = self.world.ids
        who = self.world.facts.containers[ids.container_of(key.subject) or ""].name
        if key.class_ == abi.DATA:
            found = ids.object_of(key.object)
            assert found
            return who, found.name, Access(key.access), Hook(key.hook)
        return (
            who,
            f"{address_text(bytes(key.address.bytes))}:{key.port}/{key.protocol}",
            Access(key.access),
            Hook(key.hook),
        )


@pytest.fixture
def notes(world: World) -> Iterator[Notes]:
    """The table's policy in force, and a round begun."""
    world.enforce(policy())
    if not world.probes.holds:
        world.attach()
    yield Notes(world)
    world.maps.begin_round(0)
    for raw, _ in list(world.maps.accesses()):
        world.maps.forget("accesses", raw)


def test_opens_are_counted_exactly(notes: Notes) -> None:
    """Each open that is allowed, by its bits; what is refused is a violation as ever, and no access."""
    world = notes.world
    assert world.do("alpha", "storm", world.file("alpha-data"), "500").code == 0
    assert world.do("alpha", "write", world.file("alpha-data")).code == 0
    assert world.do("alpha", "read", world.file("alpha-config")).code == 0
    refused = world.do("alpha", "read", world.file("beta-data"))
    assert sum(refused.counts.values()) == 1
    assert notes.take() == {
        ("alpha", "alpha-data", Access.READ, Hook.OPEN): 500,
        ("alpha", "alpha-data", Access.WRITE, Hook.OPEN): 1,
        ("alpha", "alpha-config", Access.READ, Hook.OPEN): 1,
    }
    assert notes.take() == {}


def test_a_round_that_is_over_stays_as_it_is(notes: Notes) -> None:
    """The next one counts from nothing, while what nobody has removed is still there for whoever comes."""
    world = notes.world
    world.do("alpha", "read", world.file("alpha-data"))
    world.maps.begin_round(notes.round + 1)
    world.do("alpha", "read", world.file("alpha-data"))
    noted = {abi.decode(abi.AccessKey, raw).round: value.count for raw, value in world.maps.accesses()}
    assert noted == {notes.round: 1, notes.round + 1: 1}


def test_nothing_is_noted_unasked(notes: Notes) -> None:
    """Off by default, and off again when told so."""
    world = notes.world
    world.maps.begin_round(0)
    world.do("alpha", "read", world.file("alpha-data"))
    world.do("alpha", "tcp", "203.0.113.5", "443")
    assert list(world.maps.accesses()) == []


@pytest.mark.parametrize(
    ("deed", "hook", "protocol"),
    [("tcp", Hook.CONNECT4, 6), ("udp", Hook.CONNECT4, 17), ("sendto", Hook.SENDMSG4, 17)],
)
@pytest.mark.parametrize("who", ["alpha", "stranger"])
def test_connections_of_the_governed_and_of_the_free(
    notes: Notes, deed: str, hook: Hook, protocol: int, who: str
) -> None:
    """Whoever no rule governs is noted as well: rules are to be made from that."""
    address, port = "203.0.113.5", {6: 443, 17: 53}[protocol]
    assert notes.world.do(who, deed, address, str(port)).code == 0
    assert notes.take() == {(who, f"{address}:{port}/{protocol}", Access.CONNECT, hook): 1}


@pytest.mark.parametrize("who", ["alpha", "stranger"])
def test_an_access_is_a_socket_and_a_destination(wire: Wire, notes: Notes, who: str) -> None:
    """What the socket sends there again is none, also after the epoch has changed; another socket is one more."""
    wire.allow("[443/udp]")
    with wire.running(who, "resend", FAR[0], "443") as sender:
        for _ in range(3):
            assert say(sender, "x") == "sent"
        wire.world.maps.configure(epoch=wire.world.maps.config().epoch + 1)
        assert say(sender, "x") == "sent"
    wire.do(who, "send-again", FAR[0], "443", "5")
    assert notes.take() == {(who, f"{FAR[0]}:443/17", Access.CONNECT, Hook.SENDMSG4): 2}


@pytest.mark.parametrize("who", ["alpha", "stranger"])
def test_answers_are_no_accesses(wire: Wire, notes: Notes, who: str) -> None:
    """A server that answers whoever asks reaches nobody of its own accord."""
    wire.allow()
    with (
        wire.running(who, "serve", NEAR[0], "5353", "udp"),
        wire.running("", "resend", NEAR[0], "5353", at=wire.far) as client,
    ):
        assert say(client, "x") == "sent"
        assert say(client, "x") == "sent"
    assert notes.take() == {}


def test_what_is_only_watched_is_no_access(notes: Notes) -> None:
    """In monitor mode what no rule grants is a violation that was let through."""
    seen = notes.world.do("watched", "tcp", OUTSIDE, "443")
    assert {key[5] for key in seen.counts} == {Verdict.OBSERVED}
    assert notes.take() == {}


def test_a_full_map_is_never_silent(notes: Notes) -> None:
    """What finds no place is counted under a cause of its own, exactly."""
    world = notes.world
    subject = world.subject("alpha")
    filler = [bytes(abi.AccessKey(round=notes.round, subject=1 << 20, object=n)) for n in range(65536)]
    before = world.maps.losses().get((subject, abi.LOST_ACCESSES), 0)
    for key in filler:
        world.maps.put_row("accesses", key, abi.AccessValue(count=1, first_ns=1, last_ns=1))
    try:
        world.do("alpha", "storm", world.file("alpha-data"), "20")
    finally:
        for key in filler:
            world.maps.forget("accesses", key)
    missed = world.maps.losses()[subject, abi.LOST_ACCESSES] - before
    assert (missed, notes.take()) == (20, {})


def test_the_mechanism_is_noted(notes: Notes) -> None:
    """By whom an access was let through, as with a violation."""
    world = notes.world
    world.do("alpha", "read", world.file("alpha-data"))
    [key] = [abi.decode(abi.AccessKey, raw) for raw, _ in world.maps.accesses()]
    assert Mechanism(key.mechanism) is world.mechanism
    assert key.generation == world.generation
    assert world.ids.object_of(key.object) == volume("alpha-data")
