"""``plan`` and ``explain``: which agent is asked, and how a destination is written."""

import json

import pytest
from click.testing import CliRunner

from enforcer.cli import policy as commands
from enforcer.core.protocols import WITH_PORTS
from enforcer.edges.control import Control
from enforcer.errors import EdgeError, UsageError
from tests.unit.worlds import GUIDE_FACTS

POLICY = """
version: 1
mode: enforce
containers:
  gateway: {name: workstation}
network:
  rules:
    - {who: gateway, connect: [{cidr: 203.0.113.0/24, ports: [9/sctp, 53/udp, 443/tcp, icmp]}]}
"""


@pytest.fixture
def policy(tmp_path, monkeypatch):
    """The policy in a file, on the guide's host."""
    monkeypatch.setattr(commands, "host", lambda _policy: GUIDE_FACTS)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path / "policy.yaml"


def run(command, *arguments):
    """The result of a command; errors of ours come out as they are."""
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def verdict(policy, target):
    """What ``explain`` says of the workstation's connection there."""
    words = ("workstation", "connect", target, "--policy", policy, "--format", "json")
    return json.loads(run(commands.explain_command, *words).stdout)["verdict"]


def test_plan_without_an_agent(policy, tmp_path):
    """Everything is new, and standard error says why; standard output stays one JSON document."""
    done = run(commands.plan_command, policy, "--run", tmp_path, "--format", "json")
    changed = {(c["container"], c["what"]) for c in json.loads(done.stdout)}
    assert ("workstation", "connect") in changed
    assert "compared with no policy" in done.stderr


def test_plan_with_an_agent_that_is_not_ready(policy, tmp_path):
    """An agent that refuses to answer is no missing agent: the plan would be of the wrong thing, so there is none."""

    def starting(_request):
        raise EdgeError("the agent is starting")

    agent = Control(tmp_path / "control.sock", starting)
    try:
        with pytest.raises(EdgeError, match="the agent is starting"):
            run(commands.plan_command, policy, "--run", tmp_path)
    finally:
        agent.close()


@pytest.mark.parametrize(
    "target", ["203.0.113.5:9/sctp", "203.0.113.5:53/udp", "203.0.113.5:443", "203.0.113.5:0/icmp"]
)
def test_explain_speaks_the_policys_protocols(policy, target):
    """What a rule can open can be asked for; without a protocol it is TCP."""
    assert verdict(policy, target) == "allowed"


@pytest.mark.parametrize("target", ["203.0.113.5:9", "203.0.113.5:9/udp", "203.0.113.5:53/sctp"])
def test_explain_tells_protocols_apart(policy, target):
    """A port that is open for another protocol is not open."""
    assert verdict(policy, target) == "denied"


def test_every_protocol_of_a_policy_is_a_destinations():
    """One table serves both."""
    assert [commands.destination(f"web:1/{word}").protocol for word in WITH_PORTS] == list(WITH_PORTS.values())


@pytest.mark.parametrize("text", ["web", ":1", "web:", "web:x", "web:65536", "web:²", "web:1/gre"])
def test_what_is_no_destination(text):
    """Refused with an example."""
    with pytest.raises(UsageError, match="write HOST:PORT"):
        commands.destination(text)
