"""``compose lint``: for every check a file that has what it asks for, and files that each lack one thing."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcer.core.compose_file import compose_file_of
from enforcer.edges.composefile import compose_from_bytes
from enforcer.errors import PolicyError
from enforcer.posture.compose_lint import DECLARED, NOT_FOLLOWED, TABLE, Placed, lint
from enforcer.posture.finding import Result

GOOD = """\
services:
  mcp-a:
    container_name: mcp-a
    image: reg/a@sha256:0000
    restart: unless-stopped
    user: "1001:1001"
    read_only: true
    security_opt: ["no-new-privileges:true"]
    cap_drop: [ALL]
    tmpfs: ["/tmp:noexec,nosuid,size=100M"]
    deploy: {resources: {limits: {cpus: "0.5", memory: 512M, pids: 100}}}
    volumes:
      - mcp-a-data:/app/data:rw
      - mcp-a-logs:/app/logs:rw
      - mcp-a-config:/app/config:ro
    networks: [inside]
    healthcheck: {test: [CMD, curl, -f, "localhost:${PORT}/health"], interval: 30s, timeout: 10s, retries: 3, start_period: 40s}
    logging: {driver: json-file, options: {max-size: 10m, max-file: "3", labels: "mcp.id,mcp.type"}}
    labels: ["mcp.id=a", "mcp.type=agent", "mcp.version=1.0.0"]
networks:
  inside: {name: inside, internal: true, ipam: {config: [{subnet: 10.0.0.0/24}]}}
  outside: {name: outside, ipam: {config: [{subnet: 10.0.1.0/24}]}}
volumes:
  mcp-a-data: {name: mcp-a-data, driver_opts: {type: none, o: bind, device: /srv/mcp-a}}
  mcp-a-logs: {name: mcp-a-logs}
  mcp-a-config: {name: mcp-a-config}
"""
LIMITS = '{cpus: "0.5", memory: 512M, pids: 100}'
END = "    labels: ["
"""Before it stands what is added to the service."""

GATE = f"""    ports: ["80:80"]
{END}"mcp.id=a", "mcp.type=gateway\""""

OTHER = """\
  mcp-b:
    volumes: [{}]
networks:
"""


def found(text: str) -> tuple[Placed, ...]:
    """Everything that the lint says."""
    return lint(compose_file_of(compose_from_bytes(text.encode(), "c.yaml")))


def test_nothing_is_found_where_nothing_is_missing() -> None:
    """The good file, of which all others are made."""
    assert found(GOOD) == ()


def added(line: str) -> tuple[str, str]:
    """Another line in the service."""
    return END, f"    {line}\n{END}"


def without(key: str) -> tuple[str, str]:
    """The service without the line of a key."""
    line = next(line for line in GOOD.splitlines(keepends=True) if line.startswith(f"    {key}:"))
    return line, ""


BAD = [
    ("data-volume", "FAIL", "      - mcp-a-data:/app/data:rw\n", "", 12),
    ("data-volume", "FAIL", "mcp-a-data:/app/data:rw", "./data:/app/data:rw", 13),
    ("data-volume", "FAIL", "mcp-a-data:/app/data:rw", "mcp-a-data:/app/data:ro", 13),
    ("data-volume", "FAIL", "mcp-a-data:/app/data:rw", "{type: tmpfs, target: /app/data}", 13),
    ("network-segmentation", "WARN", *without("networks"), 2),
    ("network-segmentation", "WARN", "networks: [inside]", "network_mode: none", 16),
    ("network-internal", "WARN", "internal: true, ", "", 16),
    ("network-internal", "WARN", "internal: true", "internal: false", 16),
    ("network-internal", "WARN", "[inside]", "[inside, outside]", 16),
    ("network-internal", "WARN", "[inside]", "{inside: , outside: {aliases: [a]}}", 16),
    ("network-internal", "WARN", "[inside]", "[inside, elsewhere]", 16),
    ("network-internal", "WARN", "{name: inside, internal: true,", "{name: inside, external: true,", 16),
    ("health", "WARN", *without("healthcheck"), 2),
    ("health", "WARN", "healthcheck: {", "healthcheck: {disable: true, ", 17),
    ("health", "WARN", "[CMD, curl, -f,", "[CMD, curl,", 17),
    ("health", "WARN", "start_period: 40s", "start_interval: 1s", 17),
    ("health", "WARN", 'test: [CMD, curl, -f, "localhost:${PORT}/health"]', "test: NONE", 17),
    ("memory-limit", "WARN", "memory: 512M, ", "", 11),
    ("memory-limit", "WARN", "memory: 512M", "memory: 0", 11),
    ("memory-limit", "WARN", "memory: 512M", "memory: 2.5gb", 11),
    ("cpu-limit", "WARN", 'cpus: "0.5", ', "", 11),
    ("cpu-limit", "WARN", 'cpus: "0.5"', 'cpus: "4"', 11),
    ("pids-limit", "WARN", ", pids: 100", "", 11),
    ("pids-limit", "WARN", ", pids: 100", ", pids: -1", 11),
    ("user", "WARN", *without("user"), 2),
    ("user", "WARN", '"1001:1001"', '"0:1001"', 6),
    ("user", "WARN", '"1001:1001"', "root", 6),
    ("read-only-root", "WARN", *without("read_only"), 2),
    ("read-only-root", "WARN", "read_only: true", "read_only: no", 7),
    ("tmpfs-options", "WARN", *without("tmpfs"), 2),
    ("tmpfs-options", "WARN", "noexec,nosuid,size=100M", "nosuid,size=100M", 10),
    ("tmpfs-options", "WARN", '["/tmp:noexec,nosuid,size=100M"]', "/run", 10),
    ("volume-mounts", "WARN", "      - mcp-a-logs:/app/logs:rw\n", "", 12),
    ("volume-mounts", "WARN", "      - mcp-a-config:/app/config:ro\n", "", 12),
    ("volume-name", "WARN", "mcp-a-logs:/app/logs:rw", "/app/logs", 14),
    ("volume-name", "WARN", "mcp-a-logs: {name: mcp-a-logs}", "mcp-a-logs: {name: logs}", 14),
    ("volume-name", "WARN", "mcp-a-logs: {name: mcp-a-logs}", "mcp-a-logs:", 25),
    ("volume-name", "WARN", "mcp-a-logs:/app/logs:rw\n", "mcp-b-logs:/app/logs:rw\n", 14),
    ("config-write", "WARN", "/app/config:ro", "/app/config", 15),
    (
        "config-write",
        "WARN",
        "mcp-a-config:/app/config:ro",
        "{type: volume, source: mcp-a-config, target: /app/config}",
        15,
    ),
    ("no-new-privileges", "WARN", *without("security_opt"), 2),
    ("no-new-privileges", "WARN", "no-new-privileges:true", "no-new-privileges:false", 8),
    ("capability-drop", "WARN", *without("cap_drop"), 2),
    ("capability-drop", "WARN", "[ALL]", "[NET_RAW]", 9),
    ("added-capabilities", "FAIL", *added("cap_add: [CAP_SYS_ADMIN]"), 19),
    ("added-capabilities", "FAIL", *added("cap_add: [all]"), 19),
    ("added-capabilities", "WARN", *added("cap_add: [CHOWN]"), 19),
    ("seccomp", "WARN", '"no-new-privileges:true"', '"no-new-privileges:true", "seccomp:unconfined"', 8),
    ("seccomp", "WARN", '"no-new-privileges:true"', '"no-new-privileges:true", seccomp=unconfined', 8),
    ("apparmor", "WARN", '"no-new-privileges:true"', '"no-new-privileges:true", apparmor=unconfined', 8),
    ("privileged", "FAIL", *added("privileged: true"), 19),
    ("privileged", "FAIL", *added("privileged: Yes"), 19),
    ("host-network", "FAIL", "networks: [inside]", "network_mode: host", 16),
    ("host-network", "WARN", "networks: [inside]", "network_mode: service:b", 16),
    ("host-network", "FAIL", "  inside: {name: inside", "  inside: {name: host", 16),
    ("host-pid", "FAIL", *added("pid: host"), 19),
    ("host-pid", "WARN", *added("pid: service:b"), 19),
    ("host-ipc", "FAIL", *added("ipc: host"), 19),
    ("host-uts", "WARN", *added("uts: host"), 19),
    ("host-userns", "WARN", *added("userns_mode: host"), 19),
    ("docker-socket", "FAIL", "volumes:\n", "volumes:\n      - /var/run/docker.sock:/s:ro\n", 13),
    ("docker-socket", "FAIL", "volumes:\n", "volumes:\n      - {type: bind, source: /run/../run/, target: /s}\n", 13),
    ("docker-socket", "FAIL", "volumes:\n", "volumes:\n      - /run/user/1000/docker.sock:/s\n", 13),
    ("docker-socket", "FAIL", "device: /srv/mcp-a", "device: /var/run", 13),
    ("docker-socket", "FAIL", *added("use_api_socket: true"), 19),
    ("published-ports", "FAIL", *added('ports: ["80:80"]'), 19),
    ("published-ports", "FAIL", *added("ports: [{target: 80, published: 8080}]"), 19),
    ("published-ports", "FAIL", f'{END}"mcp.id=a", "mcp.type=agent"', GATE, 19),
    ("image-tag", "WARN", "reg/a@sha256:0000", "reg/a:1.0", 4),
    ("logging", "WARN", *without("logging"), 2),
    ("logging", "WARN", "driver: json-file", "driver: syslog", 18),
    ("logging", "WARN", "max-size: 10m, ", "", 18),
    ("labels", "WARN", '"mcp.id=a", ', "", 19),
    ("restart", "WARN", *without("restart"), 2),
    ("restart", "WARN", "restart: unless-stopped", 'restart: "no"', 5),
    ("container-name", "WARN", *without("container_name"), 2),
    ("network-name", "WARN", "{name: inside, ", "{", 21),
    ("network-subnet", "WARN", ", ipam: {config: [{subnet: 10.0.0.0/24}]}", "", 21),
    ("volume-options", "WARN", ", driver_opts: {type: none, o: bind, device: /srv/mcp-a}", "", 24),
    ("volume-options", "WARN", "device: /srv/mcp-a", "device: ./mcp-a", 24),
    ("volume-shared", "FAIL", *added("volumes_from: [mcp-b]"), 19),
    ("volume-shared", "FAIL", "networks:\n", OTHER.format("mcp-a-data:/x:ro"), 13),
    ("volume-shared", "FAIL", "networks:\n", OTHER.format("/srv:/x:ro"), 13),
    ("volume-shared", "FAIL", "networks:\n", OTHER.format("/srv/mcp-a/x:/x"), 13),
    ("volume-shared", "FAIL", "networks:\n", OTHER.format("mcp-a-config:/x"), 15),
    ("volume-shared", "FAIL", "volumes:\n", "volumes:\n      - /var/lib:/x:ro\n", 13),
    ("not-followed", "WARN", *added("extends: {file: b.yaml, service: b}"), 19),
    ("not-followed", "WARN", "services:\n", "include: [b.yaml]\nservices:\n", 1),
    ("not-followed", "WARN", '"1001:1001"', '"${WHO}"', 6),
    ("not-followed", "WARN", "reg/a@sha256:0000", "$IMAGE@sha256:0", 4),
]


@pytest.mark.parametrize(("check", "result", "old", "new", "line"), BAD)
def test_what_is_missing_is_found_where_it_is(check: str, result: str, old: str, new: str, line: int) -> None:
    """By its check's name, at its line; with the guide's section and with what to write."""
    # the networks of the file stand behind those of the service
    head, there, tail = GOOD.rpartition(old) if old == "networks:\n" else GOOD.partition(old)
    assert there == old
    mine = [p for p in found(head + new + tail) if p.finding.check == check]
    assert mine
    assert {(p.finding.result, p.mark.line) for p in mine} >= {(Result(result), line)}
    assert all(p.finding.section and p.finding.fix and p.finding.evidence and p.mark.file == "c.yaml" for p in mine)


def test_every_check_has_a_file_that_lacks_it() -> None:
    """None is without a test."""
    assert {check for check, *_ in BAD} == {*map(str, TABLE), *DECLARED, NOT_FOLLOWED}


FINE = [
    added("cap_add: [NET_BIND_SERVICE]"),
    added("privileged: false"),
    added("ipc: private"),
    added("environment: {A: $B}"),
    (f"    deploy: {{resources: {{limits: {LIMITS}}}}}\n", "    mem_limit: 512m\n    cpus: 0.5\n    pids_limit: 100\n"),
    ("mcp-a-data:/app/data:rw", "{type: volume, source: mcp-a-data, target: /app/data}"),
    ("mcp-a-config:/app/config:ro", "{type: volume, source: mcp-a-config, target: /app/config, read_only: true}"),
    ("networks: [inside]", "networks: {inside: {aliases: [a]}}"),
    ('["mcp.id=a", "mcp.type=agent", "mcp.version=1.0.0"]', "{mcp.id: a, mcp.type: agent, mcp.version: 1.0.0}"),
    ('["/tmp:noexec,nosuid,size=100M"]', '"/tmp:size=1m,nosuid,noexec"'),
    ("image: reg/a@sha256:0000", "build: ."),
    ("image: reg/a@sha256:0000", "build: {context: .}\n    image: a:latest"),
    (
        "mcp-a-data: {name: mcp-a-data, driver_opts: {type: none, o: bind, device: /srv/mcp-a}}",
        "mcp-a-data: {external: true}",
    ),
    ("mcp-a-logs: {name: mcp-a-logs}", "mcp-a-logs: {external: {name: mcp-a-logs}}"),
    ("[CMD, curl, -f,", "[CMD-SHELL, curl -fsS x,"),
    ("read_only: true", "read_only: yes"),
]


@pytest.mark.parametrize(("old", "new"), FINE)
def test_the_same_said_otherwise_is_as_good(old: str, new: str) -> None:
    """Long and short forms, a list or a mapping, volumes that `enforcer volumes create` has made."""
    assert old in GOOD
    assert found(GOOD.replace(old, new, 1)) == ()


def test_a_gateway_may_be_reached_and_keeps_nothing() -> None:
    """The guide's workstation: on the public network, with a published port and no volumes."""
    text = GOOD.replace("mcp.type=agent", "mcp.type=gateway").replace("[inside]", "[inside, outside]")
    start, end = text.index("    volumes:\n"), text.index("    networks:")
    text = text[:start] + '    ports: ["3000:3000"]\n' + text[end:]
    assert found(text) == ()


def test_configuration_that_all_only_read_is_no_leak() -> None:
    """The orchestrator reads every agent's, as the guide's matrix has it."""
    head, _, tail = GOOD.rpartition("networks:\n")
    text = head + OTHER.format("mcp-a-config:/configs/a:ro") + tail
    assert not [p for p in found(text) if p.finding.check in ("volume-shared", "volume-name", "config-write")]


def test_findings_stand_in_the_order_of_the_file() -> None:
    """As an editor goes through them."""
    marks = [p.mark for p in found("services:\n  a:\n  b: {privileged: true}\nnetworks: {n: }\n")]
    assert marks == sorted(marks)
    assert len(marks) > 20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {image: b}\n", 'c.yaml:1:1: compose: lacks "services"'),
        ("services: []\n", "c.yaml:1:11: services: must be a mapping"),
        ("services: {a: b}\n", "c.yaml:1:15: services.a: must be a mapping"),
        ("services: {a: {cap_add: {SYS_ADMIN: }}}\n", "services.a.cap_add: must be a list, is a mapping"),
        ("services: {a: {volumes: /:/host}}\n", "services.a.volumes: must be a list, is text"),
        ("services: {a: {privileged: [true]}}\n", "services.a.privileged: must be text, is a list"),
    ],
)
def test_what_has_no_shape_that_compose_takes_is_refused(text: str, said: str) -> None:
    """It must not look harmless because it is not understood."""
    with pytest.raises(PolicyError) as caught:
        found(text)
    assert said in str(caught.value)


SERVICE_KEYS = [
    *("user", "image", "build", "read_only", "privileged", "restart", "container_name", "network_mode", "pid", "ipc"),
    *("mem_limit", "cpus", "pids_limit", "security_opt", "cap_drop", "cap_add", "ports", "volumes", "volumes_from"),
    *("healthcheck", "logging", "deploy", "networks", "labels", "tmpfs", "extends", "use_api_socket"),
]
words = st.sampled_from(
    ["", "host", "a:b:ro", ":", "::", "/", "a=b", "$x", "=", "inside", "true", "no", "1e9", "-1", "."]
)
inner_keys = st.sampled_from(
    ["type", "source", "target", "test", "options", "driver", "resources", "limits", "memory", "inside"]
)
anything = st.recursive(
    words | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(inner_keys, inner, max_size=3),
    max_leaves=6,
)
sections = st.dictionaries(
    st.sampled_from(["a", "inside", "host"]), st.dictionaries(inner_keys, anything, max_size=3) | anything
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(SERVICE_KEYS), anything, max_size=6), sections, sections)
def test_no_file_breaks_the_lint(service: dict[str, object], networks: object, volumes: object) -> None:
    """Whatever stands in it: findings with places, or a refusal with a place."""
    text = yaml.safe_dump({"services": {"a": service, "b": service}, "networks": networks, "volumes": volumes})
    try:
        placed = found(text)
    except PolicyError as e:
        assert all(p.line > 0 and p.reason for p in e.problems)
    else:
        assert all(p.mark.line > 0 and p.finding.section and p.finding.fix for p in placed)
