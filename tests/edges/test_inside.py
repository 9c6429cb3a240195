"""Trying from inside: network namespaces and cgroups that these tests made, with no route anywhere."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.demo.process import await_that
from enforcer.core.explain import Destination
from enforcer.core.model import Container
from enforcer.core.outcome import Listener, Outcome, Tried
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.inside import NOT_BACK, Inside
from enforcer.edges.listening import listening
from enforcer.errors import ContainerGone

HERE = "127.0.0.1"
SERVER = """
import socket, sys
taken = socket.create_server(("127.0.0.1", 8080))
other = socket.create_server(("::", 8081), family=socket.AF_INET6)
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("127.0.0.1", 8082))
mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mute.bind(("127.0.0.1", 8083))
print("up", flush=True)
while True:
    said, peer = echo.recvfrom(2048)
    echo.sendto(said, peer)
"""
START = f"ip link set lo up && exec {sys.executable} -I -S -c '{SERVER}'"

REACHED = Destination(HERE, 8080)
ECHO, MUTE = Destination(HERE, 8082, 17), Destination(HERE, 8083, 17)
CLOSED = Destination(HERE, 9)
OUTSIDE, OUTSIDE6 = Destination("203.0.113.10", 443), Destination("2001:db8::10", 443, 17)


@dataclass(frozen=True)
class Place:
    """A process in a network namespace and in a cgroup of its own, as a container has them."""

    container: Container
    cgroup: Path

    def members(self) -> set[int]:
        """Who is in the cgroup."""
        return set(map(int, (self.cgroup / "cgroup.procs").read_text().split()))


@pytest.fixture
def place() -> Iterator[Place]:
    """It runs, and has loopback only."""
    identity = secrets.token_hex(32)
    cgroups = Cgroups()
    path = f"/enforcer-test-inside/{identity}"
    cgroups.ensure(path)
    directory = cgroups.root / path.lstrip("/")
    command = ["unshare", "--net", "sh", "-c", START]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            (directory / "cgroup.procs").write_text(str(process.pid))
            assert process.stdout
            assert process.stdout.readline() == "up\n"
            yield Place(Container(identity, "c", pid=process.pid, cgroup=cgroups.id_of(path)), directory)
        finally:
            process.kill()
            process.wait()
            await_that("the cgroup to be empty", lambda: not (directory / "cgroup.procs").read_text())
            cgroups.remove(path)
            cgroups.remove("/enforcer-test-inside")


def both(outcome: Outcome) -> Tried:
    """The same from the namespace and from the cgroup."""
    return Tried(outcome, outcome)


def test_calls_are_made_in_its_namespace(place: Place) -> None:
    """Each kind of end, from a namespace in which what answers is not what answers here."""
    asked = [REACHED, ECHO, MUTE, CLOSED, OUTSIDE, OUTSIDE6]
    found = Inside(Cgroups(), seconds=0.5).call(place.container, asked)
    assert found == {
        REACHED: both(Outcome.REACHED),
        ECHO: both(Outcome.REACHED),
        MUTE: both(Outcome.SILENT),
        CLOSED: both(Outcome.REFUSED),
        OUTSIDE: both(Outcome.UNREACHABLE),
        OUTSIDE6: both(Outcome.UNREACHABLE),
    }


def test_it_leaves_nothing(place: Place) -> None:
    """Nobody stays in the cgroup, no descriptor stays open, and this process is where it was."""
    before = (os.readlink("/proc/self/ns/net"), Path("/proc/self/cgroup").read_text(), len(os.listdir("/proc/self/fd")))
    Inside(Cgroups(), seconds=0.1).call(place.container, [MUTE])
    assert place.members() == {place.container.pid}
    now = (os.readlink("/proc/self/ns/net"), Path("/proc/self/cgroup").read_text(), len(os.listdir("/proc/self/fd")))
    assert now == before


def test_more_calls_than_descriptors(place: Place) -> None:
    """Hundreds are made in turns."""
    asked = [Destination(HERE, 8080), *(Destination(HERE, port) for port in range(10, 1500))]
    found = Inside(Cgroups(), seconds=1).call(place.container, asked)
    assert len(found) == len(asked)
    assert found[asked[0]] == both(Outcome.REACHED)
    assert {found[to] for to in asked[1:]} == {both(Outcome.REFUSED)}


def test_a_cgroup_that_is_frozen_keeps_nobody(place: Place) -> None:
    """As a paused container's: our process freezes as it enters, is killed, and what it had found before is told."""
    (place.cgroup / "cgroup.freeze").write_text("1")
    found = Inside(Cgroups(), seconds=0.1, spare=2).call(place.container, [REACHED])
    assert found == {REACHED: Tried(Outcome.REACHED, Outcome.UNTRIED, NOT_BACK)}
    await_that("our process to be gone", lambda: place.members() == {place.container.pid})
    (place.cgroup / "cgroup.freeze").write_text("0")


def test_a_pid_that_is_another_process_by_now(place: Place) -> None:
    """The process is in no cgroup of the container's name: it is not entered."""
    with pytest.raises(ContainerGone, match="ended"):
        Inside(Cgroups(), seconds=0.1).call(replace(place.container, pid=os.getpid()), [REACHED])


def test_a_process_that_has_ended(place: Place) -> None:
    """No such pid."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    with pytest.raises(ContainerGone):
        Inside(Cgroups(), seconds=0.1).call(replace(place.container, pid=ended.pid), [REACHED])
    with pytest.raises(ContainerGone):
        listening(ended.pid)


def test_from_here() -> None:
    """The control attempt is made where we are."""
    with socket.create_server((HERE, 0)) as server:
        to = Destination(HERE, server.getsockname()[1])
        assert Inside(Cgroups(), seconds=1).from_here([to]) == {to: Outcome.REACHED}


def test_listening(place: Place) -> None:
    """TCP listeners of the namespace, of both families; datagram sockets are none."""
    found = {(str(found.address), found.port) for found in listening(place.container.pid)}
    assert found == {(HERE, 8080), ("::", 8081)}


def test_listening_without_ipv6(tmp_path: Path) -> None:
    """A kernel that has none has no such table; a line that is no listener is left out."""
    (tmp_path / "7/net").mkdir(parents=True)
    lines = [
        "  sl  local_address rem_address   st",
        "   0: 0B0011AC:1538 00000000:0000 0A 0",
        "   1: 0B0011AC:1539 0100007F:1 01 0",
    ]
    (tmp_path / "7/net/tcp").write_text("\n".join(lines))
    [found] = listening(7, tmp_path)
    assert isinstance(found, Listener)
    assert (str(found.address), found.port) == ("172.17.0.11", 5432)


def test_it_ends_with_the_container(place: Place) -> None:
    """While our process is in the cgroup the engine cannot remove it: it does not stay to the end of a long call."""
    children = Path(f"/proc/{os.getpid()}/task")
    before = {c for task in children.iterdir() for c in (task / "children").read_text().split()}
    with ThreadPoolExecutor() as pool:
        calling = pool.submit(Inside(Cgroups(), seconds=100).call, place.container, [MUTE])

        def waits() -> bool:
            now = {c for task in children.iterdir() for c in (task / "children").read_text().split()}
            return any(os.readlink(f"/proc/{c}/ns/net") != os.readlink("/proc/self/ns/net") for c in now - before)

        await_that("our process to be in the namespace", waits)
        os.kill(place.container.pid, signal.SIGKILL)
        os.waitid(os.P_PID, place.container.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ContainerGone):
            calling.result(timeout=30)
