"""The engine that demo and tests share: it works, it is closed, and nothing of it stays."""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path

import pytest

from deploy.demo.engine import start_own
from deploy.demo.internet import ADDRESS, connect_internet
from deploy.demo.ledger import Kind, Ledger
from deploy.demo.namespace import Namespace
from deploy.demo.process import await_that
from deploy.demo.teardown import leftovers, mounts_under, unmake
from enforcer.errors import HostError


def test_a_container_runs_in_a_cgroup_of_the_engines_own(engine, containers):
    """Containers run, and their cgroups lie under one of the engine's name, so that engines can live abreast."""
    ran = containers.run("cat", "/proc/self/cgroup")
    unified = next(line for line in ran.output.splitlines() if line.startswith("0::"))
    assert ran.status == 0
    # a container with a cgroup namespace of its own sees itself as the root
    assert unified == "0::/" or unified.startswith(f"0::/{engine.name}/")


def test_the_agents_image_serves_its_health(containers):
    """The agents' image answers on its MCP_PORT, as the guide's user, with a read-only root."""
    agent = containers.start(
        image=containers.images.agent, environment={"MCP_PORT": "8081"}, read_only=True, cap_drop=["ALL"]
    )
    answers = ("wget", "-q", "-O", "-", "http://127.0.0.1:8081/health")
    await_that("the agent to answer", lambda: "ok" in containers.execute(agent, *answers).output, seconds=20)
    assert containers.execute(agent, "id", "-u").output == "1001"


def test_the_engine_has_no_way_out(engine):
    """No route leads out of the namespace that the engine and its bridges live in."""
    engine.assert_closed()
    assert engine.namespace.route_to("198.51.100.7") == ""
    assert engine.namespace.route_to("2001:4860:4860::8888") == ""


BRIDGE = (("link", "add", "out0", "type", "bridge"), ("link", "set", "out0", "up"))

OPENINGS = {
    "a default route": (*BRIDGE, ("route", "add", "default", "dev", "out0")),
    "a default route for IPv6": (*BRIDGE, ("-6", "route", "add", "default", "dev", "out0")),
    "a route to somewhere": (*BRIDGE, ("route", "add", "198.51.100.0/24", "dev", "out0")),
    "a default route in another table": (*BRIDGE, ("route", "add", "default", "dev", "out0", "table", "77")),
    "an interface of unknown end": (("link", "add", "out0", "type", "veth", "peer", "name", "out1"),),
}


@pytest.mark.parametrize("opening", OPENINGS.values(), ids=list(OPENINGS))
@pytest.mark.usefixtures("engine")
def test_an_open_namespace_is_refused(opening):
    """Any way out is found before something is sent: the check is not satisfied by whatever it is shown."""
    space = Namespace(f"enfopen{secrets.token_hex(2)}")
    space.create()
    try:
        space.assert_closed()
        for words in opening:
            space.run("ip", *words)
        with pytest.raises(HostError, match="is not closed"):
            space.assert_closed()
    finally:
        space.remove()


def test_the_internet_records_who_came(containers):
    """A container on an ordinary bridge reaches 203.0.113.10 and nobody else, and the record tells of it."""
    ledger = Ledger.open_new()
    try:
        engine = start_own(ledger)
        internet = connect_internet(engine, ledger)
        client = engine.client()
        root = containers.client.images.get(containers.images.base)
        client.images.load(b"".join(root.save(named=True)))
        command = ["sh", "-c", f"echo somebody | nc -w 3 {ADDRESS} 443"]
        said = client.containers.run(containers.images.base, command, remove=True)
        client.close()
        assert said == b"the internet says hello\n"
        assert [(a.protocol, a.port, a.said) for a in internet.arrivals()] == [("tcp", 443, "somebody")]
    finally:
        assert unmake(ledger) == []


def test_nothing_stays_of_an_engine_that_was_killed(containers):
    """After a kill -9 of both daemons under a running container the ledger still finds and removes everything."""
    ledger = Ledger.open_new()
    engine = start_own(ledger)
    client = engine.client()
    root = containers.client.images.get(containers.images.base)
    client.images.load(b"".join(root.save(named=True)))
    running = client.containers.run(containers.images.base, ["sleep", "infinity"], detach=True)
    running.reload()
    pid = running.attrs["State"]["Pid"]
    client.close()
    entries = ledger.entries()
    for daemon in (e.process() for e in entries if e.kind is Kind.PROCESS):
        os.kill(daemon.pid, signal.SIGKILL)
        await_that(f"{daemon.name} to die", lambda d=daemon: not d.alive)
    assert leftovers(entries) != []
    assert unmake(ledger) == []
    assert leftovers(entries) == []
    assert mounts_under(str(engine.directory)) == []
    assert not ledger.path.exists()
    await_that("the container's process to be gone", lambda: _comm(pid) != "sleep", seconds=10)


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
