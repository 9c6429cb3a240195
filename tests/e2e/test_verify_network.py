"""``enforcer verify network`` against real containers, without and with the enforcer in force.

The world breaks the policy in known ways, Docker holds some of them and the enforcer the others.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool

from deploy.demo.engine import Engine, private_engine
from deploy.demo.images import BUSYBOX, Images, build_images
from deploy.demo.process import await_that
from enforcer.core.explain import Destination
from enforcer.core.model import Facts
from enforcer.core.parse import parse
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.inside import Inside
from enforcer.edges.policyfile import from_bytes
from enforcer.edges.procfs import Procfs
from enforcer.errors import ContainerGone
from enforcer.posture.finding import Result
from enforcer.runtime.facts import collect
from enforcer.runtime.verify import verify_network
from tests.e2e.agent import ENFORCER, Agent
from tests.e2e.outside import ADDRESS, ADDRESS6, Outside, outside

POLICY = b"""
version: 1
mode: enforce
containers:
  agents: {name: "vf-agent-*"}
  gateway: {name: "vf-gateway*"}
  closed: {name: vf-closed}
  hosted: {name: vf-hosted}
network:
  internal: [vf-inside]
  rules:
    - {who: agents, connect: [{network: vf-inside}]}
    - who: gateway
      connect:
        - {network: vf-inside}
        - {cidr: 203.0.113.0/24, ports: [443/tcp, 443/udp]}
        - {cidr: "2001:db8::/64", ports: [443/tcp]}
    - {who: [closed, hosted], connect: []}
"""
SUBNETS = {"vf-inside": ("172.30.11.0/24", "2001:db8:11::/64"), "vf-open": ("172.30.12.0/24", "2001:db8:12::/64")}
BEHIND = "2001:db8:10::/44"
"""Both IPv6 subnets: Docker 20.10 isolates internal networks by IPv4 only, and gives nobody another IPv6 address."""

NOBODY = Destination("203.0.113.250", 443)
"""Nobody has it: an attempt to reach it takes seconds."""

HTTPD = ["httpd", "-f", "-p", "8080", "-h", "/srv"]
ASKED = ("--outside", f"{ADDRESS}:443", "--outside", f"{ADDRESS}:80", "--outside", f"[{ADDRESS6}]:443")
RUNNING = ("vf-agent-1", "vf-agent-2", "vf-gateway", "vf-closed", "vf-hosted", "vf-agent-joined", "vf-stray")

AGENTS = ("vf-agent-1", "vf-agent-2", "vf-agent-joined")
CALLED = ("vf-agent-1", "vf-agent-2", "vf-gateway", "vf-stray")
OUTER = tuple(f"{address}:{rest}" for address in (ADDRESS, f"[{ADDRESS6}]") for rest in ("443/tcp", "443/udp"))

LEAKS = {(who, f"[{ADDRESS6}]:443/{p}") for who in (*AGENTS, "vf-closed", "vf-stray") for p in ("tcp", "udp")}
"""What leaves an internal network of Docker 20.10: IPv6 does, and finds its way back here."""

HOLES = {
    *(("vf-closed", peer) for peer in CALLED),
    *(("vf-hosted", peer) for peer in (*CALLED, *OUTER, f"{ADDRESS}:80/tcp")),
    *(
        (who, "vf-gateway") for who in (*AGENTS, "vf-stray")
    ),  # at its other IPv6 address, on a network that they are not on
    ("vf-gateway", f"{ADDRESS}:80/tcp"),
    ("vf-gateway", f"[{ADDRESS6}]:443/udp"),
}
"""What else Docker lets through and the policy does not grant."""


def bare_tree() -> bytes:
    """An image's root with one program in it, which can do nothing but sleep."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("sleep")
        content = BUSYBOX.read_bytes()
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class Ground:
    """Networks and containers of this module, and the outside."""

    def __init__(self, engine: Engine, client: docker.DockerClient, images: Images) -> None:
        self.engine, self.client, self.images = engine, client, images
        self.made: list[Any] = []

    def make(self) -> None:
        """Two networks, one of them internal, and a container of each kind."""
        for name, pools in SUBNETS.items():
            ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet) for subnet in pools])
            options = {"internal": name == "vf-inside", "enable_ipv6": True, "labels": self.engine.labels}
            self.made.append(self.client.networks.create(name, ipam=ipam, **options))
        changes = [f"LABEL {self.engine.label}"]
        self.client.api.import_image_from_data(bare_tree(), repository="vf-bare", tag="1", changes=changes)
        for name in ("vf-agent-1", "vf-agent-2", "vf-stray"):
            self.start(name, HTTPD, network="vf-inside")
        gateway = self.start("vf-gateway", HTTPD, network="vf-open")
        self.client.networks.get("vf-inside").connect(gateway)
        self.start("vf-closed", ["/sleep", "1000000"], image="vf-bare:1", network="vf-inside")
        self.start("vf-hosted", network_mode="host")
        self.start("vf-agent-joined", network_mode="container:vf-agent-1")
        self.create("vf-agent-stopped", network="vf-inside")

    def create(self, name: str, command: list[str] | None = None, **options: Any) -> Container:
        """A container that does not run yet."""
        image = options.pop("image", self.images.base)
        words = command or ["sleep", "infinity"]
        made = self.client.containers.create(image, words, name=name, labels=self.engine.labels, **options)
        self.made.append(made)
        return made

    def start(self, name: str, command: list[str] | None = None, **options: Any) -> Container:
        """A container that runs."""
        made = self.create(name, command, **options)
        made.start()
        made.reload()
        return made

    def remove(self) -> None:
        """Everything that was made, the last first."""
        for made in reversed(self.made):
            made.remove(force=True) if isinstance(made, Container) else made.remove()

    def facts(self) -> Facts:
        """As the command reads them."""
        dockerd = Dockerd(self.engine.url)
        try:
            return collect(dockerd, Cgroups(), ())
        finally:
            dockerd.close()

    def processes(self) -> dict[str, tuple[int, list[int]]]:
        """The pid and the cgroup's members of each container."""
        found = {}
        for name in RUNNING:
            pid = self.client.containers.get(name).attrs["State"]["Pid"]
            path = Cgroups().root / Procfs().cgroup(pid).lstrip("/") / "cgroup.procs"
            found[name] = (pid, sorted(map(int, path.read_text().split())))
        return found


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine of this module's own: no other module's agent is in force there."""
    with private_engine() as started:
        yield started


@pytest.fixture(scope="module")
def ground(engine: Engine) -> Iterator[Ground]:
    """The world of this module."""
    client = engine.client()
    made = Ground(engine, client, build_images(engine))
    try:
        made.make()
        yield made
    finally:
        made.remove()
        client.images.remove("vf-bare:1", force=True)
        client.close()


@pytest.fixture(scope="module")
def beyond(engine: Engine, ground: Ground) -> Iterator[Outside]:
    """The outside, and no other way out."""
    with outside(engine, back=BEHIND) as made:
        yield made


@pytest.fixture(scope="module")
def enforced(engine: Engine, ground: Ground, beyond: Outside) -> Iterator[Agent]:
    """An agent with the policy of this module."""
    made = Agent(engine, engine.directory / "verify", port=9473)
    (made.policy / "policy.yaml").write_bytes(POLICY)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """The policy of this module, in a file."""
    (tmp_path / "policy.yaml").write_bytes(POLICY)
    return tmp_path / "policy.yaml"


def verify(engine: Engine, policy_file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, in the engine's network namespace."""
    return subprocess.run(
        [
            *("nsenter", f"--net=/run/netns/{engine.namespace.name}", ENFORCER, "verify", "network"),
            *("--policy", str(policy_file), "--timeout", "1", *words),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "DOCKER_HOST": engine.url},
    )


def found(done: subprocess.CompletedProcess[str]) -> list[dict[str, str]]:
    """The findings that concern this module's containers, from the JSON."""
    assert done.stderr == ""
    findings = json.loads(done.stdout)["findings"]
    return [f for f in findings if f["container"].startswith("vf-") or not f["container"]]


def of(findings: list[dict[str, str]], check: str, result: str) -> set[tuple[str, str]]:
    """Whom a result of a check concerns, and towards whom."""
    return {(f["container"], f["peer"]) for f in findings if (f["check"], f["result"]) == (check, result)}


def broken(findings: list[dict[str, str]]) -> set[tuple[str, str]]:
    """Connections that are not as the policy says."""
    return of(findings, "network.external", "FAIL") | of(findings, "network.inter-container", "FAIL")


def told(findings: list[dict[str, str]]) -> str:
    """Every failure, for the message of a test."""
    return "\n".join(f"{f['container']}: {f['evidence']}" for f in findings if f["result"] == "FAIL")


def test_without_the_enforcer(engine: Engine, ground: Ground, beyond: Outside, policy_file: Path) -> None:
    """Docker alone: each connection that the policy does not grant and that works is a FAIL, and no other is. Exits 1."""
    before = ground.processes()
    done = verify(engine, policy_file, *ASKED, "--format", "json")
    assert done.returncode == 1
    findings = found(done)
    assert broken(findings) == HOLES | LEAKS, told(findings)
    assert of(findings, "network.assignments", "FAIL") == {("vf-hosted", "")}
    assert ground.processes() == before


def test_what_passes_and_what_warns(engine: Engine, ground: Ground, beyond: Outside, policy_file: Path) -> None:
    """Granted connections are made, internal containers stay inside, and what could not be looked at is said."""
    findings = found(verify(engine, policy_file, *ASKED, "--format", "json"))
    passed = of(findings, "network.inter-container", "PASS")
    agents = ("vf-agent-1", "vf-agent-2", "vf-agent-joined", "vf-gateway")
    assert {(a, b) for a in agents for b in ("vf-agent-1", "vf-agent-2", "vf-gateway") if a != b} - passed <= {
        ("vf-agent-joined", "vf-agent-1")
    }
    outer = of(findings, "network.external", "PASS")
    assert {("vf-closed", f"{ADDRESS}:443/tcp"), ("vf-agent-1", f"{ADDRESS}:80/tcp")} <= outer
    assert {("vf-gateway", f"{ADDRESS}:443/{p}") for p in ("tcp", "udp")} <= outer
    assert ("vf-agent-joined", f"{ADDRESS}:443/tcp") in outer
    assigned = {f["container"]: f for f in findings if f["check"] == "network.assignments"}
    assert assigned["vf-agent-joined"]["result"] == "PASS"
    assert "on vf-inside, as network.rules[0]" in assigned["vf-agent-1"]["evidence"]
    assert (assigned["vf-agent-stopped"]["result"], "does not run" in assigned["vf-agent-stopped"]["evidence"]) == (
        "WARN",
        True,
    )
    assert (assigned["vf-stray"]["result"], "no network rule names it" in assigned["vf-stray"]["evidence"]) == (
        "WARN",
        True,
    )
    silent = [f["evidence"] for f in findings if f["container"] == "vf-closed" and f["result"] == "WARN"]
    assert silent == ["nothing listens in it: nothing was tried towards it"]
    assert all(f["section"].startswith("Network Segmentation") for f in findings)


def test_with_the_enforcer(ground: Ground, beyond: Outside, enforced: Agent) -> None:
    """In force, every hole is closed for the container, and what its namespace alone lets through is told beside it."""
    for name in RUNNING:
        enforced.await_container(name)
    before, mark, arrived = ground.processes(), enforced.mark(), len(beyond.arrived())
    policy_file = enforced.policy / "policy.yaml"
    findings = found(verify(ground.engine, policy_file, *ASKED, "--format", "json"))
    assert broken(findings) == set(), told(findings)
    closed = {(f["container"], f["peer"]): f for f in findings if (f["container"], f["peer"]) in HOLES | LEAKS}
    assert closed.keys() == HOLES | LEAKS
    beside = {who for who, f in closed.items() if "from its network namespace alone reached" in f["evidence"]}
    assert {("vf-gateway", f"{ADDRESS}:80/tcp"), ("vf-hosted", f"{ADDRESS}:443/tcp")} <= beside
    # what the hooks hold and the container's networks alone would not is for a person to look at
    assert {who for who, f in closed.items() if f["result"] == "WARN"} == beside & LEAKS
    assert ground.processes() == before
    assert len(beyond.arrived()) > arrived  # what the namespaces alone let through, and what is granted
    refused = [e for e in enforced.await_events(mark, 1) if e.who.name == "vf-gateway"]
    assert {e.process.name for e in refused} == {"enforcer-verify"}, [
        e for e in refused if e.process.name != "enforcer-verify"
    ]


def test_without_an_address_outside(engine: Engine, ground: Ground, beyond: Outside, policy_file: Path) -> None:
    """No address is built in: the test is said not to have been tried, and nothing arrives outside."""
    before = beyond.arrived()
    findings = found(verify(engine, policy_file, "--format", "json"))
    external = [f for f in findings if f["check"] == "network.external"]
    assert [(f["result"], "not tried" in f["evidence"], f["container"]) for f in external] == [("WARN", True, "")]
    assert beyond.arrived() == before


def test_an_address_that_the_host_does_not_reach(
    engine: Engine, ground: Ground, beyond: Outside, policy_file: Path
) -> None:
    """That a container does not reach it either shows nothing: a warning, and no PASS."""
    engine.assert_closed(f"{engine.name}v")
    findings = found(verify(engine, policy_file, "--outside", f"{ADDRESS}:81", "--format", "json"))
    external = [f for f in findings if f["check"] == "network.external"]
    assert [(f["result"], f["container"]) for f in external] == [("WARN", "")]
    assert "refused from the host itself" in external[0]["evidence"]


def test_the_table(engine: Engine, ground: Ground, beyond: Outside, policy_file: Path) -> None:
    """For people: results, fixes and totals, with what passed folded."""
    done = verify(engine, policy_file, *ASKED)
    assert (done.returncode, done.stderr) == (1, "")
    assert "network verification FAILED: PASS " in done.stdout
    assert "start it without --network host" in done.stdout
    assert "as the policy says" in done.stdout


@pytest.mark.parametrize("address", ["172.30.11.9:443", "127.0.0.1", "203.0.113.10:x", "example", "203.0.113.10:0"])
def test_what_is_no_address_outside(engine: Engine, ground: Ground, policy_file: Path, address: str) -> None:
    """Refused before anything is sent: status 2 and one line."""
    done = verify(engine, policy_file, "--outside", address)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_a_container_that_is_gone_already(ground: Ground) -> None:
    """Removed after it was listed: a warning for it, and the others are verified."""
    gone = ground.create("vf-agent-gone", HTTPD, network="vf-inside")
    gone.start()
    facts = ground.facts()
    gone.remove(force=True)
    ground.made.remove(gone)
    findings = verify_network(parse(from_bytes(POLICY, "policy.yaml")), facts, Inside(Cgroups(), seconds=1), [])
    about = [f for f in findings if f.container == "vf-agent-gone" and f.check == "network.inter-container"]
    assert {f.result for f in about} == {Result.WARN}
    assert all("it ended while it was looked at" in f.evidence for f in about)
    assert any(f.container == "vf-agent-1" and f.peer == "vf-agent-2" and f.result is Result.PASS for f in findings)


def test_a_container_that_ends_while_it_is_tried(ground: Ground, beyond: Outside) -> None:
    """Killed while our process is in its cgroup: it is said to be gone, and its cgroup can go."""
    ends = ground.start("vf-gateway-ends", network="vf-open")
    container = ground.facts().containers[ends.id]
    path = Procfs().cgroup(container.pid)
    procs = Cgroups().root / path.lstrip("/") / "cgroup.procs"
    caught: list[Exception] = []

    def call() -> None:
        try:
            Inside(Cgroups(), seconds=4).call(container, [NOBODY])
        except ContainerGone as e:
            caught.append(e)

    alone = len(procs.read_text().split())
    calling = threading.Thread(target=call)
    calling.start()
    await_that("our process to be in the cgroup", lambda: len(procs.read_text().split()) > alone)
    ends.kill()
    calling.join(60)
    assert len(caught) == 1
    ends.remove(force=True)
    ground.made.remove(ends)
    await_that("its cgroup to be gone", lambda: not Cgroups().is_there(path))
