"""A host without BPF: nothing is stopped, and everything that is forbidden is seen, counted and put on record by audit.

The agent runs in the machine's own network namespace: the kernel sends audit's records nowhere else.
"""

from __future__ import annotations

import signal
import socket
import urllib.request
from collections.abc import Iterator

import pytest
from docker.models.containers import Container
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.engine import start_own
from deploy.demo.images import build_images
from deploy.demo.ledger import Ledger
from deploy.demo.teardown import unmake
from enforcer.core.event import FileAttempt
from enforcer.core.model import Access, Hook, Mechanism, Verdict
from enforcer.edges.audit import Audit, Status
from enforcer.edges.audit_rules import Listed
from enforcer.errors import EdgeError
from enforcer.runtime.guard import remove_tables
from tests.e2e.agent import DATA, Agent, Sample, put_policy, sample
from tests.e2e.world import CONTENT, World, mounted

R, W = Access.READ, Access.WRITE


def free_port() -> int:
    """A port of the machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Watcher(Agent):
    """An agent outside of the engine's network namespace. ``words`` stand before its command."""

    words: tuple[str, ...] = ()

    @property
    def inside(self) -> tuple[str, ...]:
        """Here, not in the engine's."""
        return self.words

    def metrics(self) -> dict[Sample, float]:
        """Every sample of a scrape."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return {sample(s.name, **s.labels): s.value for family in families for s in family.samples}

    def close(self) -> None:
        """End it, and take its egress guard out of this namespace; what else is left is for the test to see."""
        if self.running:
            self.signal(signal.SIGCONT)
            self.stop()
        remove_tables(self.pins)


def kernel() -> tuple[Status, tuple[Listed, ...]]:
    """Audit's settings and rules."""
    with Audit("nobody") as audit:
        status = audit.status()
        return Status(
            0, status.enabled, status.failure, status.pid, status.rate_limit, status.backlog_limit, 0, 0
        ), audit.rules()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The containers of the table in an engine of this module's own: another agent's programs would stop what is to be seen."""
    ledger = Ledger.open_new()
    try:
        engine = start_own(ledger)
        client = engine.client()
        made = World(engine, client, build_images(engine))
        made.make()
        yield made
        client.close()
    finally:
        assert unmake(ledger) == []


@pytest.fixture(scope="module")
def watcher(world: World) -> Iterator[Watcher]:
    """The agent; when it has ended, the kernel's audit is as it was."""
    before = kernel()
    made = new(world, "audit")
    try:
        made.start("--mechanism", "audit")
        yield made
    finally:
        made.close()
    assert kernel() == before


def new(world: World, name: str) -> Watcher:
    """An agent with the table's policy, not started."""
    made = Watcher(world.engine, world.engine.directory / name, port=free_port())
    put_policy(made)
    return made


def run(container: Container, script: str) -> int:
    """A shell in a container; its exit status."""
    status, _ = container.exec_run(["sh", "-c", script])
    return int(status)


def test_in_force_by_audit(watcher: Watcher) -> None:
    """What is in force is said as it is: seen by audit, or held by nothing and why; the self-test passes."""
    assert b"open by audit" in watcher.said.read_bytes()
    status = watcher.status()
    held = status["mechanisms"]
    assert {h for h, by in held.items() if by == "audit"} == {"open", "exec", "change", "unix", "refused"}
    assert {held[h] for h in ("connect4", "connect6", "sendmsg4", "sendmsg6", "trace", "mount")} == {"none"}
    assert (status["selftest"]["success"], status["selftest"]["failures"]) == (True, {})


DEEDS = {
    "read": ("cat /beta-data/f", Hook.OPEN, R, "f"),
    "write": ("echo nothing else >> /beta-data/f", Hook.OPEN, W, "f"),
    "create": ("echo x > /beta-data/new", Hook.CREATE, W, "new"),
    "rename": ("mv /beta-data/new /beta-data/newer", Hook.RENAME, W, "new"),
    "chmod": ("chmod 600 /beta-data/newer", Hook.SETATTR, W, "newer"),
    "link": ("ln /beta-data/newer /beta-data/second", Hook.LINK, W, "newer"),
    "symlink": ("ln -s /alpha-data /beta-data/third", Hook.SYMLINK, W, "third"),
    "unlink": ("rm /beta-data/newer", Hook.UNLINK, W, "newer"),
    "mkdir": ("mkdir /beta-data/deep", Hook.MKDIR, W, "deep"),
    "rmdir": ("rmdir /beta-data/deep", Hook.RMDIR, W, "deep"),
    "list": ("ls /beta-data", Hook.OPEN, R, ""),
}


def test_each_deed_is_counted_once_and_told(watcher: Watcher, world: World) -> None:
    """What a stranger does in another's volume is done, and each deed has one count and one line with who, what and where."""
    stranger = world.client.containers.get("stranger")
    for name, (script, hook, access, path) in DEEDS.items():
        mark = watcher.mark()
        assert run(stranger, script) == 0, name
        [event] = watcher.await_events(mark, 1)
        label = {R: "read", W: "write"}[access]
        counted = sample(DATA, container="stranger", object="beta-data", access=label, action="observed")
        assert watcher.rise(mark) == {counted: 1}, name
        assert (event.who.name, event.who.id, event.hook) == ("stranger", stranger.id, hook), name
        assert (event.verdict, event.mechanism) == (Verdict.OBSERVED, Mechanism.AUDIT)
        assert isinstance(event.attempt, FileAttempt)
        assert (event.attempt.object.name, event.attempt.path, event.asked & ~event.granted) == (
            "beta-data",
            path,
            access,
        )
    assert watcher.status()["unplaced"] == 0
    assert "0 would go another way" in replayed(watcher)


def replayed(agent: Agent) -> str:
    """What `replay` says of the whole journal under the policy that made it."""
    return agent.ask("replay", str(agent.journal), "--policy", str(agent.policy)).stdout


def test_lawful_work_is_silent(watcher: Watcher, world: World) -> None:
    """What a rule grants leaves no trace: the same deeds in the container's own volume, and everywhere that nobody protects."""
    alpha = world.client.containers.get("alpha")
    mark = watcher.mark()
    for name, (script, *_) in DEEDS.items():
        assert run(alpha, script.replace("/alpha-data", "/nowhere").replace("/beta-data", "/alpha-data")) == 0, name
        assert run(alpha, "echo x > /tmp/f; mv /tmp/f /tmp/g; rm /tmp/g; cat /alpha-config/f") == 0
    assert run(world.client.containers.get("stranger"), "cat /beta-data/f > /dev/null") == 0
    events = watcher.await_events(mark, 1)
    assert [e.who.name for e in events] == ["stranger"]


STARTS = 20
QUIET = {"init": False, "network_mode": "none"}


def started(world: World, name: str, *command: str) -> int:
    """A container's whole life with this command as its first program and every volume mounted; its exit status."""
    made = world.client.containers.create(
        world.images.base,
        list(command),
        name=name,
        volumes=mounted("alpha-data", "beta-data", "worker-1-data"),
        labels=world.engine.labels,
        **QUIET,
    )
    try:
        made.start()
        return int(made.wait(timeout=60)["StatusCode"])
    finally:
        made.remove(force=True)


def test_first_instruction_is_seen(watcher: Watcher, world: World) -> None:
    """Containers that do one forbidden thing and end: each is told of by its own name, and their start is no attempt."""
    mark = watcher.mark()
    for number in range(STARTS):
        assert started(world, f"brief-{number}", "cat", "/beta-data/f") == 0
        assert started(world, f"idle-{number}", "true") == 0
    events = watcher.await_events(mark, STARTS)
    assert sorted(e.who.name for e in events) == sorted(f"brief-{n}" for n in range(STARTS))
    assert watcher.status()["unplaced"] == 0


def test_many_short_programs_are_all_placed(watcher: Watcher, world: World) -> None:
    """Programs that end at once, in a loop and by `docker exec`: none goes uncounted, none is counted twice."""
    stranger = world.client.containers.get("stranger")
    mark = watcher.mark()
    assert run(stranger, "i=0; while [ $i -lt 300 ]; do cat /beta-data/f > /dev/null; i=$((i+1)); done") == 0
    for _ in range(50):
        assert stranger.exec_run(["cat", "/beta-data/f"]).output.startswith(CONTENT.encode())
    watcher.await_events(mark, 350)
    counted = sample(DATA, container="stranger", object="beta-data", access="read", action="observed")
    assert watcher.rise(mark) == {counted: 350}
    counts = watcher.status()["counts"]
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())
    assert watcher.status()["unplaced"] == 0


def test_a_new_volume_is_watched_before_it_is_used(watcher: Watcher, world: World) -> None:
    """A volume that the policy protects is made, and read by a stranger at once."""
    mark = watcher.mark()
    for number in range(3):
        volume = world.client.volumes.create(f"beta-new-{number}", labels=world.engine.labels)
        made = world.client.containers.create(
            world.images.base,
            ["sh", "-c", "echo x > /there/f; cat /there/f"],
            name=f"early-{number}",
            volumes=[f"{volume.name}:/there"],
            labels=world.engine.labels,
            **QUIET,
        )
        made.start()
        assert made.wait(timeout=60)["StatusCode"] == 0
        events = watcher.await_events(mark, 2)
        assert [(e.who.name, e.hook, e.attempt.object.name) for e in events] == [
            (f"early-{number}", Hook.CREATE, volume.name),
            (f"early-{number}", Hook.OPEN, volume.name),
        ]
        mark = watcher.mark()
        made.remove()
        volume.remove()


def test_kill_9_leaves_watches_that_the_next_agent_takes_away(world: World) -> None:
    """Rules outlive a killed agent; the next start replaces them, and `unload` removes them when none comes."""
    before = kernel()
    agent = new(world, "killed")
    try:
        agent.start("--mechanism", "audit")
        agent.kill()
        left = kernel()[1]
        assert left != before[1]
        assert "left by an agent that was killed" in agent.ask("doctor", "--cgroup", f"/{world.engine.name}").stdout
        agent.start("--mechanism", "audit")
        assert len(kernel()[1]) == len(left)
        refused = agent.ask("unload", "--pins", str(agent.pins))
        assert (refused.returncode, f"(process {agent.pid})" in refused.stderr) == (3, True)
        agent.kill()
        done = agent.ask("unload", "--pins", str(agent.pins))
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0,
            f"{len(left) - len(before[1])} audit rules removed",
        )
        assert kernel() == before
    finally:
        agent.close()
        agent.ask("unload", "--pins", str(agent.pins))


NO_BPF = ("setpriv", "--bounding-set", "-sys_admin,-cap_38,-cap_39")
"""Without CAP_SYS_ADMIN, CAP_PERFMON and CAP_BPF the kernel refuses every program."""


def test_a_host_that_refuses_bpf_is_watched(world: World) -> None:
    """Nobody asked for audit: where the kernel refuses programs it takes their place, loudly."""
    agent = new(world, "refused")
    agent.words = NO_BPF
    mark = None
    try:
        agent.start()
        assert "NOTHING IS STOPPED on this host" in agent.log.read_text()
        status = agent.status()
        assert status["mechanisms"]["open"] == "audit"
        assert any("only watched: nothing is stopped" in d["what"] for d in status["degraded"])
        assert all("bpf(2): Operation not permitted" in d["why"] for d in status["degraded"] if "hook" in d["what"])
        mark = agent.mark()
        assert run(world.client.containers.get("stranger"), "rm /beta-data/second; cat /beta-data/f") == 0
        assert sorted(e.hook for e in agent.await_events(mark, 2)) == [Hook.OPEN, Hook.UNLINK]
    finally:
        agent.close()


@pytest.mark.parametrize("option", [("--require", "deny"), ("--mechanism", "tracepoint")])
def test_what_was_asked_for_is_not_replaced(world: World, option: tuple[str, str]) -> None:
    """An operator who wants no less gets an error, not a watch; and nothing is left of the attempt."""
    before = kernel()
    agent = new(world, "strict")
    agent.words = NO_BPF
    with pytest.raises(EdgeError, match="the agent ended with 3"):
        agent.start(*option)
    assert kernel() == before
    agent.close()


def test_deny_cannot_be_had_by_audit(world: World) -> None:
    """`--require deny` and `--mechanism audit` exclude each other: status 3, and no rule is left."""
    before = kernel()
    agent = new(world, "both")
    with pytest.raises(EdgeError, match="this host cannot refuse anything, audit only sees"):
        agent.start("--mechanism", "audit", "--require", "deny")
    assert kernel() == before
    agent.close()


def test_audit_needs_the_hosts_network_namespace(world: World) -> None:
    """In the engine's namespace the kernel would send no record: the agent says so and does not pretend."""
    before = kernel()
    agent = Agent(world.engine, world.engine.directory / "inner")
    put_policy(agent)
    with pytest.raises(EdgeError, match="host's own network namespace"):
        agent.start("--mechanism", "audit")
    assert kernel() == before


def test_changes_are_seen_beside_the_tracepoints(world: World) -> None:
    """Where tracepoints hold opens and nothing holds changes, audit sees the changes, each once, and leaves opens alone."""
    before = kernel()
    agent = new(world, "beside")
    try:
        agent.start("--mechanism", "tracepoint")
        held = agent.status()["mechanisms"]
        assert (held["open"], held["change"]) == ("tracepoint", "audit")
        assert agent.status()["selftest"]["success"] is True
        stranger = world.client.containers.get("stranger")
        assert run(world.client.containers.get("alpha"), "echo x > /alpha-data/fresh") == 0
        for script, hook, path in (
            ("mv /alpha-data/fresh /alpha-data/fresher", Hook.RENAME, "fresh"),
            ("chmod 600 /alpha-data/fresher", Hook.SETATTR, "fresher"),
            ("rm /alpha-data/fresher", Hook.UNLINK, "fresher"),
        ):
            mark = agent.mark()
            assert run(stranger, script) == 0
            [event] = agent.await_events(mark, 1)
            assert isinstance(event.attempt, FileAttempt)
            found = (event.who.name, event.hook, event.attempt.object.name, event.attempt.path)
            assert found == ("stranger", hook, "alpha-data", path)
            assert (event.verdict, event.mechanism) == (Verdict.OBSERVED, Mechanism.AUDIT)
            counted = sample(DATA, container="stranger", object="alpha-data", access="write", action="observed")
            assert agent.rise(mark) == {counted: 1}
        mark = agent.mark()
        assert run(stranger, "cat /beta-data/f; exit $?") == 137
        [killed] = agent.await_events(mark, 1)
        assert (killed.verdict, killed.mechanism) == (Verdict.KILLED, Mechanism.TRACEPOINT)
        assert "0 would go another way" in replayed(agent)
    finally:
        Agent.close(agent)
    assert kernel() == before
