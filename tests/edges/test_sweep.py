"""Old connections of containers, found, judged, reported and cut. The containers are cgroups and namespaces of our own, and
their connections real ones; the policy in force is compiled as always, over tables in memory."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deploy.demo.process import await_that
from enforcer import abi
from enforcer.core.event import NetAttempt
from enforcer.core.model import Access, Hook, Mechanism, Mode, Verdict
from enforcer.edges.flows import Flow, Flows
from enforcer.runtime.books import books
from enforcer.runtime.look import Swept
from enforcer.runtime.sweep import ROUNDS
from enforcer.runtime.watching import Tables
from tests.edges.ground import FAR, FAR6, GRANT_NOTHING, OPEN, SHUT, Ground

CAP_NET_ADMIN = 12


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """Without a way out; all that was made goes with the test."""
    with ExitStack() as stack:
        yield Ground(tmp_path, stack, Tables())


@pytest.mark.parametrize("address", [FAR, FAR6])
@pytest.mark.parametrize(("kind", "protocol", "refused"), [("tcp", 6, "ECONNABORTED"), ("udp", 17, "EDESTADDRREQ")])
def test_what_the_policy_does_not_allow_is_cut_and_recorded(
    ground: Ground, address: str, kind: str, protocol: int, refused: str
) -> None:
    """It ends, it is counted, and its event says whose it was, where it went, and by which rule; another one goes on."""
    alpha = ground.container("alpha")
    alpha.do("connect", kind, address, SHUT)
    alpha.do("connect", "tcp", address, OPEN)
    ground.load()
    assert ground.sweep.look().found == {Verdict.DENIED: 1}
    [event] = ground.events()
    attempt = event.attempt
    assert isinstance(attempt, NetAttempt)
    assert (attempt.address, attempt.port, attempt.protocol, attempt.network) == (address, SHUT, protocol, "ground")
    assert attempt.external is (address == FAR6)  # the network of the test has no IPv6 subnet
    assert (event.who.name, event.process.pid, event.process.uid) == ("alpha", alpha.pid, 0)
    assert event.process.name == Path(f"/proc/{alpha.pid}/comm").read_text().strip()
    assert (event.verdict, event.mechanism, event.hook) == (Verdict.DENIED, Mechanism.SWEEP, Hook.SWEEP)
    assert (event.asked, event.granted, event.mode) == (Access.CONNECT, Access.NONE, Mode.ENFORCE)
    assert event.rule == ("network.rules[0]",)
    [(key, number)] = ground.maps.counts().items()
    class_ = abi.EXTERNAL if attempt.external else abi.INSIDE
    assert (key[3:], number) == ((class_, Access.CONNECT, Verdict.DENIED, Hook.SWEEP), 1)
    if kind == "udp":
        alpha.do("send", 0)  # takes the error that waits
    assert alpha.do("send", 0) == refused
    assert alpha.do("send", 1) == "ok"


def test_the_other_side_of_a_cut_connection_sees_a_reset(ground: Ground) -> None:
    """It is told at once, not left to wait."""
    ground.container("alpha").do("connect", "tcp", FAR, SHUT)
    other = ground.accepted()
    ground.load()
    ground.sweep.look()
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_in_monitor_mode_it_goes_on(ground: Ground) -> None:
    """Observed, recorded, and left alone."""
    watched = ground.container("watched")
    watched.do("connect", "tcp", FAR, OPEN)
    ground.load()
    assert ground.sweep.look().found == {Verdict.OBSERVED: 1}
    [event] = ground.events()
    assert (event.verdict, event.mode, event.mechanism) == (Verdict.OBSERVED, Mode.MONITOR, Mechanism.SWEEP)
    assert watched.do("send", 0) == "ok"


def test_a_flow_is_reported_once_while_it_lives_and_the_policy_stays(ground: Ground) -> None:
    """A second look finds it and says nothing; a new load is another policy; another flow is another one."""
    watched = ground.container("watched")
    watched.do("connect", "tcp", FAR, OPEN)
    ground.load()
    assert [ground.sweep.look().reported for _ in range(3)] == [1, 0, 0]
    watched.do("connect", "tcp", FAR, OPEN)
    assert ground.sweep.look().reported == 1
    ground.load()
    look = ground.sweep.look()
    assert (look.reported, look.found) == (2, {Verdict.OBSERVED: 2})
    assert len(ground.events()) == sum(ground.maps.counts().values()) == 4


def test_a_grant_that_is_taken_away_ends_what_it_allowed(ground: Ground) -> None:
    """Allowed under one policy, cut under the next."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, OPEN)
    ground.load()
    assert ground.sweep.look().found == {}
    assert alpha.do("send", 0) == "ok"
    ground.load(GRANT_NOTHING)
    assert ground.sweep.look().found == {Verdict.DENIED: 1}
    assert alpha.do("send", 0) == "ECONNABORTED"


def test_answers_are_not_judged(ground: Ground) -> None:
    """What somebody else has opened to a container that may call nobody is none of a connect rule's business."""
    alpha = ground.container("alpha")
    caller = ground.served(alpha)
    ground.load(GRANT_NOTHING)
    assert ground.sweep.look().found == {}
    assert alpha.do("send", 0) == "ok"
    assert caller.recv(1) == b"x"


def test_containers_in_one_namespace_have_each_their_own(ground: Ground) -> None:
    """`--network container:X`: what one may not do is not laid to the other, and the host's processes there are nobody's."""
    alpha, stranger = ground.container("alpha", nested="deeper"), ground.container("stranger")
    for tenant in (alpha, stranger):
        tenant.do("connect", "tcp", FAR, SHUT)
    with ground.near.entered():
        host = socket.create_connection((FAR, SHUT))
    with host:
        ground.load()
        assert ground.sweep.look().found == {Verdict.DENIED: 1}
        assert [event.who.name for event in ground.events()] == ["alpha"]
        assert (alpha.do("send", 0), stranger.do("send", 0), host.send(b"x")) == ("ECONNABORTED", "ok", 1)


def test_a_cgroup_that_is_gone_hides_nothing(ground: Ground) -> None:
    """A container makes a socket in a cgroup of its own and removes that: the connection is still the container's."""
    alpha = ground.container("alpha", nested="passing")
    alpha.do("connect", "tcp", FAR, SHUT)
    ground.leave(alpha, "passing")
    ground.load()
    assert ground.sweep.look().found == {Verdict.DENIED: 1}
    assert [event.who.name for event in ground.events()] == ["alpha"]
    assert alpha.do("send", 0) == "ECONNABORTED"


def test_a_quarantined_container_keeps_none(ground: Ground) -> None:
    """Whatever the policy says of it, in monitor mode and by no rule, too."""
    tenants = [ground.container(name) for name in ("alpha", "watched", "stranger")]
    for tenant in tenants:
        tenant.do("connect", "tcp", FAR, OPEN)
    ground.load(quarantined=frozenset(ground.facts.containers))
    assert ground.sweep.look().found == {Verdict.DENIED: 3}
    assert [tenant.do("send", 0) for tenant in tenants] == ["ECONNABORTED"] * 3


def test_a_container_that_has_ended_is_passed_over(ground: Ground) -> None:
    """The facts may be older than the look."""
    gone, alpha = ground.container("watched"), ground.container("alpha")
    alpha.do("connect", "tcp", FAR, SHUT)
    ground.load()
    gone.end()
    look = ground.sweep.look()
    assert (look.found, look.failures) == ({Verdict.DENIED: 1}, {})


def test_nothing_is_looked_at_before_a_policy_is_in_force(ground: Ground) -> None:
    """There is nothing to judge by."""
    ground.container("alpha").do("connect", "tcp", FAR, SHUT)
    assert ground.sweep.look().found == {}


def without(capability: int, task: Callable[[], object]) -> None:
    """Do something in a thread that lacks a capability (capset(2) is for one thread)."""

    def run() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        head = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
        data = ctypes.create_string_buffer(24)
        assert libc.capget(head, data) == 0
        words = list(struct.unpack("=6I", data.raw))
        words[0] &= ~(1 << capability)
        assert libc.capset(head, ctypes.create_string_buffer(struct.pack("=6I", *words))) == 0
        task()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_what_cannot_be_cut_is_observed_and_said(ground: Ground) -> None:
    """The verdict is what became of it, not what should have; the agent says what it could not do, until it can."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, SHUT)
    ground.load()
    without(CAP_NET_ADMIN, ground.sweep.look)
    assert ground.sweep.last.found == {Verdict.OBSERVED: 1}
    [(what, why)] = ground.sweep.shortcomings().items()
    assert ("alpha" in what, why) == (True, "Operation not permitted")
    [event] = ground.events()
    assert (event.verdict, event.mode) == (Verdict.OBSERVED, Mode.ENFORCE)
    assert alpha.do("send", 0) == "ok"
    assert ground.sweep.look().found == {Verdict.DENIED: 1}
    assert ground.sweep.shortcomings() == {}
    assert alpha.do("send", 0) == "ECONNABORTED"


def test_every_report_is_recorded_or_lost(ground: Ground) -> None:
    """With no room for more records, what is counted is counted as lost, too."""
    ground.container("watched").do("connect", "tcp", FAR, OPEN)
    while ground.sweep.events.put(abi.CEvent()):
        pass
    ground.load()
    ground.sweep.look()
    [found] = books(ground.maps, {}).values()
    assert (found.counted, found.recorded, sum(found.lost.values())) == (1, 0, 1)


@pytest.mark.parametrize(("name", "mode"), [("alpha", Mode.ENFORCE), ("watched", Mode.MONITOR)])
def test_a_packet_socket_from_before_is_recorded_and_said(ground: Ground, name: str, mode: Mode) -> None:
    """The kernel lets nobody end it: it is observed, once, and where the policy enforces, `status` says what to do."""
    tenant = ground.container(name)
    ground.container("stranger").do("packet")
    tenant.do("packet")
    ground.load()
    looks = [ground.sweep.look() for _ in range(2)]
    assert [(look.found, look.reported) for look in looks] == [({Verdict.OBSERVED: 1}, 1), ({Verdict.OBSERVED: 1}, 0)]
    [event] = ground.events()
    attempt = event.attempt
    assert isinstance(attempt, NetAttempt)
    assert (event.who.name, event.process.pid, attempt.socket, attempt.address) == (name, tenant.pid, "packet", "")
    assert (event.verdict, event.mechanism, event.mode) == (Verdict.OBSERVED, Mechanism.SWEEP, mode)
    assert event.rule == (f"network.rules[{0 if name == 'alpha' else 1}]",)
    said = ground.sweep.shortcomings()
    assert [("alpha" in what, "restart" in why) for what, why in said.items()] == (
        [(True, True)] if name == "alpha" else []
    )
    assert len(looks) == 2 and sum(ground.maps.counts().values()) == 1


def test_a_raw_socket_that_nothing_holds_is_observed(ground: Ground) -> None:
    """On a host where no program of ours judges packets it is not said to be cut off."""
    ground.container("alpha").do("raw", 1)
    ground.load()
    assert ground.sweep.look().found == {Verdict.OBSERVED: 1}
    [event] = ground.events()
    assert isinstance(event.attempt, NetAttempt)
    assert (event.attempt.socket, event.attempt.protocol, event.verdict) == ("raw", 1, Verdict.OBSERVED)
    assert ["alpha" in what for what in ground.sweep.shortcomings()] == [True]


def test_what_is_published_while_it_looks_is_looked_by(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that comes to be allowed while it is listed is not judged by what was in force before."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, OPEN)
    ground.load(GRANT_NOTHING)
    listed, publish = Flows.all, iter([ground.load])

    def all_(flows: Flows) -> list[Flow]:
        found = listed(flows)
        for late in publish:
            late()
        return found

    monkeypatch.setattr(Flows, "all", all_)
    look = ground.sweep.look()
    assert (look.found, look.whole, ground.events()) == ({}, True, [])
    assert alpha.do("send", 0) == "ok"


def test_what_is_published_without_end_is_looked_at_later(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives up after a few rounds, has done nothing, and says that it has not looked; the next look finds it all."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, SHUT)
    ground.load()
    listed, rounds = Flows.all, []

    def all_(flows: Flows) -> list[Flow]:
        rounds.append(listed(flows))
        ground.load()
        return rounds[-1]

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Flows, "all", all_)
        look = ground.sweep.look()
    assert (look.whole, look.reported, len(rounds), ground.events()) == (False, 0, ROUNDS, [])
    assert alpha.do("send", 0) == "ok"
    assert ground.sweep.look().found == {Verdict.DENIED: 1}


def test_nothing_is_judged_while_the_maps_are_written(ground: Ground) -> None:
    """What is half written is nothing to judge by; a publication that failed leaves it so until one succeeds."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, SHUT)
    ground.load()
    ground.reconcile.settled = None
    assert (ground.sweep.look().whole, ground.events()) == (False, [])
    assert alpha.do("send", 0) == "ok"
    ground.load()
    assert ground.sweep.look().found == {Verdict.DENIED: 1}


def test_it_looks_when_it_is_woken(ground: Ground) -> None:
    """In a thread of its own, whose end it waits for."""
    alpha = ground.container("alpha")
    alpha.do("connect", "tcp", FAR, SHUT)
    ground.load()
    thread = threading.Thread(target=ground.sweep.run)
    thread.start()
    try:
        ground.sweep.wake()
        with pytest.raises(ConnectionResetError):
            ground.accepted().recv(1)
        await_that("the report", lambda: ground.sweep.last.reported == 1)
    finally:
        ground.sweep.end()
        thread.join(10)
    assert not thread.is_alive()
    assert [event.verdict for event in ground.events()] == [Verdict.DENIED]


def test_it_looks_once_more_soon_after(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect that was let through just before the change is listed just after the first look, and does not get away."""
    monkeypatch.setattr("enforcer.runtime.sweep.AGAIN_S", 0.01)
    alpha, looks, late = ground.container("alpha"), [], ground.sweep.look

    def look() -> Swept:
        looks.append(late())
        if len(looks) == 1:
            alpha.do("connect", "tcp", FAR, SHUT)
        return looks[-1]

    ground.sweep.look = look  # type: ignore[method-assign]
    ground.load()
    thread = threading.Thread(target=ground.sweep.run)
    thread.start()
    try:
        ground.sweep.wake()
        await_that("the second look", lambda: len(looks) == 2)
    finally:
        ground.sweep.end()
        thread.join(10)
    assert [look.found for look in looks] == [{}, {Verdict.DENIED: 1}]
    assert alpha.do("send", 0) == "ECONNABORTED"
