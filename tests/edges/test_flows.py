"""Open connections as the kernel lists them, between two network namespaces of our own; cut ones are gone on both sides."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.demo.namespace import Namespace, plug
from deploy.demo.process import await_that
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.flows import TCP, UDP, Flow, Flows
from enforcer.errors import ContainerGone

NEAR, FAR, NOBODY = "203.0.113.1", "203.0.113.2", "203.0.113.77"
NEAR6, FAR6 = "2001:db8::1", "2001:db8::2"
MANY = 3000
TCPI_OPT_SYN_DATA = 32
"""include/uapi/linux/tcp.h, in the sixth byte of struct tcp_info."""

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
OPENER = (
    "import os, socket, sys\n"
    "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
    "s = socket.create_connection((sys.argv[2], int(sys.argv[3])))\n"
    "print(s.getsockname()[1], flush=True)\n"
    "sys.stdin.read()\n"
)
"""Enters a cgroup, connects, says its port, and holds on until its input ends."""


@dataclass
class Ground:
    """Two namespaces with a cable between them; ``pid`` is a process in the near one. What is made here is closed at the end."""

    near: Namespace
    far: Namespace
    pid: int
    stack: ExitStack
    own: frozenset[int] = field(default_factory=lambda: frozenset({Cgroups().id_of(Cgroups().of_pid(os.getpid()))}))

    def make(self, where: Namespace, kind: int = STREAM, family: int = socket.AF_INET) -> socket.socket:
        """A socket in a namespace."""
        with where.entered():
            return self.stack.enter_context(socket.socket(family, kind))

    def bound(self, where: Namespace, address: str, port: int = 0, kind: int = STREAM) -> socket.socket:
        """A socket with an address of its own; it listens if it is a stream."""
        made = self.make(where, kind, family_of(address))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        if kind == STREAM:
            made.listen(MANY)
        return made

    def connected(
        self, listener: socket.socket, near: bool = True, local: int = 0
    ) -> tuple[socket.socket, socket.socket]:
        """A connection to a listener, from the near side unless told otherwise: (who began, who accepted)."""
        made = self.make(self.near if near else self.far, family=listener.family)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if local:
            made.bind(("", local))
        made.connect(listener.getsockname()[:2])
        accepted = self.stack.enter_context(listener.accept()[0])
        accepted.settimeout(60)
        return made, accepted

    def flows(self) -> list[Flow]:
        """What the near side has opened."""
        with Flows(self.pid) as flows:
            return [flow for flow in flows.all() if flow.opened]

    def cut(self, flow: Flow) -> str:
        """Why it is not cut."""
        with Flows(self.pid) as flows:
            return flows.cut(flow)


def family_of(address: str) -> socket.AddressFamily:
    """Of an address as text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def ends(flow: Flow) -> tuple[int, str, int, str, int]:
    """Protocol, own end, other end."""
    return flow.protocol, flow.local, flow.local_port, flow.address, flow.port


def ends_of(made: socket.socket, protocol: int = TCP) -> tuple[int, str, int, str, int]:
    """The same, by the socket itself."""
    return (protocol, *made.getsockname()[:2], *made.getpeername()[:2])


@pytest.fixture
def ground() -> Iterator[Ground]:
    """Both namespaces, without a way out."""
    near, far = (Namespace(f"flows{os.getpid()}{side}") for side in "nf")
    with ExitStack() as stack:
        for space in (near, far):
            stack.callback(space.remove)
            space.create()
        plug((near, "eth0"), (far, "eth0"), ((f"{NEAR}/24", f"{FAR}/24"), (f"{NEAR6}/64", f"{FAR6}/64")))
        for space in (near, far):
            space.assert_closed(("eth0",))
        words = ["nsenter", f"--net=/run/netns/{near.name}", "cat"]
        resident = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        stack.callback(resident.communicate)
        assert resident.stdin and resident.stdout
        resident.stdin.write(b"there\n")
        resident.stdin.flush()
        assert resident.stdout.readline() == b"there\n"
        yield Ground(near, far, resident.pid, stack)


@pytest.mark.parametrize(("kind", "protocol"), [(STREAM, TCP), (DATAGRAM, UDP)], ids=["tcp", "udp"])
@pytest.mark.parametrize("address", [FAR, FAR6])
def test_what_was_opened_is_found_with_both_ends(ground: Ground, address: str, kind: int, protocol: int) -> None:
    """A connection outwards is there once, with its ends, its owner's cgroup and user, and the inode of its descriptor."""
    made = ground.make(ground.near, kind, family_of(address))
    made.connect(ground.bound(ground.far, address, kind=kind).getsockname()[:2])
    [flow] = ground.flows()
    assert ends(flow) == ends_of(made, protocol)
    assert (flow.inode, flow.uid) == (os.fstat(made.fileno()).st_ino, os.getuid())
    assert flow.cgroup in ground.own


def test_an_ipv4_peer_of_an_ipv6_socket_is_ipv4(ground: Ground) -> None:
    """The policy knows one form of an address."""
    port = ground.bound(ground.far, FAR).getsockname()[1]
    ground.make(ground.near, family=socket.AF_INET6).connect((f"::ffff:{FAR}", port))
    [flow] = ground.flows()
    assert (flow.address, flow.local) == (FAR, NEAR)


@pytest.mark.parametrize("address", [NEAR, NEAR6])
@pytest.mark.parametrize("listens", [True, False], ids=["listening", "no longer listening"])
def test_what_was_accepted_is_none(ground: Ground, address: str, listens: bool) -> None:
    """A connection that the other side opened, whether or not anybody still listens: `nc -l` and a draining server do not."""
    listener = ground.bound(ground.near, address)
    began, accepted = ground.connected(listener, near=False)
    began.send(b"question")
    accepted.send(b"answer")
    if not listens:
        listener.close()
    assert ground.flows() == []


def test_a_listener_on_the_own_port_hides_nothing(ground: Ground) -> None:
    """A container may listen on the port from which it has connected; the connection stays one that it opened."""
    began, _ = ground.connected(ground.bound(ground.far, FAR), local=40_000)
    ground.bound(ground.near, NEAR, 40_000)
    assert [ends(flow) for flow in ground.flows()] == [ends_of(began)]


@pytest.mark.parametrize("outwards", [True, False], ids=["opened", "accepted"])
@pytest.mark.parametrize("finished", ["nobody", "this side", "other side"])
@pytest.mark.parametrize("unread", [0, 1, 100_000])
def test_who_began_is_told_in_every_state(ground: Ground, outwards: bool, finished: str, unread: int) -> None:
    """Half closed, and with data that the other side has not taken: it counts only who sent the first SYN."""
    listener = ground.bound(*((ground.far, FAR) if outwards else (ground.near, NEAR)))
    began, accepted = ground.connected(listener, near=outwards)
    listener.close()
    here, there = (began, accepted) if outwards else (accepted, began)
    expected = [ends_of(here)] if outwards else []
    there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    here.setblocking(False)
    assert here.send(b"x" * unread) > 0 if unread else True
    there.send(b"y" * min(unread, 1000))
    if finished != "nobody":
        (here if finished == "this side" else there).shutdown(socket.SHUT_WR)
    assert [ends(flow) for flow in ground.flows()] == expected


@pytest.mark.parametrize("address", [FAR, FAR6])
def test_one_that_only_waits_for_its_end_hides_nothing(ground: Ground, address: str) -> None:
    """This side has closed, the other has not: what is left in the kernel (FIN_WAIT2) is no socket, and has no cgroup."""
    listener = ground.bound(ground.far, address)
    (closed, _), (kept, _) = ground.connected(listener), ground.connected(listener)
    closed.close()
    table = Path(f"/proc/{ground.pid}/net/{'tcp6' if ':' in address else 'tcp'}")
    await_that("the other side to acknowledge", lambda: " 05 " in table.read_text())
    assert [ends(flow) for flow in ground.flows()] == [ends_of(kept)]


@pytest.mark.parametrize("outwards", [True, False], ids=["opened", "accepted"])
def test_who_began_is_told_of_a_fast_open(ground: Ground, outwards: bool) -> None:
    """TCP Fast Open sends data with the SYN, from the second connection on."""
    for space in (ground.near, ground.far):
        space.run("sysctl", "-q", "-w", "net.ipv4.tcp_fastopen=3")
    listener = ground.bound(*((ground.far, FAR) if outwards else (ground.near, NEAR)))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
    expected, with_data = [], 0
    for _ in range(2):
        made = ground.make(ground.near if outwards else ground.far)
        made.sendto(b"early", socket.MSG_FASTOPEN, listener.getsockname())
        accepted = ground.stack.enter_context(listener.accept()[0])
        assert accepted.recv(5) == b"early"
        with_data += bool(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & TCPI_OPT_SYN_DATA)
        expected += [ends_of(made)] if outwards else []
    assert with_data == 1
    assert sorted(ends(flow) for flow in ground.flows()) == sorted(expected)


def test_a_connection_that_nobody_has_answered_is_found_and_ended(ground: Ground) -> None:
    """The SYN is on its way: that is an attempt outwards."""
    made = ground.make(ground.near)
    made.setblocking(False)
    assert made.connect_ex((NOBODY, 443)) == errno.EINPROGRESS
    [flow] = ground.flows()
    assert (flow.address, flow.port) == (NOBODY, 443)
    assert ground.cut(flow) == ""
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
    assert ground.flows() == []


def test_sockets_without_a_peer_are_none(ground: Ground) -> None:
    """Listening, bound and unconnected ones; what such a datagram socket sends is judged when it sends."""
    ground.bound(ground.near, NEAR)
    ground.bound(ground.near, NEAR6)
    ground.bound(ground.near, NEAR, kind=DATAGRAM).sendto(b"x", (FAR, 9))
    ground.make(ground.near)
    assert ground.flows() == []


@pytest.mark.parametrize("address", [FAR, FAR6])
def test_a_cut_tcp_connection_is_reset(ground: Ground, address: str) -> None:
    """The owner's next call fails, the peer sees a reset, another connection to the same place goes on, and twice is once."""
    listener = ground.bound(ground.far, address)
    (cut, its_peer), (kept, kept_peer) = ground.connected(listener), ground.connected(listener)
    [flow] = [flow for flow in ground.flows() if ends(flow) == ends_of(cut)]
    assert ground.cut(flow) == ""
    with pytest.raises(ConnectionResetError):
        its_peer.recv(1)
    with pytest.raises(ConnectionAbortedError):
        cut.send(b"more")
    kept.send(b"still there")
    assert kept_peer.recv(99) == b"still there"
    assert [ends(flow) for flow in ground.flows()] == [ends_of(kept)]
    assert ground.cut(flow) == ""


@pytest.mark.parametrize("address", [FAR, FAR6, f"::ffff:{FAR}"])
def test_a_cut_udp_flow_sends_no_more(ground: Ground, address: str) -> None:
    """Its owner is told so, and what it sends after that has nowhere to go."""
    listener = ground.bound(ground.far, address.removeprefix("::ffff:"), kind=DATAGRAM)
    made = ground.make(ground.near, DATAGRAM, family_of(address))
    made.connect((address, listener.getsockname()[1]))
    made.send(b"before")
    [flow] = ground.flows()
    assert ground.cut(flow) == ""
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED
    with pytest.raises(OSError, match="Destination address required"):
        made.send(b"after")
    ground.make(ground.near, DATAGRAM, listener.family).sendto(b"last", listener.getsockname()[:2])
    assert [listener.recv(99) for _ in range(2)] == [b"before", b"last"]
    assert ground.flows() == []


def test_a_socket_belongs_to_the_cgroup_that_made_it(ground: Ground) -> None:
    """Containers may share a network namespace with each other or with the host: each has its own, nested ones too."""
    cgroups, top = Cgroups(), f"/enforcer-flows-{os.getpid()}"
    listener, places = ground.bound(ground.far, FAR), (f"{top}/one", f"{top}/one/nested", f"{top}/two")
    ports: dict[int, int] = {}
    with ExitStack() as stack:
        for place in (top, *places):
            stack.callback(cgroups.remove, place)
            cgroups.ensure(place)
        for place in places:
            words = ["nsenter", f"--net=/run/netns/{ground.near.name}", sys.executable, "-c", OPENER]
            words += [str(cgroups.root / place.lstrip("/") / "cgroup.procs"), FAR, str(listener.getsockname()[1])]
            child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.callback(child.communicate)
            assert child.stdout
            ports[cgroups.id_of(place)] = int(child.stdout.readline())
        with Flows(ground.pid) as flows:
            assert {flow.cgroup: flow.local_port for flow in flows.all()} == ports


def test_thousands_are_each_found_once(ground: Ground) -> None:
    """The listing comes in many parts; a listener with as many accepted ones beside them adds none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ground.stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    outwards, inwards = ground.bound(ground.far, FAR), ground.bound(ground.near, NEAR)
    expected = {ends_of(ground.connected(outwards)[0]) for _ in range(MANY)}
    for _ in range(MANY):
        ground.connected(inwards, near=False)
    with Flows(ground.pid) as flows:
        found = flows.all()
    assert len(found) == len({flow.cookie for flow in found}) == 2 * MANY
    assert {ends(flow) for flow in found if flow.opened} == expected


def test_a_process_that_has_ended_has_no_namespace(ground: Ground) -> None:
    """The container may end at any moment."""
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(ContainerGone):
        Flows(child.pid)


def test_who_looked_is_where_it_was(ground: Ground) -> None:
    """The thread that looks into a namespace is in its own again; only the listing comes from there."""

    def own() -> int:
        return Path("/proc/thread-self/ns/net").stat().st_ino

    before = own()
    with Flows(ground.pid) as flows:
        assert own() == before != flows.namespace
    with Flows(threading.get_native_id()) as flows:
        assert flows.namespace == before
