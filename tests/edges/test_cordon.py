"""What quarantine shuts, on devices of namespaces of our own: as containers come, go and are released, and where it cannot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from deploy.demo.namespace import Namespace
from enforcer.core.model import Container, Facts
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.nft_netdev import NetdevTable
from enforcer.errors import HostError
from enforcer.runtime.isolation import DEAF, Cordon

ONE, TWO = "a" * 64, "b" * 64
TABLE = "enforcer-test"


class Host:
    """A host's network with a cordon, and two containers with a cable each."""

    def __init__(self, stack: ExitStack) -> None:
        self.space, self.cordon = Namespace(f"cordon{os.getpid()}h"), Cordon(TABLE, "me")
        cgroups, top = Cgroups(), f"/enforcer-cordon-{os.getpid()}"
        stack.callback(self.space.remove)
        self.space.create()
        self.facts = Facts()
        stack.callback(cgroups.remove, top)
        for identity, name in ((ONE, "one"), (TWO, "two")):
            inner, place = Namespace(f"cordon{os.getpid()}{name}"), f"{top}/{identity}"
            stack.callback(inner.remove)
            inner.create()
            self.space.run(
                "ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", inner.name
            )
            stack.callback(cgroups.remove, place)
            cgroups.ensure(place)
            words = f"echo $$ > {cgroups.root}{place}/cgroup.procs; echo there; exec sleep infinity"
            command = ["nsenter", f"--net=/run/netns/{inner.name}", "sh", "-c", words]
            child = subprocess.Popen(command, stdout=subprocess.PIPE)
            stack.callback(child.communicate)
            stack.callback(child.kill)
            assert child.stdout and child.stdout.readline() == b"there\n"
            self.facts.containers[identity] = Container(identity, name, pid=child.pid)  # type: ignore[index]

    def quarantine(self, *identities: str, **pids: int) -> str:
        """Follow facts in which these are quarantined, and have these processes; what `nft` lists then."""
        containers = {i: replace(c, pid=pids.get(c.name, c.pid)) for i, c in self.facts.containers.items()}
        with self.space.entered():
            self.cordon.follow(replace(self.facts, containers=containers, quarantined=frozenset(identities)))
        return self.listed()

    def listed(self) -> str:
        """The table, as another program sees it."""
        return self.space.run("nft", "list", "table", "netdev", TABLE, check=False).out


@pytest.fixture
def host() -> Iterator[Host]:
    """All that was made goes with the test."""
    with ExitStack() as stack:
        yield Host(stack)


def test_it_follows_who_is_quarantined(host: Host) -> None:
    """Both, one, none; a container that stops needs no cordon, and nothing is degraded."""
    both = host.quarantine(ONE, TWO)
    assert ('"v-one"' in both, '"v-two"' in both) == (True, True)
    one = host.quarantine(ONE)
    assert ('"v-one"' in one, '"v-two"' in one) == (True, False)
    assert host.quarantine(ONE, one=0) == ""
    assert '"v-one"' in host.quarantine(ONE)
    assert host.quarantine() == ""
    assert host.cordon.degraded() == {}


def test_a_process_that_is_another_containers_by_now_is_let_be(host: Host) -> None:
    """The number of a process that has ended may be given again at once."""
    assert host.quarantine(ONE, one=host.facts.containers[TWO].pid) == ""


def test_what_somebody_changes_is_made_good_and_told(host: Host) -> None:
    """Once; a look that finds all in order tells nothing."""
    host.quarantine(ONE)
    host.space.run("nft", "flush", "ruleset")
    with host.space.entered():
        assert [host.cordon.check() for _ in range(3)] == [True, False, False]
    assert '"v-one"' in host.listed()


def test_what_cannot_be_shut_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """No packet filter, or one that holds one way only; a host where nobody is quarantined misses nothing."""

    def refuses(table: NetdevTable, devices: frozenset[str]) -> bool:
        raise HostError("no nftables here")

    with monkeypatch.context() as without:
        without.setattr(NetdevTable, "keep", refuses)
        assert not host.cordon.check()
        assert host.cordon.degraded() == {}
        host.quarantine(ONE)
        assert host.cordon.degraded() == {"packet sockets of one are not stopped": "no nftables here"}
    with host.space.entered():
        host.cordon.check()
    assert host.cordon.degraded() == {}
    host.cordon.table.both = False
    assert list(host.cordon.degraded().values()) == [DEAF]
