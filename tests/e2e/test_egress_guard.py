"""The egress guard around real containers, on an engine of this module's own whose rules anybody here may destroy.

What is sent comes from the containers' network namespaces, but from processes of the host, whom no hook of a cgroup judges: so
whatever does not arrive was stopped by the packet filter.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool
from pyroute2 import netns

from deploy.demo.engine import Engine, start_own
from deploy.demo.images import build_images
from deploy.demo.internet import connect_internet
from deploy.demo.ledger import Ledger
from deploy.demo.process import run
from deploy.demo.teardown import unmake
from enforcer.errors import EdgeError
from tests.e2e.agent import Agent, sample
from tests.e2e.test_engine_restart import Own

VAULT4, VAULT6, LOUNGE4, LOUNGE6 = "172.29.1.1", "fd00:29:1::1", "172.29.2.1", "fd00:29:2::1"
GATE4, GATE6 = "203.0.113.1", "2001:db8::1"
OUT4, OUT6 = "203.0.113.10", "2001:db8::10"
OPEN, SHUT = 7001, 7002
EVERYWHERE = (OUT4, OUT6, VAULT4, VAULT6, GATE4, GATE6)
POLICY = b"""
version: 1
mode: enforce
containers:
  keepers: {name: "keeper*"}
network:
  internal: [vault]
  rules:
    - {who: keepers, connect: [{network: vault}, {host: true, ports: [7001/udp, 7001/tcp]}]}
"""


@dataclass
class Site:
    """The engine, the outside, the networks, and an agent that guards the vault."""

    own: Own
    client: docker.DockerClient
    agent: Agent
    outside: str

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self.own.engine

    @property
    def table(self) -> str:
        """The name of the agent's table."""
        return str(self.agent.status()["egress"]["table"].removeprefix("inet "))

    def nft(self, *words: str, check: bool = True) -> str:
        """What another program sees or does in the engine's packet filter."""
        return self.engine.namespace.run("nft", *words, check=check).out

    def network(self, name: str, gateway4: str, gateway6: str) -> Network:
        """A network of both families that Docker itself lets out: what is stopped is stopped by us."""
        pools = [IPAMPool(subnet=f"{g[:-1]}{rest}", gateway=g) for g, rest in ((gateway4, "0/24"), (gateway6, "/64"))]
        ipam = IPAMConfig(pool_configs=pools)
        return self.client.networks.create(name, enable_ipv6=True, ipam=ipam, labels=self.engine.labels)

    def start(self, name: str, network: str, *command: str, **more: Any) -> Container:
        """A container that sleeps, or does something else."""
        options = {"name": name, "network": network, "init": True, "labels": self.engine.labels, **more}
        made = self.client.containers.create(self.own.images.base, [*(command or ("sleep", "infinity"))], **options)
        made.start()
        made.reload()
        self.agent.await_that(f"{name} to run", lambda: self.agent.runs(name))
        self.introduce(made, network)
        return made

    def introduce(self, container: Container, network: str) -> None:
        """Have a container know its gateway's hardware address: neighbour discovery is sent by its kernel, and judged elsewhere."""
        found = container.attrs["NetworkSettings"]["Networks"][network]
        link = self.engine.namespace.run("ip", "-j", "link", "show", f"br-{found['NetworkID'][:12]}").out
        known = (found["IPv6Gateway"], "lladdr", json.loads(link)[0]["address"])
        words = ("ip", "-6", "neigh", "replace", *known, "dev", "eth0", "nud", "permanent")
        run("nsenter", f"--net=/proc/{container.attrs['State']['Pid']}/ns/net", *words)

    def dropped(self, network: str) -> int:
        """What the metric says, -1 if it says nothing."""
        return int(self.agent.metrics().get(sample("enforcer_egress_blocked_packets_total", network=network), -1))

    def is_stopped(self, container: Container, address: str, network: str) -> bool:
        """Whether three packets are counted as dropped and none arrives."""
        before = self.dropped(network)
        with self.listening(address) as listener:
            send(container, address, times=3)
            self.agent.await_that(f"packets to {address} to be counted", lambda: self.dropped(network) >= before + 3)
            return came(listener) == []

    def arrives(self, container: Container, address: str, port: int = OPEN) -> bool:
        """Whether a packet arrives."""
        with self.listening(address, port) as listener:
            send(container, address, port)
            return bool(listener.recv(100))

    @contextmanager
    def listening(self, address: str, port: int = OPEN) -> Iterator[socket.socket]:
        """A UDP socket at an address of the outside, or of the host."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        place = self.outside if address in (OUT4, OUT6) else self.engine.namespace.name
        with inside(f"/run/netns/{place}"):
            listener = socket.socket(family, socket.SOCK_DGRAM)
        with listener:
            listener.settimeout(20)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.agent.await_that(f"{address} to be ready", lambda: bound(listener, address, port))
            yield listener


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Sockets that this thread makes meanwhile belong to that network namespace."""
    with Path("/proc/thread-self/ns/net").open() as own, Path(path).open() as other:
        netns.setns(other.fileno())
        try:
            yield
        finally:
            netns.setns(own.fileno())


def bound(listener: socket.socket, address: str, port: int) -> bool:
    """Bind a socket, unless the address is still being looked for on the link (RFC 4862): a bridge's, made a moment ago."""
    try:
        listener.bind((address, port))
    except OSError as e:
        if e.errno != errno.EADDRNOTAVAIL:
            raise
        return False
    return True


def send(container: Container, address: str, port: int = OPEN, *, times: int = 1) -> None:
    """UDP packets from a container's network namespace, by a process of the host."""
    with inside(f"/proc/{container.attrs['State']['Pid']}/ns/net"):
        sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        for _ in range(times):
            sender.sendto(b"x", (address, port))


def came(listener: socket.socket) -> list[bytes]:
    """What waits at a socket."""
    listener.setblocking(False)
    try:
        return [listener.recv(100)]
    except BlockingIOError:
        return []


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Everything, with the agent in force."""
    ledger = Ledger.open_new()
    try:
        engine = start_own(ledger)
        internet = connect_internet(engine, ledger)
        engine.namespace.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        agent = Agent(engine, engine.directory / "egress")
        (agent.policy / "policy.yaml").write_bytes(POLICY)
        made = Site(Own(engine, ledger, build_images(engine)), engine.client(), agent, internet.namespace.name)
        for name, gateways in (("vault", (VAULT4, VAULT6)), ("lounge", (LOUNGE4, LOUNGE6))):
            made.network(name, *gateways)
        engine.assert_closed(internet.outlet)
        try:
            agent.start()
            yield made
        finally:
            agent.close()
            made.client.close()
    finally:
        assert unmake(ledger) == []


@pytest.fixture(scope="module")
def prisoner(site: Site) -> Container:
    """A container in the vault that no rule names."""
    return site.start("prisoner", "vault")


@pytest.fixture(scope="module")
def guest(site: Site) -> Container:
    """A container in the lounge, which is free."""
    return site.start("guest", "lounge")


@pytest.mark.parametrize("address", EVERYWHERE)
def test_an_internal_network_reaches_neither_outside_nor_host(
    site: Site, prisoner: Container, guest: Container, address: str
) -> None:
    """None of the host's addresses, of either family; the same from a free network arrives."""
    assert site.is_stopped(prisoner, address, "vault")
    assert site.arrives(guest, address)


def test_a_host_rule_opens_what_it_names(site: Site, prisoner: Container) -> None:
    """The container that the rule names reaches that port at the gateway, by its own doing too; no other port, no other one."""
    keeper = site.start("keeper", "vault")
    try:
        for gateway in (VAULT4, VAULT6):
            site.agent.await_that("the opening", lambda at=gateway: opened(site, keeper, at))
            assert site.arrives(keeper, gateway)
            before = site.dropped("vault")
            with site.listening(gateway, SHUT) as shut, site.listening(gateway) as open_:
                send(keeper, gateway, SHUT)
                send(prisoner, gateway)
                site.agent.await_that("two drops", lambda n=before: site.dropped("vault") >= n + 2)
                assert (came(shut), came(open_)) == ([], [])
        with inside(f"/run/netns/{site.engine.namespace.name}"):
            listener = socket.create_server((VAULT4, OPEN))
        with listener:
            listener.settimeout(20)
            keeper.exec_run(["sh", "-c", f"nc {VAULT4} {OPEN} < /dev/null"], detach=True)
            connection, (peer, _) = listener.accept()
            connection.close()
            assert peer == keeper.attrs["NetworkSettings"]["Networks"]["vault"]["IPAddress"]
    finally:
        keeper.remove(force=True)
    site.agent.await_that("the opening to go", lambda: " dport " not in site.nft("list", "table", "inet", site.table))


def opened(site: Site, container: Container, gateway: str) -> bool:
    """Whether the table has a rule from the container to a gateway."""
    container.reload()
    found = container.attrs["NetworkSettings"]["Networks"]["vault"]
    source = found["GlobalIPv6Address"] if ":" in gateway else found["IPAddress"]
    family = "ip6" if ":" in gateway else "ip"
    return f"{family} saddr {source} {family} daddr {gateway} udp dport {OPEN}" in site.nft(
        "list", "table", "inet", site.table
    )


def test_flushed_rules_are_made_again_and_said(site: Site, prisoner: Container) -> None:
    """`nft flush ruleset`: the guard is back by itself, the metric does not fall, and the journal has it."""
    assert site.is_stopped(prisoner, VAULT4, "vault")
    before, mark = site.dropped("vault"), site.agent.mark()
    site.nft("delete", "table", "inet", site.table)
    site.agent.await_that("the table", lambda: bool(site.nft("list", "table", "inet", site.table, check=False)))
    assert site.dropped("vault") >= before
    assert site.is_stopped(prisoner, OUT4, "vault")
    site.agent.await_that("the notice", lambda: bool(site.agent.notices("egress-guard-restored", after=mark.sequence)))
    [notice] = site.agent.notices("egress-guard-restored", after=mark.sequence)
    assert (notice.outcome, notice.fields["table"]) == ("failure", site.table)


def test_the_guard_outlives_a_restart_of_the_engine(site: Site, prisoner: Container) -> None:
    """All rules are flushed, dockerd is killed and started again: the guard holds all along."""
    site.nft("flush", "ruleset")
    site.agent.await_that("the table", lambda: bool(site.nft("list", "table", "inet", site.table, check=False)))
    command = site.own.end(signal.SIGKILL)
    assert site.is_stopped(prisoner, OUT4, "vault")
    site.own.begin(command)
    site.agent.await_that("the agent to follow again", lambda: site.agent.status()["docker"]["connected"])
    prisoner.start()
    site.agent.await_that("the container", lambda: site.agent.runs("prisoner"))
    prisoner.reload()
    site.introduce(prisoner, "vault")
    for address in (OUT4, OUT6, VAULT4):
        assert site.is_stopped(prisoner, address, "vault")


def test_kill_minus_nine_leaves_it_in_force(site: Site, prisoner: Container) -> None:
    """No packet passes without an agent, and the next one goes on from the counters that the dead one left."""
    assert site.is_stopped(prisoner, VAULT4, "vault")
    table, before = site.table, site.dropped("vault")
    site.agent.kill()
    with site.listening(OUT4) as outside, site.listening(VAULT4) as host:
        send(prisoner, OUT4, times=4)
        send(prisoner, VAULT4, times=3)
        site.agent.await_that("the kernel to count", lambda: total(site, table) >= before + 7)
        assert (came(outside), came(host)) == ([], [])
    site.agent.start()
    assert site.dropped("vault") >= before + 7
    assert site.is_stopped(prisoner, OUT4, "vault")


def test_a_refused_start_leaves_it_as_it_was(site: Site, prisoner: Container) -> None:
    """A start that is refused late takes back the table that it wrote, and leaves the one that a killed agent left."""
    table = site.table
    for ending, left in ((site.agent.kill, True), (lambda: site.agent.ask("unload", "--pins", site.agent.pins), False)):
        ending()
        with pytest.raises(EdgeError, match="cannot refuse before the fact"):
            site.agent.start("--mechanism", "tracepoint", "--require", "deny")
        assert (f"inet {table}" in site.nft("list", "tables")) is left
    site.agent.start()
    assert site.is_stopped(prisoner, OUT4, "vault")


def total(site: Site, table: str) -> int:
    """What the dropping rules of a table have counted, as `nft` tells it."""
    rules = json.loads(site.nft("-j", "list", "table", "inet", table))["nftables"]
    found = [{k: v for e in r["rule"]["expr"] for k, v in e.items()} for r in rules if "rule" in r]
    return sum(f["counter"]["packets"] for f in found if "drop" in f)


def test_another_programs_table_is_refused_and_said(site: Site, prisoner: Container) -> None:
    """The agent goes on without the guard and says so; when the other table is gone, the guard comes back by itself."""
    table = site.table
    site.agent.stop()
    site.nft("delete", "table", "inet", table)
    site.nft("add", "table", "inet", table, "{ chain theirs { counter; }; }")
    theirs = site.nft("list", "table", "inet", table)
    site.agent.start()
    status = site.agent.status()
    [degraded] = [d for d in status["degraded"] if "egress guard" in d["what"]]
    assert degraded["what"] == "the egress guard does not hold: packets may leave vault"
    assert f"nft delete table inet {table}" in degraded["why"]
    assert status["egress"]["holds"] is False
    assert site.nft("list", "table", "inet", table) == theirs
    site.nft("delete", "table", "inet", table)
    site.agent.await_that("the guard", lambda: site.agent.status()["egress"]["holds"])
    assert not [d for d in site.agent.status()["degraded"] if "egress guard" in d["what"]]
    assert site.is_stopped(prisoner, OUT4, "vault")
    site.agent.await_that("both notices", lambda: bool(site.agent.notices("egress-guard-in-force")))
    assert site.agent.notices("egress-guard-failed")


def test_block_and_unblock(site: Site, guest: Container) -> None:
    """A free network is shut and opened again; idempotent, on record with who and why, kept over a restart of the agent."""
    guest.start()
    site.agent.await_that("the guest", lambda: site.agent.runs("guest"))
    guest.reload()
    site.introduce(guest, "lounge")
    run_, mark = ("--run", str(site.agent.directory / "run")), site.agent.mark()
    environment = {**site.agent.environment, "SUDO_USER": "alice"}
    assert site.arrives(guest, OUT4)
    for said in ("network lounge is blocked\n", "network lounge was already blocked\n"):
        done = site.agent.ask("block", "lounge", "--why", "an incident", *run_, env=environment)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    for address in (OUT4, OUT6, LOUNGE4, GATE4):
        assert site.is_stopped(guest, address, "lounge")
    [shown] = site.agent.status()["blocked"]
    assert (shown["network"], shown["who"], shown["why"], shown["there"]) == ("lounge", "alice", "an incident", True)
    table = site.agent.ask("status", *run_).stdout
    assert "an incident" in table
    assert "GUARDED BY INET ENFORCER-" in table
    site.agent.stop()
    site.agent.start()
    assert site.is_stopped(guest, OUT4, "lounge")
    for said in ("network lounge is unblocked\n", "network lounge was already unblocked\n"):
        done = site.agent.ask("unblock", "lounge", *run_)
        assert (done.returncode, done.stdout) == (0, said)
    assert site.arrives(guest, OUT4)
    assert site.agent.status()["blocked"] == []
    site.agent.await_that("the notices", lambda: len(site.agent.notices("unblock", after=mark.sequence)) == 2)
    blocks = site.agent.notices("block", after=mark.sequence)
    assert [(n.fields["who"], n.fields["uid"], n.fields["why"], n.fields["changed"]) for n in blocks] == [
        ("alice", 0, "an incident", 1),
        ("alice", 0, "an incident", 0),
    ]


def test_quarantine_and_release(site: Site, guest: Container) -> None:
    """The container keeps running; status and the journal have it; kept over a restart of the agent, until it is released."""
    run_, mark = ("--run", str(site.agent.directory / "run")), site.agent.mark()
    for said in ("container guest is quarantined\n", "container guest was already quarantined\n"):
        done = site.agent.ask("quarantine", "guest", "--why", "evidence", *run_)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    guest.reload()
    assert guest.status == "running"
    assert_cut_off(guest)
    site.agent.stop()
    site.agent.start()
    assert_cut_off(guest)
    [shown] = site.agent.status()["quarantined"]
    assert (shown["container"], shown["id"], shown["why"], shown["there"]) == ("guest", guest.id, "evidence", True)
    assert "evidence" in site.agent.ask("status", *run_).stdout
    for said in ("container guest is released\n", "container guest was already released\n"):
        done = site.agent.ask("release", str(guest.id)[:12], *run_)
        assert (done.returncode, done.stdout) == (0, said)
    assert site.agent.status()["quarantined"] == []
    site.agent.await_that("the notices", lambda: len(site.agent.notices("release", after=mark.sequence)) == 2)
    assert [n.fields["id"] for n in site.agent.notices("quarantine", after=mark.sequence)] == [guest.id, guest.id]


def assert_cut_off(container: Container) -> None:
    """Nothing leaves it, allowed or not, but what stays within it."""
    for address in (OUT4, "127.0.0.1"):
        status, said = container.exec_run(["nc", "-w", "1", address, "9"])
        refused = b"Operation not permitted" in said
        assert (status != 0, refused) == (True, address == OUT4), said


@pytest.mark.parametrize(("command", "name", "near"), [("block", "vualt", "vault"), ("quarantine", "gast", "guest")])
def test_an_unknown_name_is_an_error_that_helps(
    site: Site, guest: Container, command: str, name: str, near: str
) -> None:
    """Exit status 2, one line, with what is near."""
    assert guest.name == "guest"
    done = site.agent.ask(command, name, "--run", str(site.agent.directory / "run"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert f"there is no {'network' if command == 'block' else 'container'} '{name}' on this host" in done.stderr
    assert near in done.stderr


def test_orders_need_an_agent(site: Site) -> None:
    """Without one there is one line, and status 4."""
    done = site.agent.ask("block", "vault", "--run", str(site.agent.directory / "nowhere"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (4, "", 1)


def test_networks_come_and_go(site: Site) -> None:
    """An internal network of the policy that is made later is guarded from then on, and forgotten when it goes."""
    (site.agent.policy / "policy.yaml").write_bytes(POLICY.replace(b"[vault]", b"[vault, attic]"))
    guarded = lambda: [n["network"] for n in site.agent.status()["egress"]["networks"]]  # noqa: E731
    attic = site.network("attic", "172.29.3.1", "fd00:29:3::1")
    try:
        site.agent.await_that("it to be guarded", lambda: guarded() == ["attic", "vault"])
        container = site.start("hermit", "attic")
        assert site.is_stopped(container, OUT4, "attic")
        container.remove(force=True)
    finally:
        attic.remove()
    site.agent.await_that("it to be forgotten", lambda: guarded() == ["vault"])
    assert "attic" not in site.nft("list", "table", "inet", site.table)
    (site.agent.policy / "policy.yaml").write_bytes(POLICY)


def test_monitor_mode_stops_nothing(site: Site, prisoner: Container) -> None:
    """What is internal is observed then, not held; the table is gone with its last network, and comes back with the mode."""
    table = site.table
    (site.agent.policy / "policy.yaml").write_bytes(POLICY.replace(b"enforce", b"monitor"))
    site.agent.await_that("the table to go", lambda: not site.nft("list", "table", "inet", table, check=False))
    assert site.arrives(prisoner, OUT4)
    (site.agent.policy / "policy.yaml").write_bytes(POLICY)
    site.agent.await_that("it to come back", lambda: bool(site.nft("list", "table", "inet", table, check=False)))
    assert site.is_stopped(prisoner, OUT4, "vault")


def test_unload_removes_it_whole(site: Site, prisoner: Container) -> None:
    """Nothing of ours is left in the packet filter, and what others have there is as it was."""
    table = site.table
    site.agent.stop()
    others = [line for line in site.nft("list", "tables").splitlines() if table not in line]
    done = site.agent.ask("unload", "--pins", str(site.agent.pins))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"the table inet {table} is removed" in done.stdout
    assert site.nft("list", "tables").splitlines() == others
    assert site.arrives(prisoner, OUT4)
    site.agent.start()
    assert site.is_stopped(prisoner, OUT4, "vault")
    assert os.path.exists(site.agent.pins)
