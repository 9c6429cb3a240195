"""Policy files on disk: what is read, where its words stand, what is refused, and that the shipped policies load."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enforcer.core.cursor import KEYS
from enforcer.core.document import Document, Items, Mark, Scalar, Table
from enforcer.core.model import Container, Kind, Mode, Policy, ToCidr
from enforcer.core.parse import parse
from enforcer.core.protocols import WITH_PORTS
from enforcer.core.select import fill, glob_match, named
from enforcer.edges import policyfile
from enforcer.edges.policyfile import MAX_BYTES, MAX_DEPTH, from_bytes, read
from enforcer.errors import PolicyError

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
SHIPPED = sorted(POLICIES.rglob("*.yaml"))
README = (POLICIES / "README.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", README, re.S)
AGENTS = [
    "01-selector",
    "02-go-backend-browser-automation-engineer",
    "03-database-orchestration-specialist",
    "04-integration-specialist-slack-webhooks",
    "05-workflow",
    "06-project-builder",
    "07-code-quality",
    "08-performance",
    "09-error-tracker",
    "10-security",
    "11-accessibility",
    "12-integration",
    "13-docs-auditor",
    "14-advanced-automation",
    "15-api-integration",
    "16-data-processing",
    "17-learning-platform",
    "18-community-hub",
    "19-deployment",
]


def failure(path: Path) -> list[str]:
    """What reading and parsing ``path`` says, a line per problem."""
    with pytest.raises(PolicyError) as raised:
        parse(read(path))
    return str(raised.value).splitlines()


def refusal(data: bytes) -> list[str]:
    """The same for bytes, as file ``p.yaml``."""
    with pytest.raises(PolicyError) as raised:
        parse(from_bytes(data, "p.yaml"))
    return str(raised.value).splitlines()


# ── reading ──


def test_every_word_has_its_place():
    """Lines and columns count from 1 and in characters, after accents and emoji too."""
    document = from_bytes('# é\na: [ü, "x", 🐳,  22:22]\nb: {no: }\n'.encode(), "p.yaml")
    at = [(2, 1), (2, 4), (2, 5), (2, 8), (2, 13), (2, 17), (3, 1), (3, 4), (3, 5), (3, 9)]
    a, items, u, x, whale, port, b, table, no, nothing = (Mark("p.yaml", *place) for place in at)
    words = (Scalar("ü", u), Scalar("x", x, plain=False), Scalar("🐳", whale), Scalar("22:22", port))
    entries = ((Scalar("no", no), Scalar("", nothing)),)
    inner = ((Scalar("a", a), Items(words, items)), (Scalar("b", b), Table(entries, table)))
    (root,) = document.roots
    assert root == Table(inner, a)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_both_parsers_of_pyyaml_see_the_same_tree(path, monkeypatch):
    """libyaml's events and the pure-Python ones give the same words at the same places."""
    fast = read(path)
    monkeypatch.setattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert read(path) == fast


def test_a_single_file_has_the_hash_that_sha256sum_prints(tmp_path):
    """An operator can compare the hash in a metric with the file."""
    file = tmp_path / "p.yaml"
    file.write_bytes(b"version: 1\nmode: monitor\n")
    assert parse(read(file)).hash == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_directory_is_one_policy(tmp_path):
    """Sorted by name, containers united, lists joined, rules numbered through; other and hidden files are left out."""
    (tmp_path / "20.yml").write_text(
        "version: 1\ncontainers: {b: {name: b}}\ndata: {protected: [{path: /b}],"
        " rules: [{who: [a, b], read-only: [{path: /a}]}]}\n"
        "network: {internal: [n, m], rules: [{who: a, connect: []}]}\n"
    )
    (tmp_path / "10.yaml").write_text(
        "version: 1\nmode: enforce\ncontainers: {a: {name: a}}\ndata: {protected: [{path: /a}],"
        " rules: [{who: b, read-only: [{path: /b}]}]}\nnetwork: {internal: [n]}\n"
    )
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    (tmp_path / "deeper.yaml").mkdir()
    policy = parse(read(tmp_path))
    assert list(policy.containers) == ["a", "b"]
    assert [t.pattern for t in policy.protected] == ["/a", "/b"]
    assert [(r.id, r.who) for r in policy.data_rules] == [("data.rules[0]", ("b",)), ("data.rules[1]", ("a", "b"))]
    assert policy.internal == ("n", "m")
    assert [r.id for r in policy.net_rules] == ["network.rules[0]"]
    joined = (tmp_path / "10.yaml").read_bytes() + (tmp_path / "20.yml").read_bytes()
    assert policy.hash == hashlib.sha256(joined).hexdigest()


def test_files_of_a_directory_must_agree(tmp_path):
    """A name declared twice and a second mode that differs are told with the file where each stood first."""
    (tmp_path / "1.yaml").write_text("version: 1\nmode: enforce\ncontainers: {a: {name: a}}\n")
    (tmp_path / "2.yaml").write_text("mode: monitor\ncontainers: {a: {name: x}}\n")
    assert failure(tmp_path) == [
        f'{tmp_path}/2.yaml:1:1: policy: lacks "version"; write version: 1',
        f"{tmp_path}/2.yaml:1:7: mode: contradicts {tmp_path}/1.yaml:2; one policy has one mode",
        f"{tmp_path}/2.yaml:2:17: containers.a: is declared in {tmp_path}/1.yaml:3 already; rename or remove one",
    ]


def test_mistakes_of_all_files_come_at_once(tmp_path):
    """A file that is no YAML does not hide what is wrong with another one's text."""
    (tmp_path / "1.yaml").write_text("a: [\n")
    (tmp_path / "2.yaml").write_bytes(b"a: \xff\n")
    (tmp_path / "3.yaml").write_text("a: !x y\n")
    assert [line.split(": ", 2)[0] for line in failure(tmp_path)] == [
        f"{tmp_path}/1.yaml:2:1",
        f"{tmp_path}/2.yaml:1:4",
        f"{tmp_path}/3.yaml:1:4",
    ]


def test_an_empty_directory_says_what_to_do(tmp_path):
    """An empty directory is a mistake, not a policy that allows everything."""
    assert failure(tmp_path) == [
        f"{tmp_path}:1:1: policy: the directory has no *.yaml or *.yml file; put a policy there"
    ]


def test_a_missing_file_says_so(tmp_path):
    """The path that was given, and what to name instead."""
    assert failure(tmp_path / "p.yaml") == [
        f"{tmp_path}/p.yaml:1:1: policy: no such file or directory; name one that is there"
    ]


def test_a_file_below_a_file_cannot_be_read(tmp_path):
    """What the system says about a path that cannot be opened becomes the reason."""
    (tmp_path / "f").write_text("")
    assert failure(tmp_path / "f" / "p.yaml") == [f"{tmp_path}/f/p.yaml:1:1: policy: cannot be read: not a directory"]


def test_a_dangling_link_in_a_directory_is_told(tmp_path):
    """A policy file that is not there does not silently drop out of the policy."""
    (tmp_path / "1.yaml").write_text("version: 1\nmode: enforce\n")
    (tmp_path / "2.yaml").symlink_to(tmp_path / "gone")
    assert failure(tmp_path) == [f"{tmp_path}/2.yaml:1:1: policy: no such file or directory; name one that is there"]


def test_a_pipe_can_be_a_policy():
    """``--policy <(generate)`` works: the file is read once, from its beginning."""
    reading, writing = os.pipe()
    os.write(writing, b"version: 1\nmode: monitor\n")
    os.close(writing)
    try:
        assert parse(read(Path(f"/dev/fd/{reading}"))).mode is Mode.MONITOR
    finally:
        os.close(reading)


def test_an_endless_file_is_not_read_to_its_end():
    """A device that never ends is refused by its size."""
    (line,) = failure(Path("/dev/zero"))
    assert line.startswith(f"/dev/zero:1:1: policy: is larger than {MAX_BYTES} bytes")


def test_a_file_name_cannot_write_to_the_terminal(tmp_path):
    """Control characters in a file's name are escaped in messages."""
    file = tmp_path / "a\x1b[2J\n.yaml"
    file.write_text("version: 2\nmode: enforce\n")
    (line,) = failure(file)
    assert line.startswith(f"{tmp_path}/a\\x1b[2J\\n.yaml:1:10: version:")


# ── refusing ──

HEAD = b"version: 1\nmode: enforce\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "p.yaml:1:1: policy: the file is empty; begin with version: 1"),
        (b"\n# only a comment\n", "p.yaml:1:1: policy: the file is empty; begin with version: 1"),
        (b"- version: 1\n", "p.yaml:1:1: policy: must be a mapping, is a list"),
        (b"version\n", "p.yaml:1:1: policy: must be a mapping, is text"),
        (HEAD + b"data:\n\tprotected: []\n", "p.yaml:4:1: policy: a tab; indent with spaces"),
        (HEAD + b"# \xc3\xa9 \xff\n", "p.yaml:3:5: policy: is not UTF-8; save the file as UTF-8"),
        ("version: 1".encode("utf-16"), "p.yaml:1:1: policy: is not UTF-8; save the file as UTF-8"),
        (HEAD + b"a: \x00\n", "p.yaml:3:4: policy: an invisible character, U+0000; remove it"),
        (HEAD + "# \u2028data: {}\n".encode(), "p.yaml:3:3: policy: an invisible character, U+2028; remove it"),
        (HEAD + "# \u202e\n".encode(), "p.yaml:3:3: policy: an invisible character, U+202E; remove it"),
        (HEAD + b"# \rdata: {}\n", "p.yaml:3:3: policy: an invisible character, U+000D; remove it"),
        (HEAD + b"---\nmode: monitor\n", "p.yaml:3:1: policy: a second document begins; put it into a file of its own"),
        (HEAD + b"data: {\n", "p.yaml:4:1: policy: not YAML: did not find expected node content"),
        (HEAD + b"a: b: c\n", "p.yaml:3:5: policy: not YAML: mapping values are not allowed in this context"),
        (HEAD + b"data: *\n", "quote a text that begins with *"),
        (HEAD + b'a: "\\U7fffffff"\n', "not YAML: found invalid Unicode character escape code"),
        (b"[" * 100_000, f"p.yaml:1:{MAX_DEPTH + 1}: policy: is nested deeper than {MAX_DEPTH} levels"),
        (b"- " * 1000, f"is nested deeper than {MAX_DEPTH} levels"),
        (HEAD + b"#" * MAX_BYTES, f"is larger than {MAX_BYTES} bytes"),
    ],
    ids=lambda v: v[:40] if isinstance(v, bytes) else None,
)
def test_what_is_no_policy_file_is_one_line(data, expected, tmp_path, monkeypatch):
    """Text that is no YAML, or that hides what it means, is refused with one line that says where and what to do."""
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_bytes(data)
    (line,) = failure(Path("p.yaml"))
    assert expected in line


def test_an_alias_bomb_is_refused_without_expanding_it():
    """Each alias and anchor is a mistake of its own; nothing is multiplied."""
    bomb = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 120))
    lines = refusal(HEAD + bomb.replace(b"a: &a", b"a: &a", 1))
    assert sum("an alias" in line for line in lines) == 46
    assert sum("an anchor" in line for line in lines) == 24


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.getcwd", "!!str", "!", "!!binary", "!x"])
def test_no_tag_is_obeyed(tag):
    """A tag on a value is refused whatever it asks for."""
    (line,) = refusal(HEAD + f"containers: {{a: {{name: {tag} 'x'}}}}\n".encode())
    assert line == "p.yaml:3:24: policy: a tag (!…) is refused; remove it, or quote a text that begins with !"


def test_a_merge_key_is_an_unknown_key():
    """``<<`` merges nothing."""
    assert refusal(HEAD + b"<<: {mode: monitor}\n") == [
        'p.yaml:3:1: policy: unknown key "<<"; known here: containers, data, mode, network, posture, version'
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_harmless():
    """A file saved by a Windows editor loads."""
    assert parse(from_bytes(b"\xef\xbb\xbfversion: 1\r\nmode: monitor\r\n", "p")).mode is Mode.MONITOR


@unhurried
@given(st.binary(max_size=200) | st.text(alphabet=" -:[]{}#&*!|>'\"%@`?,~\nab1\\U", max_size=80).map(str.encode))
@example(b"%YAML 9.9\n---\n")
@example(b"%TAG ! x\n--- !a\n")
@example(b'"\\UFFFFFFFF"')
@example(b'"\\ud800"')
@example("\ufffe".encode())
def test_any_bytes_are_a_policy_or_an_error(data):
    """Nothing but ``PolicyError`` comes out of any file, each problem placed, each a single line."""
    try:
        assert isinstance(parse(from_bytes(data, "p.yaml")), Policy)
    except PolicyError as e:
        assert e.problems
        assert all(p.line >= 1 and p.column >= 1 and str(p).isprintable() for p in e.problems)


def test_the_reader_keeps_what_it_reads_past():
    """A mistake of the file's form does not stop the reader: the document holds it beside what could be read."""
    document = from_bytes(b"version: !x 1\nmode: monitor\n", "p.yaml")
    assert isinstance(document, Document)
    assert [p.line for p in document.problems] == [1]
    assert isinstance(document.roots[0], Table)


def test_nothing_is_resolved():
    """The module uses PyYAML's events only: no loader that builds objects."""
    source = Path(policyfile.__file__).read_text()
    assert not re.search(r"yaml\.(load|safe_load|unsafe_load|full_load|compose)", source)


# ── what is shipped ──


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_every_shipped_policy_loads(path):
    """Each file under policies/ is valid and says something; the one to learn from governs no connection."""
    policy = parse(read(path))
    assert policy.protected
    assert policy.data_rules
    assert bool(policy.net_rules) == (path.name != "record-first.yaml")


def test_there_is_a_policy_for_the_guide_and_four_examples():
    """The list of shipped files is not empty by accident."""
    assert [p.relative_to(POLICIES).as_posix() for p in SHIPPED] == [
        "examples/docker-socket.yaml",
        "examples/monitor-first.yaml",
        "examples/record-first.yaml",
        "examples/web-and-database.yaml",
        "mcp.yaml",
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_example_of_the_readme_loads(block):
    """What stands in the README as YAML is a valid policy."""
    parse(from_bytes(block.encode(), "README.md"))


def test_the_readme_documents_every_key_and_word():
    """Each key that the parser knows has a table row in the README and stands in its worked example."""
    for key in {k for keys in KEYS.values() for k in keys}:
        assert re.search(rf"^\| `{key}` \|", README, re.M), key
        assert re.search(rf"\b{key}:", BLOCKS[0]), key
    for word in (*WITH_PORTS, "icmp", "monitor", "enforce", "{name}"):
        assert word in README, word


def mcp() -> Policy:
    """The guide's policy, as shipped."""
    return parse(read(POLICIES / "mcp.yaml"))


def grants(policy: Policy, name: str, labels: dict[str, str] | None = None) -> dict[str, set[str]]:
    """Which of the guide's volumes the container of that name may write and read."""
    container = Container(id="0" * 64, name=name, labels=labels or {})
    names = named(policy, container)
    everyone = [f"mcp-{a}" for a in (*AGENTS, "20-orchestrator")]
    volumes = [f"{n}-{p}" for n in everyone for p in ("data", "logs", "config")] + ["database-data"]
    found: dict[str, set[str]] = {"write": set(), "read": set()}
    for rule in policy.data_rules:
        if names.isdisjoint(rule.who):
            continue
        for how, targets in (("write", rule.read_write), ("read", rule.read_only)):
            patterns = [fill(t.pattern, name) for t in targets if t.kind is Kind.VOLUME]
            found[how] |= {v for v in volumes if any(glob_match(p, v) for p in patterns)}
    return found


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_has_its_own_volumes_only(agent):
    """The guide's Data Access Matrix, row by row: own data and logs to write, own config to read, nothing else."""
    name = f"mcp-{agent}"
    assert named(mcp(), Container(id="0" * 64, name=name)) == {"agents"}
    assert grants(mcp(), name) == {"write": {f"{name}-data", f"{name}-logs"}, "read": {f"{name}-config"}}


def test_the_orchestrator_reads_all_metadata_and_no_data():
    """The guide's last row: every agent's config to read, and only its own data."""
    name = "mcp-20-orchestrator"
    assert named(mcp(), Container(id="0" * 64, name=name)) == {"orchestrator"}
    found = grants(mcp(), name)
    assert found["write"] == {f"{name}-data", f"{name}-logs"}
    assert found["read"] == {f"mcp-{a}-config" for a in (*AGENTS, "20-orchestrator")}


def test_the_gateway_has_the_only_way_out():
    """Only the workstation may reach addresses outside, over HTTPS, the metadata address excepted."""
    policy = mcp()
    gateway = Container(id="0" * 64, name="stack-workstation-1", labels={"com.docker.compose.service": "workstation"})
    assert named(policy, gateway) == {"gateway"}
    assert grants(policy, gateway.name, dict(gateway.labels)) == {"write": set(), "read": set()}
    ways = [(r.who, t) for r in policy.net_rules for t in r.connect if isinstance(t, ToCidr)]
    ((who, way),) = ways
    assert who == ("gateway",)
    assert [(p.first, p.last, p.protocol) for p in way.ports] == [(443, 443, 6)]
    assert any(str(e) == "169.254.0.0/16" for e in way.excluded)


def test_the_database_calls_nobody():
    """The database has a rule, and it is empty; both internal networks are named."""
    policy = mcp()
    (rule,) = (r for r in policy.net_rules if "database" in r.who)
    assert rule.connect == ()
    assert policy.internal == ("mcp-internal", "database")
    assert grants(policy, "database") == {"write": {"database-data"}, "read": set()}


def test_nobody_is_granted_the_docker_socket():
    """The socket is protected, and no rule of the guide's policy names it."""
    policy = mcp()
    assert any(t.pattern == "/var/run/docker.sock" for t in policy.protected)
    assert not any(t.kind is Kind.PATH for r in policy.data_rules for t in (*r.read_write, *r.read_only))
