"""The declaration of agents: what it means, and that every mistake is found where it stands."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcer.core.compose import VOLUMES, ComposeNetwork, ComposeService, Composition
from enforcer.core.compose_file import compose_file_of
from enforcer.core.compose_text import text_of_composition
from enforcer.core.parse_compose import parse_declaration
from enforcer.core.posture import PurposeVolume
from enforcer.edges.composefile import compose_from_bytes
from enforcer.edges.policyfile import from_bytes
from enforcer.errors import PolicyError
from enforcer.posture.compose_lint import lint

HEAD = """\
version: 1
data: /srv/data
networks: {out: {subnet: 10.1.0.0/16, internal: false}, in: {subnet: 10.2.0.0/16}}
defaults: {build: "./{name}", networks: [in]}
services:
"""
DIGEST = "sha256:" + "a" * 64


def load(text: str) -> Composition:
    """One file."""
    return parse_declaration(from_bytes(text.encode(), "agents.yaml"))


def problems(text: str) -> list[str]:
    """Every mistake, as it is printed."""
    with pytest.raises(PolicyError) as caught:
        load(text)
    return [str(p) for p in caught.value.problems]


def test_a_short_declaration_is_the_guides_agent() -> None:
    """One line makes an agent with all that the guide gives it; networks are internal unless it is said otherwise."""
    found = load(HEAD + "  mcp-01-a: {port: 8081}\n")
    assert found == Composition(
        "/srv/data",
        (
            ComposeNetwork("out", ip_network("10.1.0.0/16"), internal=False),
            ComposeNetwork("in", ip_network("10.2.0.0/16")),
        ),
        (ComposeService("mcp-01-a", ("in",), 8081, build="./mcp-01-a"),),
    )
    assert found.services[0].volumes == VOLUMES
    assert found.services[0].id == "01-a"


def test_every_field_of_a_service() -> None:
    """What is said takes the default's place; an image takes the place of the default's build."""
    text = f"""\
  way-in:
    type: gateway
    class: critical
    version: 2.1.0
    image: reg/way@{DIGEST}
    user: "1002:1002"
    networks: [out, in]
    port: 3000
    publish: ["127.0.0.1:80:3000/tcp"]
    volumes: {{data: /data}}
    health: [wget, -q, "http://localhost:3000"]
    capabilities: [NET_BIND_SERVICE]
    environment: {{NODE_ENV: test, KEY: "$x: #"}}
"""
    assert load(HEAD + text).services == (
        ComposeService(
            *("way-in", ("out", "in"), 3000),
            image=f"reg/way@{DIGEST}",
            type="gateway",
            size="critical",
            version="2.1.0",
            user="1002:1002",
            publish=("127.0.0.1:80:3000/tcp",),
            volumes=(PurposeVolume("data", "/data"),),
            health=("wget", "-q", "http://localhost:3000"),
            capabilities=("NET_BIND_SERVICE",),
            environment={"NODE_ENV": "test", "KEY": "$x: #"},
        ),
    )


def test_gateways_keep_nothing_and_databases_only_data() -> None:
    """Unless they say so."""
    text = "  gate: {port: 1, type: gateway}\n  base: {port: 2, type: database}\n"
    assert [s.volumes for s in load(HEAD + text).services] == [(), VOLUMES[:1]]


WRONG = {
    "{prot: 1}": ('services.aa: unknown key "prot"', "port"),
    "{}": ('services.aa: lacks "port"',),
    "{port: 0}": ("services.aa.port:", "not understood"),
    "{port: 70000}": ("services.aa.port: 70000 is past the last port",),
    "{port: 1, class: hevy}": ('services.aa.class: unknown class "hevy"', '"heavy"'),
    "{port: 1, type: agnet}": ('unknown type "agnet"', '"agent"'),
    "{port: 1, user: root}": ("is root",),
    '{port: 1, user: "0:1001"}': ("is root",),
    '{port: 1, user: "1001:0"}': ("is root",),
    "{port: 1, image: postgres:16}": ("services.aa.image:", "a tag may mean another image"),
    f"{{port: 1, build: x, image: a@{DIGEST}}}": ("build and image together",),
    '{port: 1, build: "{nmae}"}': ("unknown placeholder",),
    "{port: 1, networks: []}": ("services.aa.networks: is empty",),
    "{port: 1, networks: [inn]}": ('unknown network "inn"', '"in"'),
    "{port: 1, networks: [out]}": ("out leads outside", "of type agent"),
    '{port: 1, publish: ["1:1"]}': ("services.aa.publish: is for a gateway",),
    '{port: 1, type: gateway, publish: ["1:1"]}': ("every network of it is internal",),
    '{port: 1, type: gateway, networks: [out], publish: ["300.0.0.1:1:1"]}': ("not understood",),
    '{port: 1, type: gateway, networks: [out], publish: ["1:70000"]}': ("not understood",),
    "{port: 1, volumes: {logs: /l, config: '/c:ro'}}": ("no data volume that can be written",),
    "{port: 1, volumes: {data: '/d:ro', logs: /l, config: '/c:ro'}}": ("no data volume that can be written",),
    "{port: 1, volumes: {data: /d}}": ("lacks logs and config",),
    "{port: 1, volumes: {data: /d, logs: /l, config: /c}}": ("for reading only",),
    "{port: 1, volumes: {data: /d, logs: /d, config: '/c:ro'}}": ("/d is taken already",),
    "{port: 1, volumes: {data: /run, logs: /l, config: '/c:ro'}}": ("/run is taken already",),
    "{port: 1, volumes: {data: '/d:x', logs: /l, config: '/c:ro'}}": ("cannot stand in a Compose file",),
    "{port: 1, health: []}": ("services.aa.health: is empty",),
    "{port: 1, health: [curl, localhost]}": ("a curl without -f",),
    "{port: 1, capabilities: [SYS_ADMIN]}": ('"SYS_ADMIN"', "NET_BIND_SERVICE"),
    "{port: 1, environment: {1A: x}}": ("cannot name a variable",),
    "{port: 1, version: 'a b'}": ("not understood",),
    "text": ("services.aa: must be a mapping",),
}


@pytest.mark.parametrize("service", WRONG)
def test_what_is_wrong_with_a_service_is_said(service: str) -> None:
    """Its line, and what to write."""
    found = problems(HEAD + f"  aa: {service}\n")
    assert all(line.startswith("agents.yaml:6:") for line in found)
    assert all(part in "\n".join(found) for part in WRONG[service])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version: 1\n", "", 'declaration: lacks "version"'),
        ("version: 1", "version: 2", "unknown version"),
        ("data: /srv/data\n", "", 'declaration: lacks "data"'),
        ("/srv/data", "./data", "is relative"),
        ("10.2.0.0/16", "10.1.2.0/24", "overlaps 10.1.0.0/16 of out"),
        ("10.2.0.0/16", "10.2.0.1/16", "has host bits set"),
        ("in: {subnet: 10.2.0.0/16}", "in: {}", 'lacks "subnet"'),
        ("internal: false", "internal: no", 'unknown word "no"'),
        ("out: {", "host: {", "a network of Docker's own"),
        ("aa:", '"a a":', "cannot name a container"),
        ("  aa: {port: 1}", "  {}", "names no container"),
        ("aa: {port: 1}", "aa: {port: 1}\n  aa: {port: 2}", "is given twice"),
        ("services:", "services: &x", "an anchor"),
    ],
)
def test_what_is_wrong_with_the_rest_is_said(old: str, new: str, said: str) -> None:
    """With its place; nothing is called a policy's that is none."""
    whole = HEAD + "  aa: {port: 1}\n"
    assert old in whole
    found = problems(whole.replace(old, new))
    assert any(said in line for line in found), found
    assert not any(": policy:" in line for line in found)


def test_a_wrong_default_is_said_once() -> None:
    """Every service meets it; its place is one."""
    text = HEAD.replace("networks: [in]}", "networks: [in], class: huge}") + "  aa: {port: 1}\n  bb: {port: 2}\n"
    assert len(problems(text)) == 1


def test_two_containers_with_one_volume_are_refused() -> None:
    """``a`` with ``b-data`` and ``a-b`` with ``data`` have one name for two volumes."""
    text = "  a1: {port: 1, volumes: {data: /d, logs: /l, config: '/c:ro', b-data: /b}}\n  a1-b: {port: 2}\n"
    assert "its volume a1-b-data is a1's already" in problems(HEAD + text)[0]


places = st.sampled_from(["/app/data", "/l", "/m/n", "/app/config", "/d:ro", "/run", "/x:y"])
volumes = st.fixed_dictionaries(
    {"data": places, "config": st.sampled_from(["/c:ro", "/app/config:ro", "/app/data:ro", "/c"])},
    optional={key: places for key in ("logs", "my-config", "old-data", "b-data")},
)
networks = st.lists(st.sampled_from(["in", "six", "out"]), min_size=1, max_size=3, unique=True)
values = {
    "type": st.sampled_from(["gateway", "gateway", "agent", "database", "orchestrator"]),
    "class": st.sampled_from(["heavy", "lightweight"]),
    "version": st.sampled_from(["1", "1.0.0+a"]),
    "build": st.sampled_from([".", "$x", "{name}", "a: #b", "{x}"]),
    "user": st.sampled_from(["1001", "node", "1001:1002", "1001:root"]),
    "networks": networks,
    "publish": st.lists(st.sampled_from(["1:1", "127.0.0.1:1:1/udp"]), max_size=2, unique=True),
    "volumes": volumes,
    "health": st.lists(st.sampled_from(["curl", "-f", "NONE", "true", "$x", "curl x"]), min_size=1, max_size=3),
    "capabilities": st.lists(st.sampled_from(["NET_BIND_SERVICE"]), max_size=1),
    "environment": st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["$x", "no", " a", 1])),
}
written = st.fixed_dictionaries({"port": st.sampled_from([1, 1, "80", 0])}, optional=values)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written, written)
def test_what_is_accepted_lints_clean(one: dict[str, object], two: dict[str, object]) -> None:
    """Every declaration is refused, with places, or rendered as a file in which the lint finds nothing."""
    head = HEAD.replace("in: {", "six: {subnet: 'fd00::/64'}, in: {")
    text = head + yaml.safe_dump({"aa": one, "aa-b": two}, default_flow_style=True, width=10_000).replace("{", "  {", 1)
    try:
        composition = load(text)
    except PolicyError as e:
        assert all(p.line > 0 and p.reason and p.path != "policy" for p in e.problems)
    else:
        made = text_of_composition(composition).encode()
        assert lint(compose_file_of(compose_from_bytes(made, "compose.yaml"))) == ()
