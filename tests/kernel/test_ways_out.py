"""Every way to send, by a program of its own: what is granted arrives, what is not does not, whichever call it is made by."""

from __future__ import annotations

import errno
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer.core.model import Mechanism
from tests.kernel.wire import FAR, OTHER, Wire

SENDER = Path(__file__).with_name("sender.c")
WAYS = ("tcp", "udp", "sendto", "sendmsg", "sendmmsg", "fastopen", "uring-connect", "uring-send")
STREAMS = ("tcp", "fastopen", "uring-connect")
PACKETS = {"sendmmsg": 2}
AROUND = ("203.0.113.255", "255.255.255.255", "224.0.0.251", "169.254.169.254", "169.254.1.1", "ff02::fb", "fd00::1")
"""Broadcast, multicast, the metadata address, link-local, unique local: addresses that no rule of the test grants."""


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, compiled."""
    program = tmp_path_factory.mktemp("sender") / "sender"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", "-static", "-o", program, SENDER], check=True)
    return program


@pytest.fixture(scope="module")
def listening(wire: Wire) -> Iterator[None]:
    """The far end accepts at 443, so that a stream that is let go ends well; every route leads there."""
    for family, everything in (("-4", "default"), ("-6", "default")):
        wire.near.run("ip", family, "route", "add", everything, "dev", "out")
    accept = "import socket\ns=socket.create_server(('::',443),family=socket.AF_INET6,dualstack_ipv6=True)\nprint(flush=True)\n"
    command = ["nsenter", f"--net=/run/netns/{wire.far.name}", "python3", "-c", accept + "while True: s.accept()"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
        assert listener.stdout
        listener.stdout.readline()
        yield
        listener.kill()
    for family in ("-4", "-6"):
        wire.near.run("ip", family, "route", "del", "default", "dev", "out")


def go(wire: Wire, sender: Path, way: str, address: str):
    """Alpha goes that way; how it ended, and what the kernel counted and recorded."""
    wire.world.read()
    before = wire.counted("alpha")
    procs = wire.world.cgroups.root / wire.world.parent.lstrip("/") / "alpha" / "cgroup.procs"
    command = ["nsenter", f"--net=/run/netns/{wire.near.name}", sender, procs, way, address, "443"]
    code = subprocess.run(command, check=False, timeout=30).returncode
    return code, wire.counted("alpha") - before


def ended(wire: Wire, way: str, code: int) -> int:
    """Where system calls are judged, a ring is punished before it is used."""
    by_tracepoint = wire.world.held("io_uring") is Mechanism.TRACEPOINT
    return -signal.SIGKILL if by_tracepoint and way.startswith("uring") else code


@pytest.mark.parametrize("way", [*WAYS, *(f"{way}-mapped" for way in WAYS)])
def test_what_is_granted_arrives_and_what_is_not_does_not(wire: Wire, sender: Path, listening: None, way: str) -> None:
    """To one address, and not to its neighbour; the refusal is an attempt, counted once, and EPERM for who tries."""
    wire.allow("[443/tcp, 443/udp]")
    plain = way.removesuffix("-mapped")
    kind = "tcp" if plain in STREAMS else "udp"
    for version in (0,) if way != plain else (0, 1):
        before = wire.arrived()[kind]
        assert go(wire, sender, way, FAR[version])[0] == ended(wire, way, 0)
        after = wire.arrived()[kind]
        assert after > before or ended(wire, way, 0)
        code, counted = go(wire, sender, way, OTHER[version])
        assert code == ended(wire, way, errno.EPERM)
        assert counted == 1
        assert wire.arrived()[kind] - after <= (0 if kind == "udp" else 3)  # the granted stream's last packets


@pytest.mark.parametrize("address", AROUND)
def test_addresses_of_everybody_and_of_nobody(wire: Wire, sender: Path, listening: None, address: str) -> None:
    """Broadcast, multicast, link-local and the metadata address are destinations as any other: not granted, not reached."""
    wire.allow("[443/udp]")
    before = wire.arrived()["udp"]
    assert go(wire, sender, "sendto", address) == (errno.EPERM, 1)
    assert wire.arrived()["udp"] == before
