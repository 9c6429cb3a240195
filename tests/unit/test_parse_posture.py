"""The ``posture`` section of a policy: what it means, and that every mistake is found where it stands."""

from __future__ import annotations

import pytest

from enforcer.core.checks import Check
from enforcer.core.model import Policy
from enforcer.core.parse import parse
from enforcer.core.posture import Limits, PostureRule, PurposeVolume
from enforcer.edges.policyfile import from_bytes
from enforcer.errors import PolicyError

HEAD = """version: 1
mode: enforce
containers: {agents: {name: "mcp-*", except: [mcp-20-x]}, labelled: {label: {a: b}}}
posture:
  rules:
"""
WHOLE = """\
    - who: agents
      names: [mcp-01-a, mcp-02-b]
      user: "1001:1001"
      networks: [inside]
      volumes: {data: /app/data, config: "/app/config:ro"}
      limits: {memory: 1G, cpus: 0.25, pids: 100}
      health: optional
      capabilities: [CAP_NET_BIND_SERVICE, CHOWN]
      publish: [3000/tcp]
      accept: [image-tag]
    - {who: [agents, labelled], count: 20, networks: [], publish: []}
"""


def load(text: str) -> Policy:
    """One file."""
    return parse(from_bytes((HEAD + text).encode(), "p.yaml"))


def test_a_whole_section() -> None:
    """Every field, and what is left out."""
    assert load(WHOLE).posture == (
        PostureRule(
            *("posture.rules[0]", ("agents",), ("mcp-01-a", "mcp-02-b")),
            user="1001:1001",
            networks=("inside",),
            volumes=(PurposeVolume("data", "/app/data"), PurposeVolume("config", "/app/config", read_only=True)),
            limits=Limits(1 << 30, 0.25, 100),
            health=False,
            capabilities=("NET_BIND_SERVICE", "CHOWN"),
            publish=("3000/tcp",),
            accept=frozenset({Check.IMAGE_TAG}),
        ),
        PostureRule("posture.rules[1]", ("agents", "labelled"), count=20, networks=(), publish=()),
    )


def test_no_section_is_no_rule() -> None:
    """Policies from before have none."""
    assert parse(from_bytes(b"version: 1\nmode: enforce\n", "p.yaml")).posture == ()


@pytest.mark.parametrize(("text", "bytes_"), [("512M", 512 << 20), ("512m", 512 << 20), ("1073741824", 1 << 30)])
def test_memory_as_docker_writes_it(text: str, bytes_: int) -> None:
    """Units of 1024, in either case, or bytes."""
    assert load(f"    - {{who: agents, limits: {{memory: {text}}}}}").posture[0].limits.memory == bytes_


@pytest.mark.parametrize(
    ("rule", "path", "reason"),
    [
        ("{names: [mcp-01-a]}", "posture.rules[0]", 'lacks "who"'),
        ("{who: nobody}", "posture.rules[0].who", "unknown name"),
        ("{who: agents, users: x}", "posture.rules[0]", 'did you mean "user"?'),
        ("{who: agents, names: [db]}", "posture.rules[0].names[0]", "no selector"),
        ("{who: agents, names: [mcp-20-x]}", "posture.rules[0].names[0]", "no selector"),
        ('{who: agents, names: ["mcp-*"]}', "posture.rules[0].names[0]", "not a plain name"),
        ("{who: agents, names: [mcp-1, mcp-1]}", "posture.rules[0].names[1]", "listed twice"),
        ("{who: agents, names: [mcp-1], count: 1}", "posture.rules[0].count", "keep one"),
        ("{who: agents, count: many}", "posture.rules[0].count", "a number"),
        ("{who: agents, user: a b}", "posture.rules[0].user", "1001:1001"),
        ("{who: agents, networks: inside}", "posture.rules[0].networks", "must be a list"),
        ("{who: agents, volumes: {data: data}}", "posture.rules[0].volumes.data", "no place in a container"),
        ("{who: agents, volumes: {data: /app/../x}}", "posture.rules[0].volumes.data", "no place"),
        ("{who: agents, volumes: {a/b: /x}}", "posture.rules[0].volumes.a/b", "cannot end a volume's name"),
        ("{who: agents, limits: {memory: much}}", "posture.rules[0].limits.memory", "512M"),
        ("{who: agents, limits: {pids: 0}}", "posture.rules[0].limits.pids", "limit of nothing"),
        ("{who: agents, limits: {cpus: -1}}", "posture.rules[0].limits.cpus", "0.5"),
        ("{who: agents, limits: {disk: 1}}", "posture.rules[0].limits", "unknown key"),
        ("{who: agents, health: maybe}", "posture.rules[0].health", "unknown word"),
        ("{who: agents, capabilities: [net-admin]}", "posture.rules[0].capabilities[0]", "NET_BIND_SERVICE"),
        ("{who: agents, publish: [3000]}", "posture.rules[0].publish[0]", "3000/tcp"),
        ("{who: agents, publish: [3000/icmp]}", "posture.rules[0].publish[0]", "unknown protocol"),
        ("{who: agents, publish: [70000/tcp]}", "posture.rules[0].publish[0]", "past the last port"),
        ("{who: agents, accept: [container-existence]}", "posture.rules[0].accept[0]", "unknown check"),
        ("{who: agents, accept: [image]}", "posture.rules[0].accept[0]", 'did you mean "image-tag"?'),
    ],
)
def test_a_mistake(rule: str, path: str, reason: str) -> None:
    """Said with its path, and with what to write."""
    with pytest.raises(PolicyError) as caught:
        load(f"    - {rule}")
    assert [(p.path, reason in p.reason) for p in caught.value.problems] == [(path, True)], caught.value


def test_a_selector_by_label_may_have_any_name() -> None:
    """Only the host knows what they are called."""
    assert load("    - {who: labelled, names: [db]}").posture[0].names == ("db",)
