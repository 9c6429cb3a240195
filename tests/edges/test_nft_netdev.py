"""Devices shut in a real packet filter, and cables found by the host's word: frames of packet sockets, which nothing else stops."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from deploy.demo.namespace import Namespace
from enforcer.edges.cables import cables
from enforcer.edges.nft_netdev import HOOKS, NetdevTable, Way
from enforcer.errors import EdgeError

TABLE = "enforcer-test"
ETHERTYPE = 0x88B5
"""IEEE 802: local experimental."""

EVERYBODY = b"\xff" * 6


@dataclass(frozen=True)
class Ground:
    """A host with a cable to each of two containers, each a namespace with a process in it; and the table of the host."""

    host: Namespace
    one: Namespace
    two: Namespace
    pids: tuple[int, int]

    def keep(self, *devices: str, owner: str = "me") -> bool:
        """Have the table shut these."""
        with self.host.entered():
            return NetdevTable(TABLE, owner).keep(devices)

    def nft(self, *words: str) -> str:
        """What another program sees or does there."""
        return self.host.run("nft", *words, check=False).out

    def passes(self, sender: tuple[Namespace, str], hearer: tuple[Namespace, str]) -> bool:
        """Whether a frame that leaves one device comes out of another one, before the one that is sent after it over a free way."""
        with self.opened(*sender) as out, self.opened(*hearer) as heard:
            with suppress(OSError):  # ENOBUFS: whoever sends by a shut device is told
                out.sendto(b"frame", (sender[1], ETHERTYPE, 0, 0, EVERYBODY))
            with self.opened(*hearer) as own:
                own.sendto(b"own", (hearer[1], ETHERTYPE, 0, 0, EVERYBODY))
            return b"frame" in [heard.recv(9) for _ in range(1 + self.arrived(heard))]

    @staticmethod
    def arrived(heard: socket.socket) -> int:
        """1 if the first of two frames is there: a veth hands a frame over before the call that sends it returns."""
        heard.settimeout(5)
        first = heard.recv(9, socket.MSG_PEEK)
        return int(first == b"frame")

    @staticmethod
    def opened(where: Namespace, device: str) -> socket.socket:
        """A packet socket on a device, which hears also what that sends."""
        with where.entered():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            made.bind((device, 3))
        return made


@pytest.fixture
def ground() -> Iterator[Ground]:
    """All three, without a way out."""
    spaces = [Namespace(f"cables{os.getpid()}{side}") for side in "hot"]
    with ExitStack() as stack:
        for space in spaces:
            stack.callback(space.remove)
            space.create()
        pids = []
        for space, device in zip(spaces[1:], ("va", "vb"), strict=True):
            spaces[0].run("ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", space.name)
            for where, name in ((spaces[0], device), (space, "eth0")):
                where.run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
                where.run("ip", "link", "set", name, "up")
            child = subprocess.Popen(["nsenter", f"--net=/run/netns/{space.name}", "sleep", "infinity"])
            stack.callback(child.wait)
            stack.callback(child.kill)
            pids.append(child.pid)
        yield Ground(*spaces, (pids[0], pids[1]))


def test_a_shut_device_passes_nothing_either_way(ground: Ground) -> None:
    """Not a frame of a packet socket, and nothing for one; another device is as it was; counted by the packet filter."""
    inwards, outwards = ((ground.one, "eth0"), (ground.host, "va")), ((ground.host, "va"), (ground.one, "eth0"))
    assert ground.keep("va") is True
    assert ground.keep("va") is False
    assert ground.passes(*outwards) is False
    counted = [line for line in ground.nft("list", "table", "netdev", TABLE).splitlines() if "counter packets" in line]
    assert sum("counter packets 0 " not in line for line in counted) >= 1
    assert ground.passes((ground.host, "vb"), (ground.two, "eth0")) is True
    assert ground.keep() is True
    assert ground.passes(*outwards) is True
    assert ground.passes(*inwards) is True
    assert ground.nft("list", "tables") == ""


def test_what_is_changed_is_made_again(ground: Ground) -> None:
    """A rule before ours, ours removed, a chain more, a chain less, the table asleep: each is found, once."""
    meddling = (
        f"insert rule netdev {TABLE} in-va accept",
        f"flush table netdev {TABLE}",
        f"add chain netdev {TABLE} more",
        f"delete chain netdev {TABLE} out-va",
        f"add table netdev {TABLE} {{ flags dormant; }}",
    )
    ground.keep("va")
    whole = ground.nft("list", "table", "netdev", TABLE)
    for words in meddling:
        if words.startswith("delete chain"):
            ground.nft(*f"flush chain netdev {TABLE} out-va".split())
        ground.nft(*words.split())
        assert ground.nft("list", "table", "netdev", TABLE) != whole, words
        assert (ground.keep("va"), ground.keep("va")) == (True, False), words
        assert ground.nft("list", "table", "netdev", TABLE) == whole


def test_devices_come_and_go(ground: Ground) -> None:
    """One more keeps what the other has counted; one that is gone is forgotten."""
    ground.keep("va")
    assert ground.passes((ground.host, "va"), (ground.one, "eth0")) is False
    assert ground.keep("va", "vb") is True
    assert "counter packets 0 " not in ground.nft("list", "chain", "netdev", TABLE, f"{Way.OUT}-va")
    ground.host.run("ip", "link", "delete", "va")
    assert ground.keep("vb") is True
    assert "va" not in ground.nft("list", "table", "netdev", TABLE)


def test_anothers_table_is_left_alone(ground: Ground) -> None:
    """It is never touched, and never taken for ours."""
    ground.keep("va", owner="another")
    theirs = ground.nft("list", "table", "netdev", TABLE)
    with pytest.raises(EdgeError, match=f"nft delete table netdev {TABLE}"):
        ground.keep("va")
    with ground.host.entered():
        assert NetdevTable(TABLE, "me").remove() is False
    assert ground.nft("list", "table", "netdev", TABLE) == theirs


def test_a_kernel_that_shuts_inwards_only(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then that is done, and known."""
    monkeypatch.setitem(HOOKS, Way.OUT, 7)
    with ground.host.entered():
        table = NetdevTable(TABLE, "me")
        assert (table.keep(["va"]), table.both, table.keep(["va"])) == (True, False, False)
    assert "out-va" not in ground.nft("list", "table", "netdev", TABLE)


def test_cables_are_found_by_the_hosts_word(ground: Ground) -> None:
    """Each leads to its own; a container that lays cables within its namespace, with whatever numbers, claims no other's."""
    with ground.host.entered():
        index = str(socket.if_nametoindex("vb"))
    ground.one.run("ip", "link", "add", "x1", "index", "77", "type", "veth", "peer", "name", "x2", "index", index)
    gone = subprocess.Popen(["true"])
    gone.wait()
    with ground.host.entered():
        found = cables([*ground.pids, os.getpid(), gone.pid])
    assert found == {ground.pids[0]: ("va",), ground.pids[1]: ("vb",), os.getpid(): (), gone.pid: ()}
    ground.host.run("ip", "link", "add", "vc", "type", "veth", "peer", "name", "eth1", "netns", ground.one.name)
    with ground.host.entered():
        assert cables(ground.pids[:1]) == {ground.pids[0]: ("va", "vc")}
