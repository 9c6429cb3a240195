"""A rendered Compose file: all that the guide asks, quoted so that every string comes back, and the policy's own names."""

from __future__ import annotations

import string
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcer.core.compose import AGENT, GATEWAY, SIZES, TYPES, VOLUMES, ComposeNetwork, ComposeService, Composition
from enforcer.core.compose_file import compose_file_of
from enforcer.core.compose_text import HEAD, lines_of, literal, text_of_composition
from enforcer.edges.composefile import compose_from_bytes, load_declaration
from enforcer.edges.policyfile import load
from enforcer.posture.compose_lint import lint
from enforcer.posture.volumes import declared

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "deploy" / "compose" / "agents.yaml"

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


def rendered() -> dict[str, Any]:
    """The shipped declaration's Compose file, as PyYAML reads it."""
    found: dict[str, Any] = yaml.safe_load(text_of_composition(load_declaration(AGENTS)))
    return found


def test_the_shipped_declaration_has_the_policys_names_networks_and_volumes() -> None:
    """What policies/mcp.yaml names is what the Compose file makes."""
    policy, made = load(ROOT / "policies" / "mcp.yaml"), rendered()
    named = {name for rule in policy.posture for name in rule.names}
    assert {s["container_name"] for s in made["services"].values()} == named | {"workstation"}
    assert policy.containers["gateway"].label == {"com.docker.compose.service": "workstation"}
    assert set(made["services"]) >= {"workstation"}
    internal = {n["name"] for n in made["networks"].values() if n["internal"]}
    assert internal == set(policy.internal)
    assert {n["name"] for n in made["networks"].values() if not n["internal"]} == {"public"}
    volumes = declared(policy)
    assert {v["name"] for v in made["volumes"].values()} == {d.volume.name for d in volumes}
    data = {v["name"]: v["driver_opts"] for v in made["volumes"].values() if "driver_opts" in v}
    assert data == {d.volume.name: o for d in volumes if (o := d.options("/srv/mcp/data"))}


def test_the_shipped_declaration_keeps_the_policys_posture() -> None:
    """User, networks, places of the volumes, published ports, and limits that are no higher."""
    policy, services = load(ROOT / "policies" / "mcp.yaml"), rendered()["services"]
    agents, orchestrator, gateway, database = policy.posture
    for name in agents.names:
        most = orchestrator.limits if name == "mcp-20-orchestrator" else agents.limits
        service = services[name]
        assert service["user"] == agents.user
        assert tuple(service["networks"]) == agents.networks
        ends = [f"{name}-{v.purpose}:{v.destination}:{'ro' if v.read_only else 'rw'}" for v in agents.volumes]
        assert service["volumes"] == ends
        assert float(service["cpus"]) <= most.cpus
        assert int(service["mem_limit"].removesuffix("m")) << 20 <= most.memory
        assert service["pids_limit"] <= agents.limits.pids
        assert "ports" not in service
    assert services["workstation"]["ports"] == ["3000:3000"]
    assert gateway.publish == ("3000/tcp",)
    assert services["database"]["user"] == database.user
    assert "ports" not in services["database"]


def test_what_the_guide_asks_of_every_container() -> None:
    """Word for word, where the guide has words."""
    for name, service in rendered()["services"].items():
        assert service["read_only"] is True
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        tmp = "/tmp:noexec,nosuid,size=100M"  # noqa: S108 -- in a container
        assert service["tmpfs"] == [tmp, "/run:noexec,nosuid,size=50M"]
        assert service["restart"] == "unless-stopped"
        assert service["pids_limit"] == 100
        assert service["memswap_limit"] == service["mem_limit"]
        assert set(service["labels"]) == {"mcp.id", "mcp.type", "mcp.version"}
        options = {"max-size": "10m", "max-file": "3", "labels": "mcp.id,mcp.type"}
        assert service["logging"] == {"driver": "json-file", "options": options}
        health = {k: v for k, v in service["healthcheck"].items() if k != "test"}
        assert health == {"interval": "30s", "timeout": "10s", "retries": 3, "start_period": "40s"}
        assert service["environment"]["MCP_ID"] == name.removeprefix("mcp-")
    test = rendered()["services"]["mcp-03-database-orchestration-specialist"]["healthcheck"]["test"]
    assert test == ["CMD", "curl", "-f", "http://localhost:8083/health"]


def test_the_classes_are_the_guides_table() -> None:
    """Resource Allocation Guidelines."""
    table = {"lightweight": ("0.25", 256), "standard": ("0.5", 512), "heavy": ("1.0", 1024), "critical": ("2.0", 2048)}
    assert dict(SIZES) == table


def test_the_file_says_where_the_guide_contradicts_itself() -> None:
    """seccomp:unconfined and internal: false, and which reading is taken."""
    text = text_of_composition(load_declaration(AGENTS))
    assert text.startswith(HEAD)
    assert "seccomp:unconfined. It is left out" in HEAD
    assert "internal: false" in HEAD
    assert all(line.startswith("#") for line in HEAD.splitlines())


def test_the_same_declaration_gives_the_same_file() -> None:
    """Byte by byte."""
    assert text_of_composition(load_declaration(AGENTS)) == text_of_composition(load_declaration(AGENTS))


texts = st.text(max_size=20) | st.sampled_from(
    ["no", "NULL", "~", "1e3", "0x1", "- a", "a: b", "#", "*a", "22:22", "=", "<<"]
)
trees = st.recursive(
    texts | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@unhurried
@given(st.dictionaries(texts, trees, min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(tree: dict[str, Any]) -> None:
    """Any string, as key or value, comes back through YAML 1.1 as it was, and nothing of it becomes anything else."""
    text = "\n".join(lines_of(tree))
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        assert yaml.load(text, Loader=loader) == tree  # noqa: S506 -- both are safe loaders


names = st.text(string.ascii_letters + string.digits, min_size=2, max_size=8)
printable = st.text(st.characters(blacklist_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=12)
kinds = st.sampled_from(TYPES)


@st.composite
def services(draw: st.DrawFn, name: str) -> ComposeService:
    """Whatever a declaration can say."""
    kind = draw(kinds)
    gateway = kind == GATEWAY
    return ComposeService(
        name=name,
        networks=("out", "in") if gateway else ("in",),
        port=draw(st.integers(1, 65535)),
        build=draw(printable),
        type=kind,
        size=draw(st.sampled_from(sorted(SIZES))),
        publish=("1:1",) if gateway and draw(st.booleans()) else (),
        volumes=() if gateway else VOLUMES,
        health=draw(st.sampled_from([(), ("true",), ("sh", "-c", "a$b || c")])),
        capabilities=draw(st.sampled_from([(), ("NET_BIND_SERVICE",)])),
        environment=draw(st.dictionaries(st.sampled_from(["A", "B"]), printable)),
    )


@unhurried
@given(st.lists(names, min_size=1, max_size=3, unique=True).flatmap(lambda each: st.tuples(*map(services, each))))
def test_the_lint_finds_nothing_in_what_is_rendered(made: tuple[ComposeService, ...]) -> None:
    """Whatever the declaration says; and every value comes back, its dollars doubled for Compose."""
    networks = (
        ComposeNetwork("out", ip_network("10.0.0.0/8"), internal=False),
        ComposeNetwork("in", ip_network("fd00::/64")),
    )
    text = text_of_composition(Composition("/srv/a b$c", networks, made))
    assert lint(compose_file_of(compose_from_bytes(text.encode(), "c.yaml"))) == ()
    read = yaml.safe_load(text)["services"]
    for service in made:
        assert read[service.name]["build"]["context"] == literal(service.build)
        assert literal(service.environment.get("A", "")) == read[service.name]["environment"].get("A", "")


def test_agents_are_the_default() -> None:
    """A service is an agent if nothing is said."""
    assert ComposeService("aa", ("in",), 1).type == AGENT
