"""What the egress guard has to hold: which networks, and what may reach the host from them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from enforcer.core.egress import Chain, Guard, Opening, Pass, Rule, guard
from enforcer.core.image import Range
from enforcer.core.model import Attachment, Container, Mode, NetRule, Network, Policy, PortRange, Selector, ToHost
from tests.unit.worlds import BACKEND, DATABASE, GUIDE, GUIDE_FACTS, SELECTOR, TCP, UDP, container_id, facts

BRIDGES = {"n-public": "br-public", "n-internal": "br-internal", "n-database": "br-database"}
BOTH = Network(
    "n-both",
    "both",
    True,
    (ip_network("172.30.0.0/16"), ip_network("fd00:30::/64")),
    ("172.30.0.1", "fd00:30::1", "fe80::1"),
)
INNER = Container(
    container_id(50), "inner", attachments=(Attachment("both", ("172.30.0.2", "fd00:30::2")),), pid=50, cgroup=1050
)


def opening_host(*ports: PortRange, mode: Mode | None = None) -> Policy:
    """A policy where the containers called inner may reach those ports of the host."""
    rule = NetRule("network.rules[0]", ("inners",), (ToHost(ports),), mode=mode)
    return Policy(
        Mode.ENFORCE, containers={"inners": Selector(name="inner")}, internal=("both", "database"), net_rules=(rule,)
    )


def passes(found: Guard, network: str) -> list[Pass | Opening | None]:
    """What the rules of a network let through, in order; None for the drop."""
    return [rule.passes for rule in found.networks[network]]


def test_internal_networks_of_the_policy_are_guarded() -> None:
    """Each has its drop at both hooks and replies before it; networks that the policy does not call internal have none."""
    found = guard(GUIDE, GUIDE_FACTS, (), BRIDGES)
    assert found.networks.keys() == set(GUIDE.internal)
    for name, bridge in (("mcp-internal", "br-internal"), ("database", "br-database")):
        assert found.networks[name] == (
            Rule(Chain.INPUT, name, bridge, Pass.REPLIES),
            Rule(Chain.INPUT, name, bridge),
            Rule(Chain.FORWARD, name, bridge),
        )
    assert found.unguarded == {}
    assert found.rules == tuple(r for rules in found.networks.values() for r in rules)


def test_blocked_networks_are_guarded_whatever_the_policy_says() -> None:
    """Also in monitor mode, in which the policy's own internal networks are not; one that is not here waits."""
    assert guard(GUIDE, GUIDE_FACTS, ("public", "nowhere"), BRIDGES).networks.keys() == {*GUIDE.internal, "public"}
    monitor = replace(GUIDE, mode=Mode.MONITOR)
    assert guard(monitor, GUIDE_FACTS, (), BRIDGES) == Guard({}, {})
    assert guard(monitor, GUIDE_FACTS, ("database",), BRIDGES).networks.keys() == {"database"}


def test_a_network_without_a_bridge_cannot_be_guarded() -> None:
    """It is named, so that status can say it; the others are guarded."""
    found = guard(GUIDE, GUIDE_FACTS, (), BRIDGES | {"n-database": ""})
    assert found.networks.keys() == {"mcp-internal"}
    assert found.unguarded == {"database": "it has no bridge on this host"}
    assert guard(GUIDE, GUIDE_FACTS, (), {}).unguarded.keys() == set(GUIDE.internal)


def test_a_host_rule_opens_its_ports_for_its_containers_addresses() -> None:
    """From each address to the host's addresses on that network of the same family, never to link-local ones."""
    here = facts((INNER, DATABASE), (BOTH, GUIDE_FACTS.networks["database"]))
    policy = opening_host(PortRange(53, 53, UDP), PortRange(8000, 8099, TCP))
    found = guard(policy, here, (), BRIDGES | {"n-both": "br-both"})
    assert passes(found, "both") == [
        Pass.REPLIES,
        Pass.NEIGHBOURS,
        *(
            Opening(source, destination, ports)
            for source, destination in (("172.30.0.2", "172.30.0.1"), ("fd00:30::2", "fd00:30::1"))
            for ports in sorted((Range(53, 53, UDP), Range(8000, 8099, TCP)))
        ),
        None,
        None,
    ]
    assert passes(found, "database") == [Pass.REPLIES, None, None]


def test_openings_follow_addresses() -> None:
    """A container's new address is opened, its old one is not any more; one without an address has no opening."""
    policy = opening_host(PortRange(53, 53, UDP))
    bridges = {"n-both": "br-both"}
    moved = replace(INNER, attachments=(Attachment("both", ("172.30.0.9",)),))
    sources = [
        [p.source for p in passes(guard(policy, facts((c,), (BOTH,)), (), bridges), "both") if isinstance(p, Opening)]
        for c in (INNER, moved, replace(INNER, attachments=(Attachment("both"),)))
    ]
    assert sources == [["172.30.0.2", "fd00:30::2"], ["172.30.0.9"], []]


def test_neighbours_are_let_through_only_where_ipv6_is() -> None:
    """A network without an IPv6 subnet has only link-local IPv6, none of which reaches the host."""
    found = guard(GUIDE, GUIDE_FACTS, (), BRIDGES)
    assert not any(rule.passes is Pass.NEIGHBOURS for rule in found.rules)
    there = guard(opening_host(PortRange(1, 1, TCP)), facts((), (BOTH,)), (), {"n-both": "br-both"})
    assert passes(there, "both") == [Pass.REPLIES, Pass.NEIGHBOURS, None, None]


def test_a_mark_tells_rules_apart() -> None:
    """Two rules have one mark only if they say the same: what is in the kernel is known by it."""
    rules = [
        Rule(chain, network, bridge, passing)
        for chain in Chain
        for network in ("a", "b")
        for bridge in ("br-a", "br-b")
        for passing in (None, Pass.REPLIES, Opening("1.2.3.4", "1.2.3.1", Range(1, 2, TCP)))
    ]
    assert len({rule.mark for rule in rules}) == len(rules)
    assert {rule.mark for rule in rules} == {replace(rule).mark for rule in rules}


def test_the_description_does_not_change_without_cause() -> None:
    """Containers in another order, or a container more that no host rule names, change nothing: nothing is written."""
    one, other = (
        facts((SELECTOR, BACKEND), GUIDE_FACTS.networks.values()),
        facts((BACKEND, SELECTOR), GUIDE_FACTS.networks.values()),
    )
    assert guard(GUIDE, one, (), BRIDGES) == guard(GUIDE, other, (), BRIDGES)
    assert guard(GUIDE, facts((SELECTOR,), GUIDE_FACTS.networks.values()), (), BRIDGES) == guard(
        GUIDE, one, (), BRIDGES
    )
