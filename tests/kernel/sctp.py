"""SCTP by real sockets. Run in the machine only (tests/vm/test_lsm.py names this file): the kernel needs its module.

No call of SCTP's passes a hook of cgroups, so all that judges it are its packets: what is not granted never gets an answer.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from enforcer import abi
from enforcer.core.model import Hook, Verdict
from enforcer.runtime.records import address_of
from tests.kernel.wire import FAR, NEAR, OTHER, SCTP, Wire, packets

PROGRAM = """
import socket, sys
procs, deed, address, port = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if procs != "-":
    open(procs, "w").write("0")
family = socket.AF_INET6 if ":" in address else socket.AF_INET
kind = socket.SOCK_SEQPACKET if deed.endswith("message") else socket.SOCK_STREAM
made = socket.socket(family, kind, 132)
made.settimeout(4)

def speak():
    "Say a word, by connect or by a message that makes an association of its own, and hear it again."
    if deed == "connect":
        made.connect((address, port))
        made.sendall(b"x")
    else:
        made.sendmsg([b"x"], [], 0, (address, port))
    assert made.recv(9) == b"x"

def serve():
    "Say again what one client says."
    made.bind((address, port))
    made.listen()
    print("ready", flush=True)
    made.settimeout(60)
    if kind == socket.SOCK_SEQPACKET:
        while True:
            data, client = made.recvfrom(100)
            made.sendto(data, client)
    while True:
        client, _ = made.accept()
        while data := client.recv(100):
            client.sendall(data)

serve() if deed.startswith("serve") else speak()
"""
SILENCE = 1  # the program ends by an exception: nobody answers


@pytest.fixture(scope="module", autouse=True)
def module() -> None:
    """The kernel's module: without it these tests fail, they are not left out."""
    subprocess.run(["modprobe", "sctp"], check=True)


def command(wire: Wire, who: str, deed: str, address: str, port: str, *, far: bool = False) -> list[str]:
    """The program in a container's cgroup at the near end, or (``who`` "") in none."""
    place = wire.world.cgroups.root / wire.world.parent.lstrip("/") / who / "cgroup.procs"
    space = wire.far if far else wire.near
    words = [sys.executable, "-I", "-S", "-c", PROGRAM, str(place) if who else "-", deed, address, port]
    return ["nsenter", f"--net=/run/netns/{space.name}", *words]


@contextmanager
def serving(words: list[str]) -> Iterator[None]:
    """A server, from the moment on that it listens."""
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout
        try:
            assert server.stdout.readline().strip() == b"ready"
            yield
        finally:
            server.kill()


@pytest.fixture(scope="module")
def listening(wire: Wire) -> Iterator[None]:
    """The far end answers at port 9, at every address that it has, one-to-one and one-to-many."""
    with (
        serving(command(wire, "", "serve", "::", "9", far=True)),
        serving(command(wire, "", "serve-message", "::", "10", far=True)),
    ):
        yield


WAYS = [(deed, port, version) for deed, port in (("connect", "9"), ("message", "10")) for version in (0, 1)]


@pytest.mark.parametrize(("deed", "port", "version"), WAYS)
def test_what_is_granted_arrives_and_what_is_not_does_not(
    wire: Wire, listening: None, deed: str, port: str, version: int
) -> None:
    """An association is made with the granted address; with its neighbour none is, no packet arrives, one attempt counts."""
    wire.allow(f"[{port}/sctp]")
    before = wire.arrived()["sctp"]
    assert subprocess.run(command(wire, "alpha", deed, FAR[version], port), check=False).returncode == 0
    assert wire.arrived()["sctp"] > before
    wire.world.read()
    after, stopped, counted = wire.arrived()["sctp"], packets(wire.world), wire.counted("alpha")
    assert subprocess.run(command(wire, "alpha", deed, OTHER[version], port), check=False).returncode == SILENCE
    [record] = [r for r in wire.world.read() if address_of(r) == OTHER[version]]
    assert (record.hook, record.protocol, record.port) == (Hook.EGRESS, SCTP, int(port))
    assert (record.verdict, record.class_) == (Verdict.DENIED, abi.EXTERNAL)
    assert wire.counted("alpha") - counted == 1
    assert packets(wire.world) > stopped
    assert wire.arrived()["sctp"] - after <= SHUTDOWN


SHUTDOWN = 4
"""Packets by which the granted association may still be ending."""


@pytest.mark.parametrize(("deed", "port", "version"), WAYS)
def test_another_port_is_another_destination(wire: Wire, listening: None, deed: str, port: str, version: int) -> None:
    """The port of the packets is the rule's, as with TCP."""
    wire.allow("[11/sctp]")
    assert subprocess.run(command(wire, "alpha", deed, FAR[version], port), check=False).returncode == SILENCE


@pytest.mark.parametrize("deed", ["connect", "message"])
@pytest.mark.parametrize("version", [0, 1], ids=["IPv4", "IPv6"])
def test_answers_are_free(wire: Wire, deed: str, version: int) -> None:
    """A container that may connect nowhere serves whoever comes, by either kind of socket; nothing is counted."""
    wire.allow()
    port, kind = ("12", "serve") if deed == "connect" else ("13", "serve-message")
    counted = wire.counted("beta")
    with serving(command(wire, "beta", kind, NEAR[version], port)):
        asked = command(wire, "", deed, NEAR[version], port, far=True)
        assert subprocess.run(asked, check=False).returncode == 0
    assert wire.counted("beta") == counted
