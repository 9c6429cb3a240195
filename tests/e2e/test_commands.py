"""Every command against the running world: what it says is what is so, and its exit status is that of DESIGN section 8."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from enforcer.edges.bpf.programs import PROGRAMS
from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import ENFORCER, Agent
from tests.e2e.world import NETWORK, World
from tests.scenarios import POLICY

HOOKS = {p.group for p in PROGRAMS}


def told(agent: Agent, *words: str, status: int = 0) -> Any:
    """The JSON that a command prints, when it ends with this status and says nothing on standard error."""
    done = agent.ask(*words, "--format", "json")
    assert (done.returncode, done.stderr) == (status, ""), done.stdout + done.stderr
    return json.loads(done.stdout)


def run_option(agent: Agent) -> tuple[str, str]:
    """Where the agent answers."""
    return "--run", str(agent.directory / "run")


def policy_option(agent: Agent) -> tuple[str, str]:
    """The running policy."""
    return "--policy", str(agent.policy)


def test_status_says_what_is_so(agent: Agent, world: World) -> None:
    """`status`: the policy in force, Docker's containers, what holds each hook, and a self-test that passed."""
    found = told(agent, "status", *run_option(agent))
    assert found["policy"]["hash"] == read_policy(agent.policy).hash
    assert (found["policy"]["mode"], found["policy"]["path"]) == ("enforce", str(agent.policy))
    assert found["mechanisms"].keys() == HOOKS
    assert {found["mechanisms"][hook] for hook in ("connect4", "connect6", "sendmsg4", "sendmsg6")} == {"cgroup"}
    running = {c["name"]: c for c in found["containers"]}
    assert running.keys() == {c.name for c in world.client.containers.list(all=True)}
    assert (running["alpha"]["running"], running["alpha"]["networks"]) == (True, [NETWORK])
    assert running["alpha"]["id"] == world.client.containers.get("alpha").id
    assert (found["selftest"]["success"], found["selftest"]["failures"]) == (True, {})
    assert found["docker"] == {"address": world.engine.url, "connected": True}
    assert (found["pid"], found["malformed"]) == (agent.pid, 0)
    assert agent.metrics()[("enforcer_selftest_success", ())] == 1
    prevents = found["mechanisms"]["open"] in ("lsm", "fmod_ret")
    assert any("not prevention" in d["what"] for d in found["degraded"]) is not prevents


def test_status_for_people(agent: Agent) -> None:
    """The table says the same, and without an agent there is one line and status 4."""
    done = agent.ask("status", *run_option(agent))
    assert done.returncode == 0
    assert f"policy      {read_policy(agent.policy).hash[:12]} (enforce)" in done.stdout
    assert "self-test   passed" in done.stdout
    gone = agent.ask("status", "--run", str(agent.directory / "nowhere"))
    assert (gone.returncode, gone.stdout, len(gone.stderr.splitlines())) == (4, "", 1)
    assert "is `enforcer run` running" in gone.stderr


def test_check(agent: Agent, tmp_path: Path) -> None:
    """`check`: 0 and the hash for a good policy, 1 for one that protects nothing here, 2 for a bad one."""
    good = told(agent, "check", str(agent.policy))
    assert good == {"hash": read_policy(agent.policy).hash, "mode": "enforce", "warnings": []}
    assert told(agent, "check", str(agent.policy), "--host")["warnings"] == []
    (tmp_path / "vain.yaml").write_bytes(POLICY.replace(b'"beta-*"', b'"nowhere-*"'))
    [warning] = told(agent, "check", str(tmp_path / "vain.yaml"), "--host", status=1)["warnings"]
    assert "'nowhere-*' matches nothing" in warning
    (tmp_path / "bad.yaml").write_bytes(POLICY.replace(b"enforce", b"enforced", 1))
    done = agent.ask("check", str(tmp_path / "bad.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert f'{tmp_path / "bad.yaml"}:3:7: mode: unknown mode "enforced"' in done.stderr


def test_matrix_is_what_is_enforced(agent: Agent, world: World) -> None:
    """Each cell of `matrix` is what a container in fact may do with the volume."""
    cells = told(agent, "matrix", *policy_option(agent))["data"]
    assert cells == agent.matrix()["data"]
    assert cells["alpha"]["volume:alpha-data"] == "rw"
    assert cells["watched"]["volume:alpha-config"] == "r?"
    for who in ("alpha", "stranger"):
        for volume in ("alpha-data", "alpha-config", "beta-data"):
            cell = cells[who][f"volume:{volume}"]
            done = [world.do(who, deed, f"/{volume}/f").status == 0 for deed in ("read", "write")]
            assert done == [cell in ("r", "rw"), cell == "rw"], (who, volume, cell)


def test_matrix_of_the_network(agent: Agent) -> None:
    """Where containers may connect: by rule, nowhere in monitor mode's words, or anywhere."""
    network = told(agent, "matrix", *policy_option(agent))["network"]
    assert network["stranger"] == ["anywhere"]
    assert network["watched"] == []
    assert "203.0.113.0/24:443/tcp" in network["alpha"]
    assert "not 203.0.113.128/25" in network["alpha"]


def test_plan_shows_each_change(agent: Agent, tmp_path: Path) -> None:
    """`plan`: nothing for the running policy, each cell that another would change, everything if no agent answers."""
    assert told(agent, "plan", str(agent.policy), *run_option(agent)) == []
    for name in ("10-table.yaml", "20-more.yaml"):
        text = (agent.policy / name).read_bytes()
        (tmp_path / name).write_bytes(
            text.replace(b"read-write: [alpha-data], read-only: [alpha-config]", b"read-only: [alpha-data]")
        )
    changed = told(agent, "plan", str(tmp_path), *run_option(agent))
    assert changed == [
        {"container": "alpha", "what": "volume:alpha-config", "now": "r", "then": "-"},
        {"container": "alpha", "what": "volume:alpha-data", "now": "rw", "then": "r"},
    ]
    fresh = agent.ask("plan", str(agent.policy), "--run", str(tmp_path / "nowhere"), "--format", "json")
    assert (fresh.returncode, fresh.stderr) == (0, "no agent runs: compared with no policy at all\n")
    assert {"container": "alpha", "what": "volume:alpha-data", "now": "", "then": "rw"} in json.loads(fresh.stdout)


@pytest.mark.parametrize(
    ("question", "status", "verdict", "rules"),
    [
        (("alpha", "read", "alpha-config"), 0, "allowed", ["data.rules[0]"]),
        (("alpha", "write", "alpha-config"), 1, "denied", ["data.rules[0]"]),
        (("stranger", "read", "beta-data"), 1, "denied", []),
        (("watched", "write", "alpha-config"), 1, "observed", ["data.rules[1]"]),
        (("alpha", "connect", "203.0.113.10:443"), 0, "allowed", ["network.rules[0]"]),
        (("alpha", "connect", "203.0.113.200:443/tcp"), 1, "denied", ["network.rules[0]"]),
        (("alpha", "connect", "[2001:db8::1]:80"), 1, "denied", ["network.rules[0]"]),
        (("stranger", "connect", "203.0.113.10:80"), 0, "allowed", []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_explain(agent: Agent, question: tuple[str, ...], status: int, verdict: str, rules: list[str]) -> None:
    """`explain`: the verdict that the kernel gives (tests/e2e/test_scenarios.py), and the rules behind it."""
    found = told(agent, "explain", *question, *policy_option(agent), status=status)
    assert (found["verdict"], found["rules"]) == (verdict, rules)
    assert question[0] in found["text"]


def test_explain_refuses_what_it_does_not_know(agent: Agent) -> None:
    """An unknown container or volume, or an address without a port, is a wrong question: status 2, one line."""
    for question in (
        ("alhpa", "read", "alpha-data"),
        ("alpha", "read", "nowhere"),
        ("alpha", "connect", "203.0.113.10"),
    ):
        done = agent.ask("explain", *question, *policy_option(agent))
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), question


def test_log_finds_and_replay_judges_again(agent: Agent, world: World, tmp_path: Path) -> None:
    """A violation is found by each of its sides; replayed, the running policy changes nothing and a laxer one changes it."""
    verdict, _ = agent.stopped
    mark = agent.mark()
    world.do("stranger", "read", "/beta-data/f")
    [event] = agent.await_events(mark, 1)
    for query in (("--container", "strang*"), ("--object", "beta-data"), ("--verdict", verdict), ("--kind", "file")):
        done = agent.ask("log", "--journal", str(agent.journal), *query, "--format", "json")
        assert done.returncode == 0
        last = json.loads(done.stdout.splitlines()[-1])
        assert last["event"]["sequence"] == event.sequence
        assert (last["container"]["name"], last["enforcer"]["object"]["name"]) == ("stranger", "beta-data")
        assert last["file"]["path"] == "f"
    nothing = agent.ask("log", "--journal", str(agent.journal), "--container", "nobody", "--format", "json")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    story = told(agent, "replay", str(agent.journal))
    assert story["events"][-1]["event"]["sequence"] >= event.sequence
    assert {"stranger"} <= {total["container"] for total in story["totals"]}


def test_replay_with_another_policy(agent: Agent, world: World, tmp_path: Path) -> None:
    """What the running policy has just refused it refuses again; a policy that grants it would have allowed it."""
    segment = tmp_path / "one.jsonl"
    mark = agent.mark()
    world.do("stranger", "read", "/beta-data/f")
    [event] = agent.await_events(mark, 1)
    lines = (
        line for file in sorted(agent.journal.glob("*.jsonl")) for line in file.read_text().splitlines(keepends=True)
    )
    segment.write_text("".join(line for line in lines if json.loads(line)["event"]["sequence"] == event.sequence))
    same = told(agent, "replay", str(segment), *policy_option(agent))
    assert (same["attempts"], same["changed"], same["changes"]) == (1, 0, [])
    lax = b"version: 1\nmode: enforce\ncontainers: {all: {name: '*'}}\ndata:\n  protected: [{volume: 'beta-*'}]\n"
    (tmp_path / "lax.yaml").write_bytes(lax + b"  rules: [{who: all, read-only: [beta-data]}]\n")
    other = told(agent, "replay", str(segment), "--policy", str(tmp_path / "lax.yaml"), status=1)
    assert (other["attempts"], other["changed"]) == (1, 1)
    [change] = other["changes"]
    assert (change["container"], change["now"], change["rule"]) == ("stranger", "allowed", ["data.rules[0]"])


def test_log_follows(agent: Agent, world: World) -> None:
    """`log --follow` shows what happens while it runs."""
    words = ["log", "--journal", str(agent.journal), "--follow", "--container", "stranger", "--format", "json"]
    mark = agent.mark()
    with subprocess.Popen([ENFORCER, *words], stdout=subprocess.PIPE, text=True) as following:
        world.do("stranger", "read", "/beta-data/f")
        assert following.stdout
        for line in following.stdout:
            if json.loads(line)["event"]["sequence"] > mark.sequence:
                break
        following.terminate()
    assert json.loads(line)["container"]["name"] == "stranger"


def test_log_without_a_journal(agent: Agent) -> None:
    """No journal there: one line, status 2."""
    for command in (("log", "--journal"), ("replay",)):
        done = agent.ask(*command, str(agent.directory / "nowhere"))
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_doctor_promises_what_the_agent_has(agent: Agent, world: World) -> None:
    """`doctor` tries every hook on a canary of its own, beside the running agent, and finds what the agent found."""
    held = agent.status()["mechanisms"]
    before = agent.mark()
    found = told(agent, "doctor", "--cgroup", f"/{world.engine.name}")
    assert all(check["ok"] for check in found["checks"])
    assert {hook["hook"]: hook["mechanism"] for hook in found["hooks"]} == held
    assert agent.rise(before) == {}
    assert [d.name for d in Path("/sys/fs/bpf").glob("enforcer-doctor-*")] == []
    assert list(Path("/sys/fs/cgroup").glob(f"**/{world.engine.name}/enforcer-doctor-*")) == []


def test_doctor_of_a_host_that_cannot(agent: Agent) -> None:
    """Without an engine `doctor` says what is missing, and still looks at all the rest; status 3."""
    environment = agent.environment | {"DOCKER_HOST": f"unix://{agent.directory}/nowhere.sock"}
    done = agent.ask("doctor", "--cgroup", f"/{agent.engine.name}", "--format", "json", env=environment)
    assert done.returncode == 3
    missing = [check["what"] for check in json.loads(done.stdout)["checks"] if not check["ok"]]
    assert missing == ["docker"]
