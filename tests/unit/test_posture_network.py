"""The guide's network tests as pure checks: what the policy expects, and what attempts come to."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from enforcer.core.explain import Destination
from enforcer.core.model import Attachment, Container, Facts, Mode, NetRule, Policy, Selector, ToCidr, ToNetwork
from enforcer.core.outcome import Listener, Outcome, Tried
from enforcer.posture.assignments import assignments
from enforcer.posture.expectations import Attempts, Expectations, Want, judged, written
from enforcer.posture.external import external, untried
from enforcer.posture.finding import Finding, Result, failed, totals
from enforcer.posture.pairs import MAX_PORTS, doors, inter_container, towards
from tests.unit.worlds import (
    BACKEND,
    DATABASE,
    GUIDE,
    GUIDE_FACTS,
    GUIDE_NETWORKS,
    LURKER,
    ORCHESTRATOR,
    SELECTOR,
    STRANGER,
    WORKSTATION,
    container,
    facts,
    tcp,
)

WEB = Destination("203.0.113.10", 443)
PLAIN = Destination("203.0.113.10", 80)
REACHED, SILENT = Tried(Outcome.REACHED, Outcome.REACHED), Tried(Outcome.SILENT, Outcome.SILENT)
HELD = Tried(Outcome.REACHED, Outcome.FORBIDDEN)
UNTRIED = Tried(Outcome.UNTRIED, Outcome.UNTRIED, "its cgroup cannot be entered: x")
AGENT = "mcp-03-agent"


def host(*containers: Container) -> Facts:
    """The guide's networks with these containers."""
    return facts(containers, GUIDE_NETWORKS)


def only(findings: tuple[Finding, ...], name: str) -> list[tuple[Result, str]]:
    """Result and evidence of what concerns one container."""
    return [(f.result, f.evidence) for f in findings if f.container == name]


# --- assignments ------------------------------------------------------------------------------------------------------


def test_the_guides_containers_are_where_they_should_be() -> None:
    """Agents, orchestrator, gateway and database pass; who is on an internal network with no rule is warned about."""
    found = {f.container: f for f in assignments(GUIDE, GUIDE_FACTS)}
    named = (SELECTOR, BACKEND, ORCHESTRATOR, WORKSTATION, DATABASE)
    assert {found[c.name].result for c in named} == {Result.PASS}
    assert found[LURKER.name].result is Result.WARN
    assert "docker network disconnect mcp-internal lurker" in found[LURKER.name].fix
    assert STRANGER.name not in found  # on no internal network, and in no rule: nothing to say


@pytest.mark.parametrize(
    ("places", "result", "evidence"),
    [
        (
            {"public": "172.20.0.9", "mcp_internal": "172.21.0.9"},
            Result.FAIL,
            "on public, and nothing in network.rules[0]",
        ),
        ({"database": "172.22.0.9", "mcp_internal": "172.21.0.9"}, Result.FAIL, "on database, and nothing in"),
        ({"host": "", "mcp_internal": "172.21.0.9"}, Result.FAIL, "on host, and nothing in"),
        ({}, Result.WARN, "not on mcp-internal, where network.rules[0] would have it connect"),
        ({"none": ""}, Result.WARN, "not on mcp-internal, where network.rules[0] would have it connect"),
    ],
)
def test_an_agent_that_stands_elsewhere(places: dict[str, str], result: Result, evidence: str) -> None:
    """A network too many is a failure, a missing one a warning: the guide's meaning."""
    [(seen, said)] = only(assignments(GUIDE, host(container(3, AGENT, **places), ORCHESTRATOR, DATABASE)), AGENT)
    assert (seen, said[: len(evidence)]) == (result, evidence)


def test_a_database_among_the_agents() -> None:
    """It is granted by name and port; on a network that others are granted whole, it is open on all ports."""
    database = container(31, "database", mcp_internal="172.21.0.50")
    [(result, said)] = only(assignments(GUIDE, host(SELECTOR, ORCHESTRATOR, database)), "database")
    assert (result, "granted by name" in said) == (Result.FAIL, True)


def test_what_others_reach_and_what_calls_nobody() -> None:
    """On a network that others' rules name: one that calls nobody belongs there, one that calls elsewhere is asked about."""
    policy = Policy(
        Mode.ENFORCE,
        {name: Selector(name=name) for name in ("web", "api", "store")},
        internal=("front", "back"),
        net_rules=(
            NetRule("r0", ("web",), (ToNetwork("front"),)),
            NetRule("r1", ("api",), (ToNetwork("back"),)),
            NetRule("r2", ("store",)),
        ),
    )
    found = assignments(
        policy, facts((container(1, "api", front="10.0.0.2", back="10.0.1.2"), container(2, "store", front="")))
    )
    assert [(r, "others' rules reach it there" in e) for r, e in only(found, "api")] == [(Result.WARN, True)]
    assert [r for r, _ in only(found, "store")] == [Result.PASS]


def test_a_gateway_with_no_way_out() -> None:
    """A grant outside that no network of it lets happen is said."""
    inner = container(30, "workstation", mcp_internal="172.21.0.40")
    [(result, said)] = only(assignments(GUIDE, host(inner)), "workstation")
    assert (result, "which nothing leaves" in said) == (Result.WARN, True)


def test_a_cidr_inside_lets_nobody_out() -> None:
    """A grant of an internal network's own addresses is no reason to be on another."""
    rules = (NetRule("r0", ("agents",), (ToCidr(ip_network("172.21.0.0/24")),)),)
    policy = replace(GUIDE, net_rules=rules)
    agent = container(3, AGENT, public="172.20.0.9", mcp_internal="172.21.0.9")
    assert [r for r, _ in only(assignments(policy, host(agent)), AGENT)] == [Result.FAIL]


def test_a_stopped_container_is_said_and_not_judged() -> None:
    """Only if a rule names it: the host's other stopped containers are nobody's business."""
    stopped = (replace(SELECTOR, pid=0), replace(LURKER, pid=0))
    found = assignments(GUIDE, host(*stopped))
    assert [(f.container, f.result) for f in found] == [(SELECTOR.name, Result.WARN)]


def test_a_fix_is_safe_to_paste() -> None:
    """A network's name may have any character; the command that is proposed quotes it."""
    odd = "a b;reboot"
    policy = Policy(Mode.ENFORCE, {"x": Selector(name="x")}, net_rules=(NetRule("r0", ("x",), (ToNetwork(odd),)),))
    [finding] = assignments(policy, facts((container(1, "x"),)))
    assert finding.fix == "docker network connect 'a b;reboot' x"


# --- what an attempt shows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "tried", "confined", "result"),
    [
        (Want.GRANTED, REACHED, False, Result.PASS),
        (Want.GRANTED, SILENT, False, Result.FAIL),
        (Want.GRANTED, HELD, False, Result.FAIL),
        (Want.DENIED, REACHED, False, Result.FAIL),
        (Want.DENIED, SILENT, True, Result.PASS),
        (Want.DENIED, HELD, False, Result.PASS),
        (Want.DENIED, HELD, True, Result.WARN),
        (Want.WATCHED, REACHED, False, Result.WARN),
        (Want.WATCHED, SILENT, False, Result.PASS),
        (Want.FREE, REACHED, False, Result.PASS),
        (Want.FREE, SILENT, False, Result.PASS),
        (Want.DENIED, UNTRIED, False, Result.WARN),
        (Want.GRANTED, UNTRIED, False, Result.WARN),
    ],
)
def test_judged(want: Want, tried: Tried, confined: bool, result: Result) -> None:
    """What the container itself meets decides; what its namespace alone lets through is a weakness of its networks."""
    assert judged(want, tried, confined=confined) is result


def test_what_an_attempt_looks_like() -> None:
    """One word where both agree, both where they differ, and the reason where it could not be tried."""
    assert str(REACHED) == "reached"
    assert str(HELD) == "forbidden, from its network namespace alone reached"
    assert str(UNTRIED) == "untried (its cgroup cannot be entered: x)"
    assert written(Destination("2001:db8::1", 53, 17)) == "[2001:db8::1]:53/udp"


# --- external ---------------------------------------------------------------------------------------------------------


def outer(
    tried: Tried, *, policy: Policy = GUIDE, control: Outcome = Outcome.REACHED, to: Destination = WEB
) -> dict[str, Finding]:
    """The findings when every container comes to the same."""
    expectations = Expectations(policy, GUIDE_FACTS)
    attempts = Attempts({c.id: {to: tried} for c in GUIDE_FACTS.containers.values()})
    return {f.container: f for f in external(expectations, {to: control}, attempts)}


def test_nothing_gets_out_but_the_gateway() -> None:
    """Reached by all: everybody but the gateway fails. By none: only the gateway fails. Strangers are not asked."""
    open_, closed = outer(REACHED), outer(SILENT)
    assert {n for n, f in open_.items() if f.result is Result.PASS} == {WORKSTATION.name}
    assert {f.result for n, f in open_.items() if n != WORKSTATION.name} == {Result.FAIL}
    assert {n for n, f in closed.items() if f.result is Result.FAIL} == {WORKSTATION.name}
    assert STRANGER.name not in open_
    assert "network.rules[2] grants it" in closed[WORKSTATION.name].evidence


def test_the_gateways_other_ports() -> None:
    """What is granted is granted by port: the decision is the kernel's."""
    assert outer(REACHED, to=PLAIN)[WORKSTATION.name].result is Result.FAIL
    assert outer(HELD, to=PLAIN)[WORKSTATION.name].result is Result.PASS


def test_networks_that_leak_are_told_though_the_enforcer_holds_them() -> None:
    """An internal container whose namespace alone gets out: Docker does not isolate, the hooks do."""
    found = outer(HELD)[SELECTOR.name]
    assert (found.result, "they do not hold it" in found.evidence) == (Result.WARN, True)
    assert "--internal" in found.fix


@pytest.mark.parametrize("control", [Outcome.SILENT, Outcome.REFUSED, Outcome.UNREACHABLE])
def test_an_outside_that_does_not_answer_the_host_shows_nothing(control: Outcome) -> None:
    """One warning for the address, no PASS for anybody; but whoever reaches it all the same is judged."""
    assert [(f.container, f.result) for f in outer(SILENT, control=control).values()] == [("", Result.WARN)]
    assert outer(REACHED, control=control)[SELECTOR.name].result is Result.FAIL


def test_udp_is_judged_only_where_something_answers() -> None:
    """Silence of a service that never answers is no finding at all."""
    name = Destination("203.0.113.10", 53, 17)
    assert outer(SILENT, to=name, control=Outcome.SILENT) == {}
    assert outer(REACHED, to=name)[SELECTOR.name].result is Result.FAIL


def test_monitor_mode_warns() -> None:
    """What is only watched happens: a person is told."""
    found = outer(REACHED, policy=replace(GUIDE, mode=Mode.MONITOR))[SELECTOR.name]
    assert (found.result, "only watched" in found.evidence) == (Result.WARN, True)


def test_who_is_named_by_no_rule_and_gets_out_by_another_network() -> None:
    """The guide: "has external access (check if intended)"."""
    bridge = container(50, "bridge", public="172.20.0.70", mcp_internal="172.21.0.70")
    expectations = Expectations(GUIDE, host(bridge))
    [found] = external(expectations, {WEB: Outcome.REACHED}, Attempts({bridge.id: {WEB: REACHED}}))
    assert (found.result, "no network rule names it" in found.evidence) == (Result.WARN, True)


def test_a_grant_of_a_family_that_the_container_has_not() -> None:
    """Nothing is wrong with the enforcement: a warning."""
    six = Destination("2001:db8::10", 443)
    policy = replace(GUIDE, net_rules=(NetRule("r0", ("gateway",), (ToCidr(ip_network("::/0"), (), tcp(443)),)),))
    expectations = Expectations(policy, host(WORKSTATION))
    unreachable = Tried(Outcome.UNREACHABLE, Outcome.UNREACHABLE)
    [found] = external(expectations, {six: Outcome.REACHED}, Attempts({WORKSTATION.id: {six: unreachable}}))
    assert found.result is Result.WARN


def test_a_container_that_vanished_is_a_warning() -> None:
    """Its reason is said, and it has no other finding."""
    gone = Attempts({}, {SELECTOR.id: "it ended while it was looked at"})
    [found] = external(Expectations(GUIDE, host(SELECTOR)), {WEB: Outcome.REACHED}, gone)
    assert (found.result, found.evidence) == (Result.WARN, "not tried: it ended while it was looked at")


def test_untried_is_a_warning() -> None:
    """Without --outside."""
    assert (untried().result, "--outside" in untried().fix) == (Result.WARN, True)


# --- pairs ------------------------------------------------------------------------------------------------------------


def listener(address: str, port: int) -> Listener:
    """A listener."""
    return Listener(ip_address(address), port)


def test_doors_are_where_somebody_can_knock() -> None:
    """By listener and address family; loopback is nobody's door, and one on :: is open to both families."""
    both = replace(SELECTOR, attachments=(Attachment("mcp-internal", ("172.21.0.11", "fd00::11")),))
    heard = (
        listener("127.0.0.11", 40000),
        listener("0.0.0.0", 80),  # noqa: S104 -- a listener that is looked at
        listener("::", 443),
        listener("172.21.0.99", 90),
        listener("172.21.0.11", 91),
    )
    found = {(d.to.host, d.to.port) for d in doors([both], {both.id: heard})[both.id]}
    assert found == {
        ("172.21.0.11", 80),
        ("172.21.0.11", 443),
        ("fd00::11", 443),
        ("172.21.0.11", 91),
    }


def test_who_shares_anothers_addresses_has_no_doors() -> None:
    """Host networking and `--network container:X`: what listens there is not at an address of its own."""
    joined = replace(SELECTOR, attachments=(Attachment("mcp-internal"),))
    assert doors([joined], {joined.id: (listener("::", 80),)}) == {}


def test_doors_have_a_bound() -> None:
    """A container that listens on thousands of ports is tried on a few."""
    many = tuple(listener("::", port) for port in range(1, 1000))
    assert len(doors([SELECTOR], {SELECTOR.id: many})[SELECTOR.id]) == MAX_PORTS


def test_two_that_the_policy_does_not_concern_are_left_alone() -> None:
    """Strangers are tried towards the policy's containers, and not towards each other."""
    other = container(42, "other", public="172.20.0.61")
    world = host(SELECTOR, STRANGER, other)
    heard = {c.id: (listener("::", 80),) for c in world.containers.values()}
    plan = towards(Expectations(GUIDE, world), doors(world.containers.values(), heard))
    assert {d.owner.name for d in plan[STRANGER.id]} == {SELECTOR.name}
    assert {d.owner.name for d in plan[SELECTOR.id]} == {STRANGER.name, other.name}


def pair(
    source: Container,
    peer: Container,
    tried: Tried,
    *,
    policy: Policy = GUIDE,
    port: int = 5432,
    control: Tried = REACHED,
) -> list[Finding]:
    """The findings of ``source`` towards ``peer``, where it listens on one port."""
    expectations = Expectations(policy, host(source, peer))
    found = doors([peer], {peer.id: (listener("::", port),)})
    own = {door.to: control for door in found[peer.id]}
    there = {door.to: tried for door in found[peer.id]}
    findings = inter_container(expectations, found, Attempts({peer.id: own}), Attempts({source.id: there}))
    return [f for f in findings if f.container == source.name]


@pytest.mark.parametrize(
    ("source", "peer", "tried", "result"),
    [
        (SELECTOR, BACKEND, REACHED, Result.PASS),
        (SELECTOR, BACKEND, SILENT, Result.FAIL),
        (SELECTOR, DATABASE, SILENT, Result.PASS),
        (SELECTOR, DATABASE, REACHED, Result.FAIL),
        (SELECTOR, DATABASE, HELD, Result.PASS),
        (ORCHESTRATOR, DATABASE, REACHED, Result.PASS),
        (ORCHESTRATOR, DATABASE, SILENT, Result.FAIL),
        (DATABASE, ORCHESTRATOR, REACHED, Result.FAIL),
        (LURKER, SELECTOR, REACHED, Result.PASS),
        (LURKER, DATABASE, REACHED, Result.FAIL),
        (STRANGER, SELECTOR, SILENT, Result.PASS),
        (STRANGER, SELECTOR, REACHED, Result.WARN),
        (SELECTOR, BACKEND, UNTRIED, Result.WARN),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_pair(source: Container, peer: Container, tried: Tried, result: Result) -> None:
    """What must not connect and does fails, and what must and does not."""
    assert {f.result for f in pair(source, peer, tried)} == {result}


def test_a_port_that_is_not_granted() -> None:
    """The orchestrator may call the database's PostgreSQL, and not its ssh."""
    assert [f.result for f in pair(ORCHESTRATOR, DATABASE, REACHED, port=22)] == [Result.FAIL]


def test_a_grant_without_a_common_network() -> None:
    """As in the guide's "Network Connectivity Issues": a warning, with the command that connects them."""
    apart = container(20, "mcp-20-orchestrator", public="172.20.0.30")
    [found] = pair(apart, DATABASE, SILENT)
    assert (found.result, "no network in common" in found.evidence) == (Result.WARN, True)
    assert found.fix.startswith("docker network connect database mcp-20-orchestrator")


def test_a_door_that_its_owner_does_not_open_either_shows_nothing() -> None:
    """Silence proves nothing there; but who reaches it all the same is judged."""
    assert pair(SELECTOR, BACKEND, SILENT, control=SILENT) == []
    assert [f.result for f in pair(SELECTOR, DATABASE, REACHED, control=SILENT)] == [Result.FAIL]


def test_where_nothing_listens() -> None:
    """One warning for the container, rather than one for each that would have tried."""
    expectations = Expectations(GUIDE, host(SELECTOR, BACKEND))
    found = doors([SELECTOR, BACKEND], {})
    nothing = Attempts({SELECTOR.id: {}, BACKEND.id: {}})
    findings = inter_container(expectations, found, nothing, nothing)
    assert [(f.container, f.result) for f in findings] == [(SELECTOR.name, Result.WARN), (BACKEND.name, Result.WARN)]
    assert all("nothing listens" in f.evidence for f in findings)


# --- all together -----------------------------------------------------------------------------------------------------


def test_totals_and_the_end() -> None:
    """A warning fails nothing."""
    warned = Finding("c", Result.WARN, "x", "e", "s")
    passed, broken = replace(warned, result=Result.PASS), replace(warned, result=Result.FAIL)
    assert totals([warned, warned, passed]) == {Result.PASS: 1, Result.WARN: 2, Result.FAIL: 0}
    assert [failed([warned, passed]), failed([passed, broken])] == [False, True]
