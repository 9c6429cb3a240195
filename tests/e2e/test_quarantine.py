"""Quarantine and packet sockets, in real containers: frames that pass no hook of a cgroup do not leave, and do not arrive.

The ground truth is a packet socket of the host on the network's bridge.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from docker.models.containers import Container

from enforcer.core.event import Event, NetAttempt
from enforcer.core.model import Mechanism, Verdict
from tests.e2e.agent import Agent
from tests.e2e.test_egress_guard import Site, inside, site
from tests.e2e.world import BORROWED

__all__ = ["site"]  # a fixture

OUT, IN = 0x88B5, 0x88B6
"""What the container sends, and what it listens for: IEEE 802's local experimental ethertypes."""

EVERYBODY = b"\xff" * 6
NAME = "sniffer"
HOLDER = f"""
import os, socket, time
while not os.path.exists("/go"):
    time.sleep(0.02)
made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons({IN}))
made.setblocking(False)
print("ready", flush=True)
while True:
    for _, name in socket.if_nameindex():
        try:
            if name != "lo":
                made.sendto(b"out" * 20, (name, {OUT}, 0, 0, {EVERYBODY!r}))
        except OSError:
            pass
    try:
        while made.recv(99):
            print("heard", flush=True)
    except BlockingIOError:
        time.sleep(0.02)
"""
"""Sends a frame by each interface again and again, and says whenever it hears one; once it is told to begin."""


@contextmanager
def bridge(site: Site, network: str) -> Iterator[socket.socket]:
    """A packet socket on a network's bridge, which hears what containers send."""
    name = f"br-{site.client.networks.get(network).id[:12]}"
    with inside(f"/run/netns/{site.engine.namespace.name}"):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(OUT))
    with made:
        made.bind((name, OUT))
        made.settimeout(20)
        yield made


def hears(listener: socket.socket) -> bool:
    """Whether there is a frame that came after this was asked for."""
    drain(listener)
    listener.settimeout(20)
    try:
        return bool(listener.recv(99))
    except TimeoutError:
        return False


def drain(listener: socket.socket) -> int:
    """Take what waits; how many frames."""
    listener.setblocking(False)
    found = 0
    try:
        while listener.recv(99):
            found += 1
    except BlockingIOError:
        return found
    return found


def counters(site: Site, way: str) -> list[int]:
    """What the chains of the table on devices have dropped of what the host gets (in) or gives (out), as `nft` tells it."""
    listed = site.nft("-j", "list", "table", "netdev", site.table, check=False)
    rules = [e["rule"] for e in json.loads(listed)["nftables"] if "rule" in e] if listed else []
    found = [(r["chain"], e["counter"]["packets"]) for r in rules for e in r["expr"] if "counter" in e]
    return [packets for chain, packets in found if chain.startswith(f"{way}-")]


def is_held(site: Site, listener: socket.socket, way: str = "in") -> bool:
    """Whether more frames are dropped, on each device, and none has come out of one meanwhile."""
    drain(listener)
    before = counters(site, way)
    site.agent.await_that(
        "frames to be dropped", lambda: all(n > b + 3 for n, b in zip(counters(site, way), before, strict=True))
    )
    return bool(before) and drain(listener) == 0


def order(site: Site, command: str, name: str) -> None:
    """What an operator gives."""
    done = site.agent.ask(command, name, "--run", str(site.agent.directory / "run"))
    assert done.returncode == 0, done.stderr


def said(site: Site, name: str) -> list[str]:
    """What status says of packet sockets that are not stopped."""
    return [
        d["why"]
        for d in site.agent.status()["degraded"]
        if d["what"] == f"packet sockets of quarantined {name} are not stopped"
    ]


@pytest.fixture(scope="module")
def alone(session_agent: Agent) -> Iterator[None]:
    """No other agent: it would take containers of another engine for ones that nobody has named, which get no packet socket."""
    if session_agent.running:
        session_agent.stop()
    session_agent.unload()
    try:
        yield
    finally:
        session_agent.start()


@pytest.fixture
def sniffer(alone: None, site: Site) -> Iterator[Container]:
    """A container in the lounge that has had a packet socket since before it was quarantined."""
    made = site.start(NAME, "lounge", "/usr/bin/python3", "-c", HOLDER, volumes=BORROWED)
    try:
        made.exec_run(
            ["touch", "/go"]
        )  # the agent knows it by now: a container that nobody knows gets no packet socket
        site.agent.await_that("the socket", lambda: b"ready" in made.logs())
        yield made
    finally:
        order(site, "release", NAME)
        made.remove(force=True)


def test_a_packet_socket_sends_and_hears_nothing_in_quarantine(site: Site, sniffer: Container) -> None:
    """From the order on, through the agent's death and restart, until the release; it is on record, and keeps running."""
    mark = site.agent.mark()
    with bridge(site, "lounge") as listener:
        assert hears(listener)
        order(site, "quarantine", NAME)
        assert is_held(site, listener)
        site.agent.kill()
        listed = site.nft("list", "tables")
        assert "table netdev enforcer-" in listed
        drain(listener)
        site.agent.start()
        assert is_held(site, listener)
        heard = sniffer.logs().count(b"heard")
        for _ in range(9):
            listener.sendto(b"in" * 20, (listener.getsockname()[0], IN, 0, 0, EVERYBODY))
        site.agent.await_that("the frames to be dropped", lambda: counters(site, "out")[0] >= 9)
        assert sniffer.logs().count(b"heard") == heard
        sniffer.reload()
        assert (sniffer.status, said(site, NAME)) == ("running", [])
        order(site, "release", NAME)
        assert site.nft("list", "table", "netdev", site.table, check=False) == ""
        assert hears(listener)
        listener.sendto(b"in" * 20, (listener.getsockname()[0], IN, 0, 0, EVERYBODY))
        site.agent.await_that("the container to hear", lambda: sniffer.logs().count(b"heard") > heard)
    site.agent.await_that("the record", lambda: bool(sweeps(site, mark.sequence)))
    assert {e.attempt.socket for e in sweeps(site, mark.sequence) if isinstance(e.attempt, NetAttempt)} == {"packet"}
    assert {e.verdict for e in sweeps(site, mark.sequence)} == {Verdict.OBSERVED}


def sweeps(site: Site, after: int) -> list[Event]:
    """What the sweep has recorded of the container."""
    return [e for e in site.agent.events(after) if e.mechanism is Mechanism.SWEEP and e.who.name == NAME]


def test_another_network_is_no_way_out(site: Site, sniffer: Container) -> None:
    """It is connected to one while it is quarantined: that cable is shut, too; what somebody flushes is shut again, and said."""
    order(site, "quarantine", NAME)
    mark = site.agent.mark()
    site.client.networks.get("vault").connect(sniffer)
    site.agent.await_that("the second device", lambda: len(counters(site, "in")) == 2)
    with bridge(site, "vault") as listener:
        assert is_held(site, listener)
    site.nft("flush", "ruleset")
    site.agent.await_that("both devices", lambda: len(counters(site, "in")) == 2)
    with bridge(site, "lounge") as listener:
        assert is_held(site, listener)
    site.agent.await_that("the notice", lambda: bool(site.agent.notices("quarantine-restored", after=mark.sequence)))
    site.client.networks.get("vault").disconnect(sniffer)
    site.agent.await_that("one to go", lambda: len(counters(site, "in")) == 1)


def test_a_container_that_starts_again_has_no_such_socket(site: Site, sniffer: Container) -> None:
    """The order stands, and it gets no packet socket any more; nothing is left of a cable that is gone."""
    order(site, "quarantine", NAME)
    assert len(counters(site, "in")) == 1
    sniffer.restart(timeout=1)
    assert sniffer.wait(timeout=60)["StatusCode"] != 0
    site.agent.await_that("its end to be known", lambda: not site.agent.runs(NAME))
    assert site.nft("list", "table", "netdev", site.table, check=False) == ""


def test_who_shares_the_network_does_not_suffer(site: Site, sniffer: Container) -> None:
    """The cable stays open while a free container needs it, which is said; once both are quarantined it is shut."""
    sidecar = site.client.containers.create(
        site.own.images.base,
        ["sleep", "infinity"],
        name="sidecar",
        network_mode=f"container:{NAME}",
        labels=site.engine.labels,
    )
    try:
        sidecar.start()
        site.agent.await_that("the sidecar", lambda: site.agent.runs("sidecar"))
        order(site, "quarantine", NAME)
        assert ["sidecar" in why for why in said(site, NAME)] == [True]
        with bridge(site, "lounge") as listener:
            assert hears(listener)
            order(site, "quarantine", "sidecar")
            assert said(site, NAME) == []
            assert is_held(site, listener)
        order(site, "release", "sidecar")
        assert len(said(site, NAME)) == 1
    finally:
        sidecar.remove(force=True)


def test_what_has_no_cable_is_said(site: Site) -> None:
    """On the host's network nothing can be shut but the host."""
    hostly = site.client.containers.create(
        site.own.images.base, ["sleep", "infinity"], name="hostly", network_mode="host", labels=site.engine.labels
    )
    try:
        hostly.start()
        site.agent.await_that("it to run", lambda: site.agent.runs("hostly"))
        order(site, "quarantine", "hostly")
        assert ["host's own network" in why for why in said(site, "hostly")] == [True]
        order(site, "release", "hostly")
        assert said(site, "hostly") == []
    finally:
        hostly.remove(force=True)


def test_unload_opens_it(site: Site, sniffer: Container) -> None:
    """Nothing of ours is left; the next agent shuts it again, since the order stands."""
    table = site.table
    order(site, "quarantine", NAME)
    site.agent.stop()
    done = site.agent.ask("unload", "--pins", str(site.agent.pins))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the table netdev {table} is removed" in done.stdout
    assert "netdev" not in site.nft("list", "tables")
    with bridge(site, "lounge") as listener:
        assert hears(listener)
        site.agent.start()
        assert is_held(site, listener)
