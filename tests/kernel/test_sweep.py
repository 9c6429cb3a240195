"""The sweep beside the kernel's own programs, all younger than the connections: each counted once, and answers go on."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.demo.process import await_that
from enforcer import abi
from enforcer.core.address import packed
from enforcer.core.ids import Reserved
from enforcer.core.model import Access, Attachment, Container, Hook, Verdict
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.flows import Flows
from enforcer.runtime.probes import Probes
from tests.edges.ground import FAR, GRANT_NOTHING, NEAR, OPEN, PATIENCE, SHUT, Ground
from tests.edges.tenant import REPLY


class Held(Ground):
    """The ground, over the maps of real probes, whose network programs hold it from ``hold`` on."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        pins = Path("/sys/fs/bpf") / f"enforcer-test-{os.getpid()}-{secrets.token_hex(3)}"
        self.probes = Probes(pins, Source.of(probes_directory(), ""), instance=1)
        stack.callback(self.probes.unload)
        super().__init__(directory, stack, self.probes.maps)

    def hold(self) -> None:
        """Attach the network programs above the containers."""
        assert all(hold.mechanism for hold in self.probes.cover(self.cgroups, [self.top]))

    def counted(self, name: str) -> dict[tuple[int, ...], int]:
        """What is counted of a container: (class, access, verdict, hook) → number."""
        identity = next(i for i, c in self.facts.containers.items() if c.name == name)
        subject = self.reconcile.at(0).state.ids.subject(identity)
        return {key[3:]: n for key, n in self.maps.counts().items() if key[0] == subject}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Held]:
    """Nothing is attached yet."""
    with ExitStack() as stack:
        yield Held(tmp_path, stack)


def test_an_old_connection_is_cut_and_counted_once(ground: Held) -> None:
    """What the kernel sends as it is cut is no second attempt; the other side learns of it at the latest when it sends."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, SHUT)
    other = ground.accepted()
    ground.load()
    ground.hold()
    assert ground.sweep.look().found == {Verdict.DENIED: 1}
    assert alpha.do("send", 0) == "ECONNABORTED"
    with pytest.raises(ConnectionResetError):
        while other.send(b"x"):
            other.recv(1)
    assert ground.counted("alpha") == {(abi.INSIDE, Access.CONNECT, Verdict.DENIED, Hook.SWEEP): 1}


def test_an_old_connection_that_is_only_watched_is_counted_once(ground: Held) -> None:
    """It goes on, and what it sends is nothing new."""
    watched = ground.container("watched")
    watched.do("connect", "tcp", FAR, OPEN)
    other = ground.accepted(port=OPEN)
    ground.load()
    ground.hold()
    assert ground.sweep.look().found == {Verdict.OBSERVED: 1}
    for _ in range(3):
        assert watched.do("send", 0) == "ok"
        assert other.recv(1) == b"x"
    assert ground.counted("watched") == {(abi.INSIDE, Access.CONNECT, Verdict.OBSERVED, Hook.SWEEP): 1}


def test_what_began_here_is_cut_whatever_tcp_counts(ground: Held) -> None:
    """A byte that the egress hook has dropped counts as sent, as if the other side had begun; the kernel's programs know better."""
    alpha = ground.container("alpha")
    ground.load()
    ground.hold()
    alpha.do("connect", "tcp", FAR, OPEN)
    ground.accepted(port=OPEN)
    ground.load(GRANT_NOTHING)
    assert alpha.do("send", 0) == "ok"
    await_that("the refusal", lambda: bool(ground.counted("alpha")))
    assert ground.sweep.look().found == {Verdict.DENIED: 1}
    assert alpha.do("send", 0) == "ECONNABORTED"


def test_an_answer_to_an_old_datagram_socket_is_no_beginning(ground: Held) -> None:
    """It had connected before the programs were there: they are told, and what comes for it makes it nobody's answer."""
    alpha = ground.container("alpha")
    port = int(alpha.do("connect", "udp", FAR, SHUT))
    ground.load()
    ground.sweep.acquaint()
    ground.hold()
    ground.listeners[socket.SOCK_DGRAM, FAR, SHUT].sendto(b"x", (NEAR, port))
    assert ground.sweep.look().found == {Verdict.DENIED: 1}


@pytest.mark.parametrize("holder", [Reserved.NOBODY, Reserved.HOST])
def test_a_datagram_socket_that_was_written_to_is_judged_once_its_peer_is_another(ground: Held, holder: int) -> None:
    """It has connected to whoever wrote to it; when the address has gone to another, that is an attempt like any other."""
    alpha = ground.container("alpha")
    alpha.do("connect", "udp", FAR, SHUT)
    other = Container("f" * 64, "other", attachments=(Attachment("ground", (FAR,)),))
    ground.facts = replace(ground.facts, containers={**ground.facts.containers, other.id: other})
    ground.load()
    with Flows(alpha.pid) as flows:
        [flow] = flows.all()
    key = abi.FlowKey(socket=flow.cookie, port=flow.port, protocol=flow.protocol)
    key.address.bytes[:] = packed(flow.address)
    ground.maps.put_row("inbound", bytes(key), abi.Inbound(epoch=abi.NO_EPOCH, holder=holder))
    assert ground.sweep.look().found == ({} if holder == Reserved.NOBODY else {Verdict.DENIED: 1})


def test_a_raw_socket_from_before_sends_and_hears_no_more(ground: Held) -> None:
    """Not even what would pass for the kernel's own; another's in the same namespace goes on, and each is counted once."""
    alpha, stranger = ground.container("alpha"), ground.container("stranger")
    for tenant in (alpha, stranger):
        tenant.do("raw", 1)
    ground.load()
    ground.hold()
    assert [tenant.do("forge", 0, FAR) for tenant in (alpha, stranger)] == ["ok", "ok"]
    assert [ground.sweep.look().found for _ in range(2)] == [{Verdict.DENIED: 1}] * 2
    assert [tenant.do("forge", 0, FAR) for tenant in (alpha, stranger)] == ["EPERM", "ok"]
    for tenant in (alpha, stranger):
        while tenant.do("hear", 0, 0.01) == "ok":
            continue
    with ground.far.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as far:
        far.sendto(REPLY, (NEAR, 0))
    assert [tenant.do("hear", 0, wait) for tenant, wait in ((stranger, PATIENCE), (alpha, 0.1))] == ["ok", "silence"]
    assert ground.counted("alpha") == {(abi.INSIDE, Access.CONNECT, Verdict.DENIED, Hook.SWEEP): 1}


@pytest.mark.parametrize("told", [True, False])
def test_answers_on_old_connections_go_on(ground: Held, told: bool) -> None:
    """A server that listens no longer, in a container that may call nobody: the kernel must be told, since it cannot know."""
    alpha = ground.container("alpha")
    caller = ground.served(alpha)
    ground.load(GRANT_NOTHING)
    if told:
        ground.sweep.acquaint()
    ground.hold()
    alpha.do("send", 0)
    if told:
        assert caller.recv(1) == b"x"
        assert ground.counted("alpha") == {}
    else:
        await_that("the refusal", lambda: bool(ground.counted("alpha")))
        assert ground.counted("alpha") == {(abi.INSIDE, Access.CONNECT, Verdict.DENIED, Hook.EGRESS): 1}
