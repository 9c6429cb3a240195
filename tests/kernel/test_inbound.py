"""Who began a flow, and whose a socket is, when addresses go to others, maps overflow and cgroups are removed."""

from __future__ import annotations

import errno
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from enforcer.core.model import Attachment, Container, Facts, Network
from tests.kernel.wire import FAR, NEAR, Wire, packets, say

SERVICE = 8080
KNOCK = (
    "import socket,sys;s=socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,socket.SOCK_DGRAM)"
    ";s.bind((sys.argv[2],5300));s.sendto(b'x',(sys.argv[1],8080))"
)
"""A datagram to the service at an address, from one port of another address."""


def knock(wire: Wire, version: int = 0) -> None:
    """Have the far end write to the service, always from the same address and port."""
    wire.far.run("python3", "-c", KNOCK, NEAR[version], FAR[version])


@contextmanager
def facts(wire: Wire, changed: Facts) -> Iterator[None]:
    """The host is so meanwhile, from the next policy on."""
    before = wire.world.facts
    wire.world.facts = changed
    try:
        yield
    finally:
        wire.world.facts = before
        wire.allow()


def held(wire: Wire, name: str, address: str) -> Facts:
    """The host, where the far end's address is a container's."""
    networks = {"wire": Network("w1", "wire", subnets=(ip_network("203.0.113.0/24"), ip_network("2001:db8::/64")))}
    containers = {
        identity: replace(c, attachments=(Attachment("wire", (address,)),)) if c.name == name else c
        for identity, c in wire.world.facts.containers.items()
    }
    return replace(wire.world.facts, networks=networks, containers=containers)


@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_an_address_that_goes_to_another_is_written_to_no_more(wire: Wire, version: int) -> None:
    """Who was written to may answer that one, however often the policy changes, but not whoever has the address after it."""
    near, far = NEAR[version], FAR[version]
    free = wire.world.facts
    with facts(wire, held(wire, "stranger", far)):
        wire.allow()
        with wire.running("beta", "reply", near, str(SERVICE)) as server:
            knock(wire, version)
            answers = [say(server, "hear"), say(server, "x")]
            wire.allow("[445/tcp]")
            answers.append(say(server, "x"))
            wire.world.facts = free  # its container is gone, and its address nobody's
            wire.allow()
            answers.append(say(server, "x"))
            assert answers == ["done"] * 4
            before = wire.counted("beta")
            wire.world.facts = held(wire, "watched", far)
            wire.allow()
            assert [say(server, "x"), say(server, "x")] == ["EPERM"] * 2
            assert wire.counted("beta") == before + 1
            knock(wire, version)
            assert [say(server, "hear"), say(server, "x")] == ["done"] * 2
            assert wire.counted("beta") == before + 1


def test_an_address_that_is_found_to_be_a_containers_stays_answered(wire: Wire) -> None:
    """A container writes as soon as it runs; the agent knows its address a moment later."""
    wire.allow()
    with wire.running("beta", "reply", NEAR[0], str(SERVICE)) as server:
        knock(wire)
        assert [say(server, "hear"), say(server, "x")] == ["done"] * 2
        with facts(wire, held(wire, "stranger", FAR[0])):
            wire.allow()
            assert say(server, "x") == "done"


def test_an_answer_that_was_refused_is_free_once_the_other_side_writes_again(wire: Wire) -> None:
    """If who began was forgotten all the same, the next question tells it: what was dropped has made nobody answer."""
    wire.allow()
    with wire.running("beta", "reply", NEAR[0], str(SERVICE)) as server:
        knock(wire)
        assert say(server, "hear") == "done"
        for key in list(wire.world.maps.keys("inbound", 32)):
            wire.world.maps.forget("inbound", key)
        assert say(server, "x") == "EPERM"
        knock(wire)
        assert [say(server, "hear"), say(server, "x")] == ["done"] * 2


def test_what_a_container_sends_to_itself_takes_no_room(wire: Wire) -> None:
    """It needs no memory to be free, and would push out what others have begun."""
    with facts(wire, held(wire, "beta", NEAR[0])):
        wire.allow()
        with wire.running("beta", "reply", NEAR[0], str(SERVICE)) as server:
            before = len(list(wire.world.maps.keys("inbound", 32)))
            wire.near.run("python3", "-c", KNOCK, NEAR[0], NEAR[0])
            assert [say(server, "hear"), say(server, "x")] == ["done"] * 2
            assert len(list(wire.world.maps.keys("inbound", 32))) == before
            knock(wire)
            assert say(server, "hear") == "done"
            assert len(list(wire.world.maps.keys("inbound", 32))) == before + 1


@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_a_socket_of_a_removed_cgroup_is_its_containers(wire: Wire, version: int) -> None:
    """Made in a cgroup of the container's own, which is gone: what it sends is judged as if it were made outside that."""
    wire.allow("[443/udp]")
    with wire.running("alpha", "passing", FAR[version], "443") as sender:
        arrived = wire.arrived()["udp"]
        assert say(sender, "one") == "sent"
        before, stopped = wire.counted("alpha"), packets(wire.world)
        wire.allow("[444/udp]")
        assert say(sender, "two") == "EPERM"
        assert (wire.counted("alpha"), packets(wire.world)) == (before + 1, stopped + 1)
        wire.allow("[443/udp]")
        assert say(sender, "three") == "sent"
        assert wire.arrived()["udp"] - arrived == 2


def test_a_socket_that_outlives_its_container_does_what_was_allowed_and_no_more(wire: Wire, tmp_path: Path) -> None:
    """It is held elsewhere: it goes on as long as nothing changes, then it is dropped, and nobody is blamed."""
    world = wire.world
    identity, place = secrets.token_hex(32), f"{world.parent}/ending"
    made = Container(identity, "alpha", pid=1, cgroup=world.cgroups.ensure(place))
    free = world.facts
    with facts(wire, replace(free, containers={**free.containers, identity: made})):
        wire.allow("[443/udp]")
        given = handed(wire, tmp_path / "s")
        world.cgroups.remove(place)
        arrived, subject = wire.arrived()["udp"], world.ids.subject(identity)
        answers = [sent(given)]
        for changed in (world.facts, free):  # its container has ended, and then been removed
            world.facts = changed
            wire.allow("[443/udp]")
            answers.append(sent(given))
        given.close()
        assert answers == ["sent", "EPERM", "EPERM"]
        assert wire.arrived()["udp"] - arrived == 1
        assert not [key for key in world.maps.counts() if key[0] == subject]


def sent(made: socket.socket) -> str:
    """How sending goes; that nobody listened for what was sent before is no answer."""
    for _ in range(2):
        try:
            made.send(b"x")
        except ConnectionRefusedError:
            continue
        except OSError as e:
            return errno.errorcode[e.errno or 0]
        break
    return "sent"


def handed(wire: Wire, path: Path) -> socket.socket:
    """A socket that a process in the cgroup ``ending`` has connected and given to this process."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = wire.world.command("ending", "give", str(path), FAR[0], "443", namespace=wire.near.name)
        with subprocess.Popen(command) as giver:
            there = listener.accept()[0]
            _, [descriptor], _, _ = socket.recv_fds(there, 1, 1)
            there.close()
            assert giver.wait(60) == 0
    return socket.socket(fileno=descriptor)
