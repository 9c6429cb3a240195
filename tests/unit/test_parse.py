"""The policy language: what a policy means, and that every mistake is found where it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcer.core.cursor import KEYS
from enforcer.core.document import Broken, Document, Items, Mark, Node, Scalar, Table
from enforcer.core.model import (
    ANY_PORT,
    DataRule,
    DataTarget,
    Kind,
    Mode,
    NetRule,
    Policy,
    PortRange,
    Selector,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
)
from enforcer.core.parse import parse
from enforcer.core.parse_address import MAX_RANGES
from enforcer.edges.policyfile import from_bytes
from enforcer.errors import PolicyError, Problem

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
ROOT = Path(__file__).parents[2]

GOOD = """\
version: 1
mode: enforce
containers:
  agents: {name: "mcp-*", except: [mcp-20-orchestrator]}
  gateway: {label: {role: gateway}}
  one: {name: mcp-01-selector}
data:
  protected:
    - volume: "mcp-*"
    - layer: "mcp-*"
    - path: /srv/shared
  rules:
    - {who: agents, read-write: ["{name}-data"], read-only: ["{name}-config"]}
    - {who: [agents, one], read-only: [{path: /srv/shared}]}
network:
  internal: [mcp-internal]
  rules:
    - {who: agents, connect: [{network: mcp-internal}]}
    - {who: gateway, connect: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16], ports: [443/tcp]}]}
    - {who: one, connect: []}
"""

RULE = "    - {who: [agents, one], read-only: [{path: /srv/shared}]}\n"
TO = "    - {who: one, connect: []}\n"


def load(text: str, *, file: str = "p.yaml") -> Policy:
    """The policy that a YAML text means."""
    return parse(from_bytes(text.encode(), file))


def problems(text: str) -> tuple[Problem, ...]:
    """What is wrong with a YAML text."""
    with pytest.raises(PolicyError) as raised:
        load(text)
    return raised.value.problems


def rule(body: str) -> tuple[str, str]:
    """A row's replacement of the second data rule."""
    return RULE, f"    - {body}\n"


def to(body: str) -> tuple[str, str]:
    """A row's replacement of the last network rule by one with this destination."""
    return TO, f"    - {{who: one, connect: [{body}]}}\n"


def grant(body: str) -> tuple[str, str]:
    """A row's replacement of the second data rule by one that grants this."""
    return rule(f"{{who: one, read-only: [{body}]}}")


@dataclass(frozen=True)
class Bad:
    """One mistake in ``GOOD``: ``change`` (old, new), where » marks its place; its path, and words of the reason."""

    change: tuple[str, str]
    path: str
    reason: str


R1, D = "data.rules[1]", "network.rules[2].connect[0]"
MANY_PORTS = ", ".join(f"{n}/tcp" for n in range(1, 16))

BAD = [
    # the frame
    Bad(("version: 1", "version: »2"), "version", 'unknown version "2"'),
    Bad(("version: 1\nmode", "»mode"), "policy", 'lacks "version"; write version: 1'),
    Bad(("version: 1\nmode: enforce", "»version: 1"), "policy", 'lacks "mode"'),
    Bad(("mode: enforce", "mode: »enforced"), "mode", 'unknown mode "enforced"; did you mean "enforce"?'),
    Bad(("mode: enforce", "mode: »off"), "mode", 'unknown mode "off"; known here: enforce, monitor'),
    Bad(("mode: enforce", "mode: »[enforce]"), "mode", "must be text, is a list"),
    Bad(("mode: enforce", "mode:» "), "mode", "is empty"),
    Bad(("network:\n", "»netwrok: {}\nnetwork:\n"), "policy", 'unknown key "netwrok"; did you mean "network"?'),
    Bad(("mode: enforce", "mode: enforce\n»mode: enforce"), "mode", "is given twice, first in line 2"),
    Bad(("  protected:", "  »protect: []\n  protected:"), "data", 'unknown key "protect"; did you mean "protected"?'),
    Bad(("  internal: [mcp-internal]", "  internal: »mcp-internal"), "network.internal", "must be a list, is text"),
    Bad(("  internal: [mcp-internal]", "  internal:» "), "network.internal", "is empty"),
    Bad(
        ("[mcp-internal]", '[»"mcp-*"]'),
        "network.internal[0]",
        '"mcp-*" is not a plain name; a network is named exactly',
    ),
    Bad(("[mcp-internal]", "[»{name: x}]"), "network.internal[0]", "must be text, is a mapping"),
    # containers
    Bad(("{name: mcp-01-selector}", "»{}"), "containers.one", "selects by nothing"),
    Bad(("{name: mcp-01-selector}", "»{label: {}}"), "containers.one", "selects by nothing"),
    Bad(("{name: mcp-01-selector}", "»{except: [x]}"), "containers.one", "selects by nothing"),
    Bad(("{name: mcp-01-selector}", "{»nmae: x}"), "containers.one", 'unknown key "nmae"; did you mean "name"?'),
    Bad(("{name: mcp-01-selector}", "»mcp-01-selector"), "containers.one", "must be a mapping, is text"),
    Bad(("{name: mcp-01-selector}", "{name: »'mcp-[0'}"), "containers.one.name", '"[" is never closed'),
    Bad(("{name: mcp-01-selector}", "{name: »'[^a]*'}"), "containers.one.name", "write [!…]"),
    Bad(("{name: mcp-01-selector}", "{name: »'mcp-[9-0]'}"), "containers.one.name", 'the range "9-0" is reversed'),
    Bad(("{name: mcp-01-selector}", "{name: »'{name}'}"), "containers.one.name", "{name} has no meaning here"),
    Bad(("{name: mcp-01-selector}", "{name: »/mcp}"), "containers.one.name", 'no Docker name holds "/"'),
    Bad(("{name: mcp-01-selector}", "{name: »''}"), "containers.one.name", "is an empty glob"),
    Bad(("{name: mcp-01-selector}", "{name: »~}"), "containers.one.name", "is empty; give text"),
    Bad(("{name: mcp-01-selector}", '{name: »"a\\nb"}'), "containers.one.name", '"a\\nb" holds an unprintable'),
    Bad(("{role: gateway}", "»role=gateway"), "containers.gateway.label", "must be a mapping, is text"),
    Bad(("{role: gateway}", "{role: »[a]}"), "containers.gateway.label.role", "must be text, is a list"),
    Bad(("{role: gateway}", "{role: a, »role: b}"), "containers.gateway.label.role", "is given twice"),
    Bad(("{role: gateway}", "{'': »b}"), "containers.gateway.label.", "a label without a key"),
    Bad(("[mcp-20-orchestrator]", "[»mpc-20]"), "containers.agents.except[0]", "takes out nothing"),
    Bad(("  one: {", "  one: {name: x}\n  »one: {"), "containers.one", "is given twice, first in line 6"),
    Bad(("  gateway: {", "  g*: »{name: x}\n  gateway: {"), "containers.g*", "cannot name containers"),
    # data
    Bad(('- volume: "mcp-*"', '- »volum: "mcp-*"'), "data.protected[0]", 'unknown key "volum"; did you mean "volume"?'),
    Bad(('- volume: "mcp-*"', '- »"mcp-*"'), "data.protected[0]", "must be a mapping, is text"),
    Bad(('- volume: "mcp-*"', '- »{volume: "mcp-*", path: /a}'), "data.protected[0]", "has volume and path together"),
    Bad(('- volume: "mcp-*"', "- »{}"), "data.protected[0]", "names nothing"),
    Bad(('- volume: "mcp-*"', "- volume: »'{name}-data'"), "data.protected[0].volume", "{name} has no meaning here"),
    Bad(('- volume: "mcp-*"', "- volume: »/srv/x"), "data.protected[0].volume", "write {path: …} for a host path"),
    Bad(("- path: /srv/shared", "- path: »srv/shared"), "data.protected[2].path", "is relative"),
    Bad(("- path: /srv/shared", "- path: »/srv/../etc"), "data.protected[2].path", 'goes up with ".."'),
    Bad(("- path: /srv/shared", '- path: »"/srv/*"'), "data.protected[2].path", "is a glob"),
    Bad(("- path: /srv/shared", "- path: »/./"), "data.protected[2].path", '"/" is the whole host'),
    Bad(rule("»{who: agents}"), R1, "grants nothing"),
    Bad(rule("»{read-only: []}"), R1, 'lacks "who"'),
    Bad(rule("{»wo: one, read-only: []}"), R1, 'unknown key "wo"; did you mean "who"?'),
    Bad(rule("{who: one, »read-onyl: []}"), R1, 'unknown key "read-onyl"; did you mean "read-only"?'),
    Bad(rule("{who: »agent, read-only: []}"), f"{R1}.who", 'unknown name "agent" (not under "containers")'),
    Bad(rule("{who: [one, »agnets], read-only: []}"), f"{R1}.who[1]", 'did you mean "agents"?'),
    Bad(rule("{who: [one, »one], read-only: []}"), f"{R1}.who[1]", '"one" is listed twice'),
    Bad(rule("{who: »[], read-only: []}"), f"{R1}.who", "names nobody"),
    Bad(rule("{who: »{a: b}, read-only: []}"), f"{R1}.who", "must be a list, is a mapping"),
    Bad(rule("{who: one, read-only: [], mode: »watch}"), f"{R1}.mode", 'unknown mode "watch"'),
    Bad(rule("{who: one, read-only: »mcp-a}"), f"{R1}.read-only", "must be a list, is text"),
    Bad(grant("»'{nam}-data'"), f"{R1}.read-only[0]", 'unknown placeholder "{nam}"; the only one is {name}'),
    Bad(grant("»'mcp-}'"), f"{R1}.read-only[0]", 'unknown placeholder "}"'),
    Bad(grant("»'mcp-[{name}]'"), f"{R1}.read-only[0]", "a placeholder cannot stand between brackets"),
    Bad(grant("mcp-a, »mcp-a"), f"{R1}.read-only[1]", '"mcp-a" is listed twice'),
    Bad(grant("mcp-a, »{volume: mcp-a}"), f"{R1}.read-only[1]", '"mcp-a" is listed twice'),
    Bad(grant("»mpc-01-data"), f"{R1}.read-only[0]", 'volume "mpc-01-data" is under nothing in "data.protected"'),
    Bad(grant("»'mpc-*-config'"), f"{R1}.read-only[0]", "is under nothing"),
    Bad(grant("»{path: /srv}"), f"{R1}.read-only[0]", 'path "/srv" is under nothing'),
    Bad(grant("»{layer: database}"), f"{R1}.read-only[0]", 'layer "database" is under nothing'),
    Bad(grant("{path: »'../x'}"), f"{R1}.read-only[0].path", "is relative"),
    Bad(
        rule("{who: one, read-write: [{path: /srv/shared}], read-only: [»{path: /srv//shared/}]}"),
        f"{R1}.read-only[0]",
        '"/srv/shared" stands in read-write of this rule too',
    ),
    # network
    Bad((TO, "    - »{who: one}\n"), "network.rules[2]", 'lacks "connect"'),
    Bad((TO, "    - {who: one, connect: »}\n"), "network.rules[2].connect", "is empty"),
    Bad(to("»mcp-internal"), D, "must be a mapping, is text"),
    Bad(to("»{}"), D, "names nothing; give exactly one of network, container, cidr, host"),
    Bad(to("»{ports: [1/tcp]}"), D, "names nothing"),
    Bad(to("{»netwrk: a}"), D, 'unknown key "netwrk"; did you mean "network"?'),
    Bad(to("»{network: a, cidr: 10.0.0.0/8}"), D, "has network and cidr together"),
    Bad(to("{network: »'mcp-*'}"), f"{D}.network", "is not a plain name"),
    Bad(to("{container: »'mcp-*'}"), f"{D}.container", 'declare them under "containers"'),
    Bad(to("{network: a, except: »[10.0.0.0/8]}"), f"{D}.except", '"except" goes with "cidr" only'),
    Bad(to("{network: a}, »{network: a}"), "network.rules[2].connect[1]", "is listed twice"),
    Bad(to("{cidr: »10.0.0.1/8}"), f"{D}.cidr", "has host bits set; write 10.0.0.0/8"),
    Bad(to("{cidr: »10.0.0.0}"), f"{D}.cidr", "lacks a prefix length; write 10.0.0.0/32"),
    Bad(to("{cidr: »10.0.0.0/0.255.255.255}"), f"{D}.cidr", "lacks a prefix length; write 10.0.0.0/8"),
    Bad(to("{cidr: »10.0.0.0/33}"), f"{D}.cidr", "is no CIDR"),
    Bad(to("{cidr: »'fe80::1%eth0/128'}"), f"{D}.cidr", "is no CIDR"),
    Bad(to("{cidr: »internet}"), f"{D}.cidr", '"internet" is no CIDR'),
    Bad(to("{cidr: 10.0.0.0/8, except: [»11.0.0.0/16]}"), f"{D}.except[0]", 'lies outside "10.0.0.0/8"'),
    Bad(to("{cidr: 10.0.0.0/8, except: [»'fd00::/8']}"), f"{D}.except[0]", 'lies outside "10.0.0.0/8"'),
    Bad(to("{cidr: 10.0.0.0/8, except: »10.0.0.0/8}"), f"{D}.except", "excepts the whole cidr"),
    Bad(to("{cidr: 10.0.0.0/8, except: [10.1.0.0/16, »10.1.0.0/16]}"), f"{D}.except[1]", "is listed twice"),
    Bad(to("»{host: true}"), D, 'lacks "ports"'),
    Bad(to("{host: »false, ports: [1/tcp]}"), f"{D}.host", "must be true"),
    Bad(to("{host: »yes, ports: [1/tcp]}"), f"{D}.host", "must be true"),
    Bad(to("{network: a, ports: »443/tcp}"), f"{D}.ports", "must be a list, is text"),
    Bad(to("{network: a, ports: »[]}"), f"{D}.ports", "opens no port"),
    Bad(to("{network: a, ports: [»443]}"), f"{D}.ports[0]", "lacks the protocol; write 443/tcp or 443/udp"),
    Bad(to("{network: a, ports: [»22:22]}"), f"{D}.ports[0]", '"22:22" is no port'),
    Bad(to("{network: a, ports: [»0/tcp]}"), f"{D}.ports[0]", "a port begins at 1"),
    Bad(to("{network: a, ports: [»010/tcp]}"), f"{D}.ports[0]", "no leading zero"),
    Bad(to("{network: a, ports: [1/tcp, »65536/tcp]}"), f"{D}.ports[1]", "65536 is past the last port, 65535"),
    Bad(to("{network: a, ports: [»90-80/tcp]}"), f"{D}.ports[0]", "the range is reversed; write 80-90"),
    Bad(to("{network: a, ports: [»53/upd]}"), f"{D}.ports[0]", 'unknown protocol "upd"; did you mean "udp"?'),
    Bad(to("{network: a, ports: [»443/TCP]}"), f"{D}.ports[0]", 'unknown protocol "TCP"; did you mean "tcp"?'),
    Bad(to("{network: a, ports: [»8/icmp]}"), f"{D}.ports[0]", "icmp has no ports; write icmp"),
    Bad(to("{network: a, ports: [»٤٤٣/tcp]}"), f"{D}.ports[0]", "is no port"),
    Bad(to("{network: a, ports: [1/tcp, »1/tcp]}"), f"{D}.ports[1]", "is listed twice"),
    Bad(
        to(f"{{network: a, ports: »[icmp, {MANY_PORTS[: MANY_PORTS.rindex(',')]}]}}"),
        f"{D}.ports",
        "has 16 port ranges",
    ),
    # what the reader refuses, in its place among the others
    Bad(("{name: mcp-01-selector}", "{name: »*-data}"), "policy", "quote a glob that begins with *"),
    Bad(("{name: mcp-01-selector}", "{name: »!x y}"), "policy", "a tag (!…) is refused"),
    Bad(("{name: mcp-01-selector}", "{name: »&a b}"), "policy", "an anchor (&…) is refused"),
    Bad(("{name: mcp-01-selector}", "{name: b, »[a]: b}"), "policy", "a key must be text"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda b: f"{b.path}: {b.reason}")
def test_each_mistake_is_one_problem_in_its_place(bad):
    """One mistake in a good policy gives exactly one problem, at the line and column where it stands."""
    old, new = bad.change
    assert GOOD.count(old) == 1
    marked = GOOD.replace(old, new)
    before = marked[: marked.index("»")]
    (problem,) = problems(marked.replace("»", ""))
    assert (problem.line, problem.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
    assert (problem.file, problem.path) == ("p.yaml", bad.path)
    assert bad.reason in problem.reason


def test_all_mistakes_come_at_once_in_the_order_of_the_file():
    """Mistakes in every section are all told by one attempt, sorted by line."""
    text = GOOD
    for old, new in [
        ("mode: enforce", "mode: enforced"),
        ("{role: gateway}", "[]"),
        ("- path: /srv/shared", "- path: srv"),
        ("{who: agents, read-write", "{who: nobody, read-write"),
        ("10.0.0.0/8", "10.0.0.1/8"),
        ("443/tcp", "443"),
    ]:
        text = text.replace(old, new, 1)
    found = problems(text)
    assert [p.path for p in found] == [
        "mode",
        "containers.gateway.label",
        "data.protected[2].path",
        "data.rules[0].who",
        "network.rules[1].connect[0].cidr",
        "network.rules[1].connect[0].ports[0]",
    ]
    assert [p.line for p in found] == sorted(p.line for p in found)


def test_a_problem_reads_as_file_line_column_path_reason():
    """The message of the error is one line per problem, clickable in an editor, without control characters."""
    with pytest.raises(PolicyError) as raised:
        load('version: 1\nmode: "a\\e[2Jb\\n"\n', file="dir/p.yaml")
    assert str(raised.value) == (
        'dir/p.yaml:2:7: mode: "a\\x1b[2Jb\\n" holds an unprintable character; write it without'
    )


def test_a_broken_selector_is_still_a_known_name():
    """A mistake inside a selector does not make every rule that names it a mistake as well."""
    (problem,) = problems(GOOD.replace("{name: mcp-01-selector}", "{name: ''}"))
    assert problem.path == "containers.one.name"


def test_a_broken_protected_entry_does_not_spoil_the_rules():
    """While ``protected`` is wrong nobody can say what it covers, so no rule is blamed for it."""
    (problem,) = problems(GOOD.replace("path: /srv/shared\n  rules", "path: srv/shared\n  rules"))
    assert problem.path == "data.protected[2].path"


def test_the_good_policy_means_what_it_says():
    """Names, kinds, grants, ids and ports arrive in the model as they were written."""
    policy = load(GOOD)
    assert policy.mode is Mode.ENFORCE
    assert policy.containers["agents"] == Selector(name="mcp-*", excluded=("mcp-20-orchestrator",))
    assert policy.containers["gateway"] == Selector(label={"role": "gateway"})
    assert policy.protected[2] == DataTarget(Kind.PATH, "/srv/shared")
    assert policy.data_rules[0] == DataRule(
        id="data.rules[0]",
        who=("agents",),
        read_write=(DataTarget(Kind.VOLUME, "{name}-data"),),
        read_only=(DataTarget(Kind.VOLUME, "{name}-config"),),
    )
    assert policy.internal == ("mcp-internal",)
    assert policy.net_rules[1].connect == (
        ToCidr(IPv4Network("10.0.0.0/8"), (IPv4Network("10.1.0.0/16"),), (PortRange(443, 443, 6),)),
    )
    assert policy.net_rules[2] == NetRule(id="network.rules[2]", who=("one",))


def test_left_out_ports_are_any_port():
    """A destination without ``ports`` grants every port and protocol."""
    assert load(GOOD).net_rules[0].connect == (ToNetwork("mcp-internal", (ANY_PORT,)),)


def test_icmp_is_both_families():
    """``icmp`` grants ICMP and ICMPv6."""
    policy = load(GOOD.replace(*to("{container: one, ports: [icmp, 53/udp, 8000-8099/tcp, 9/sctp]}")))
    ranges = (PortRange(0, 65535, 1), PortRange(0, 65535, 58), PortRange(53, 53, 17), PortRange(8000, 8099, 6))
    assert policy.net_rules[2].connect == (ToContainer("one", (*ranges, PortRange(9, 9, 132))),)


def test_fifteen_ranges_fit():
    """As many ranges as a row of the kernel's map holds are accepted."""
    policy = load(GOOD.replace(*to(f"{{host: true, ports: [{MANY_PORTS}]}}")))
    (host,) = policy.net_rules[2].connect
    assert isinstance(host, ToHost)
    assert len(host.ports) == MAX_RANGES


def test_the_number_of_ranges_is_the_contracts():
    """``MAX_RANGES`` is what ``probes/contract.h`` declares."""
    assert f"#define ENF_MAX_RANGES {MAX_RANGES} " in (ROOT / "probes/contract.h").read_text()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("::ffff:10.0.0.0/104", IPv4Network("10.0.0.0/8")),
        ("::ffff:0:0/96", IPv4Network("0.0.0.0/0")),
        ("::ffff:a00:1/128", IPv4Network("10.0.0.1/32")),
        ("::/0", IPv6Network("::/0")),
        ("2001:db8::/32", IPv6Network("2001:db8::/32")),
    ],
)
def test_a_mapped_prefix_is_the_ipv4_that_it_means(written, meant):
    """IPv4-mapped IPv6 is judged as IPv4; other IPv6 stays what it is."""
    policy = load(GOOD.replace(*to(f'{{cidr: "{written}"}}')))
    assert policy.net_rules[2].connect == (ToCidr(meant),)


def test_an_exception_may_be_written_mapped():
    """Inside and outside are judged after the mapped form has become IPv4."""
    policy = load(GOOD.replace(*to('{cidr: 10.0.0.0/8, except: "::ffff:10.1.0.0/112"}')))
    assert policy.net_rules[2].connect == (ToCidr(IPv4Network("10.0.0.0/8"), (IPv4Network("10.1.0.0/16"),)),)


def test_paths_are_normalised():
    """Double slashes, dots and a slash at the end do not make another object."""
    assert load(GOOD.replace("- path: /srv/shared", "- path: //srv/./shared/")) == replace(
        load(GOOD), hash=load(GOOD.replace("- path: /srv/shared", "- path: //srv/./shared/")).hash
    )


@pytest.mark.parametrize("word", ["no", "off", "y", "010", "1e3", "22", "0x1F", "1_000", "2001-01-01", ".inf"])
def test_words_that_yaml_would_convert_stay_words(word):
    """A container or network may be called ``no`` or ``010`` without quotes."""
    policy = load(f"version: 1\nmode: monitor\ncontainers: {{a: {{name: {word}}}}}\n")
    assert policy.containers["a"].name == word


def test_an_empty_grant_is_a_statement():
    """A rule may grant nothing on purpose, with an empty list."""
    policy = load(GOOD.replace(*rule("{who: one, read-only: [], mode: monitor}")))
    assert policy.data_rules[1] == DataRule(id="data.rules[1]", who=("one",), mode=Mode.MONITOR)


def test_the_smallest_policy():
    """Version and mode are all that must be given."""
    policy = load("version: 1\nmode: monitor\n")
    assert policy == Policy(mode=Mode.MONITOR, hash=policy.hash)


# ── round trip ──

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
globs = st.from_regex(r"[a-z0-9]{0,3}(\*|\?|\[!?a-z\])?[A-Za-z0-9_.-]{1,3}\*?", fullmatch=True)
words = st.text(st.characters(codec="utf-8", exclude_characters="[]{}").filter(str.isprintable), min_size=1, max_size=8)
modes = st.sampled_from(Mode)
ports = st.lists(
    st.builds(
        lambda a, b, p: PortRange(min(a, b), max(a, b), p),
        *[st.integers(1, 65535)] * 2,
        st.sampled_from((6, 17, 132)),
    ),
    min_size=1,
    max_size=MAX_RANGES,
    unique=True,
).map(tuple)
any_ports = ports | st.just((ANY_PORT,))
selectors = st.builds(
    Selector,
    name=globs,
    image=words | st.none(),
    label=st.dictionaries(words, words, max_size=2),
    excluded=st.just(()),
) | st.builds(Selector, name=st.just("*"), excluded=st.lists(globs, max_size=2).map(tuple))
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
networks4 = st.integers(0, 2**32 - 1).flatmap(
    lambda n: st.integers(0, 31).map(lambda bits: IPv4Network((n >> (32 - bits) << (32 - bits), bits)))
)
networks6 = st.integers(2**96, 2**128 - 1).flatmap(
    lambda n: st.integers(1, 127).map(lambda bits: IPv6Network((n >> (128 - bits) << (128 - bits), bits)))
)


@st.composite
def cidrs(draw):
    """A prefix with exceptions that are really inside it."""
    cidr = draw(networks4 | networks6)
    inside = list(cidr.subnets(prefixlen_diff=1))
    excluded = draw(st.lists(st.sampled_from(inside), unique=True, max_size=2))
    return ToCidr(cidr, tuple(excluded), draw(any_ports))


targets = (
    st.builds(ToNetwork, names, any_ports)
    | st.builds(ToContainer, names, any_ports)
    | cidrs()
    | st.builds(ToHost, ports)
)


@st.composite
def policies(draw):
    """Policies that are valid: rules name declared containers and grant what is protected."""
    containers = draw(st.dictionaries(names, selectors, min_size=1, max_size=4))
    who = st.lists(st.sampled_from(sorted(containers)), min_size=1, max_size=3, unique=True).map(tuple)
    kept = draw(st.lists(paths, max_size=3, unique=True))
    protected = [DataTarget(Kind.VOLUME, "*"), DataTarget(Kind.LAYER, "*"), *(DataTarget(Kind.PATH, p) for p in kept)]
    patterns = globs | globs.map(lambda g: "{name}-" + g)
    grants = st.builds(DataTarget, st.sampled_from([Kind.VOLUME, Kind.LAYER]), patterns) | st.sampled_from(protected)
    data_rules = []
    for i in range(draw(st.integers(0, 3))):
        granted = draw(st.lists(grants, unique=True, max_size=4))
        cut = draw(st.integers(0, len(granted)))
        data_rules.append(
            DataRule(f"data.rules[{i}]", draw(who), tuple(granted[:cut]), tuple(granted[cut:]), draw(modes | st.none()))
        )
    net_rules = [
        NetRule(
            f"network.rules[{i}]",
            draw(who),
            tuple(draw(st.lists(targets, unique=True, max_size=3))),
            draw(modes | st.none()),
        )
        for i in range(draw(st.integers(0, 3)))
    ]
    return Policy(
        mode=draw(modes),
        containers=containers,
        protected=tuple(protected),
        data_rules=tuple(data_rules),
        internal=tuple(draw(st.lists(names, unique=True, max_size=2))),
        net_rules=tuple(net_rules),
    )


def quoted(text):
    """A YAML double-quoted scalar; every character escaped that could mean anything."""
    return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in text) + '"'


def flow(value):
    """Any nesting of dicts, lists and texts as YAML in flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return quoted(value)


def mode_field(mode):
    """A ``mode`` field, if there is a mode."""
    return {} if mode is None else {"mode": mode.name.lower()}


def ports_field(given):
    """A ``ports`` field, unless every port is meant."""
    protocols = {6: "tcp", 17: "udp", 132: "sctp"}
    return {} if given == (ANY_PORT,) else {"ports": [f"{p.first}-{p.last}/{protocols[p.protocol]}" for p in given]}


def destination(target):
    """One element of ``connect``."""
    match target:
        case ToNetwork(network):
            where = {"network": network}
        case ToContainer(container):
            where = {"container": container}
        case ToCidr(cidr, excluded):
            where = {"cidr": str(cidr), "except": [str(e) for e in excluded]}
        case _:
            where = {"host": "true"}
    return where | ports_field(target.ports)


def selector(s):
    """One value of ``containers``."""
    given = {"name": s.name, "image": s.image, "label": dict(s.label) or None, "except": list(s.excluded) or None}
    return {k: v for k, v in given.items() if v is not None}


def target_list(found):
    """Data objects in their long form."""
    return [{t.kind.value: t.pattern} for t in found]


def render(policy):
    """The policy as YAML."""
    tree = {
        "version": "1",
        **mode_field(policy.mode),
        "containers": {k: selector(s) for k, s in policy.containers.items()},
        "data": {
            "protected": target_list(policy.protected),
            "rules": [
                {"who": list(r.who), "read-write": target_list(r.read_write), "read-only": target_list(r.read_only)}
                | mode_field(r.mode)
                for r in policy.data_rules
            ],
        },
        "network": {
            "internal": list(policy.internal),
            "rules": [
                {"who": list(r.who), "connect": [destination(t) for t in r.connect]} | mode_field(r.mode)
                for r in policy.net_rules
            ],
        },
    }
    return flow(tree)


@unhurried
@given(policies())
def test_what_is_written_is_read(policy):
    """Any valid policy, written as YAML, reads as itself."""
    assert replace(load(render(policy)), hash="") == policy


# ── nothing but a policy or an error ──

MARK = Mark("p.yaml", 1, 1)
key_words = st.sampled_from(sorted({k for keys in KEYS.values() for k in keys}))
value_words = st.sampled_from(
    ["1", "enforce", "*", "{name}", "/srv", "10.0.0.0/8", "icmp", "1/tcp", "true", "", "[", "a"]
)
scalars = st.builds(Scalar, key_words | value_words | st.text(max_size=4), st.just(MARK), st.booleans())
trees = st.recursive(
    scalars | st.just(Broken(MARK)),
    lambda below: (
        st.builds(Items, st.lists(below, max_size=4).map(tuple), st.just(MARK))
        | st.builds(Table, st.lists(st.tuples(scalars, below), max_size=5).map(tuple), st.just(MARK))
    ),
    max_leaves=30,
)


def survives(document: Document) -> None:
    """Parse, and hold the outcome to the two that are allowed."""
    try:
        assert isinstance(parse(document), Policy)
    except PolicyError as e:
        assert all(str(p).isprintable() for p in e.problems)


@unhurried
@given(trees)
def test_any_tree_is_a_policy_or_an_error(tree: Node):
    """No document, whatever its shape, raises anything but ``PolicyError``, and messages stay printable."""
    survives(Document((tree,)))


@unhurried
@given(
    st.integers(0, len(GOOD)),
    st.integers(0, 12),
    st.sampled_from([*KEYS["destination"], "", "{", "[]", ": ", "\n  - ", "~", "%"]),
)
def test_any_damage_is_a_policy_or_an_error(at, cut, put):
    """A good policy with something cut out and something put in loads, or says what is wrong."""
    try:
        load(GOOD[:at] + put + GOOD[at + cut :])
    except PolicyError as e:
        assert all(p.line >= 1 and p.column >= 1 and str(p).isprintable() for p in e.problems)
