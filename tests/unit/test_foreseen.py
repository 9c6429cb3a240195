"""A container that Docker has made and nobody has looked at yet: it may be on any network, so it goes nowhere."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from enforcer.core.compile_net import FORESEEN
from enforcer.core.decide import NetJudgement, judge_name, judge_net, judge_socket
from enforcer.core.image import NET, NetKey, Table
from enforcer.core.model import Container, Facts, Mode, NetRule, Policy, Sockets, ToCidr, ToNetwork, Verdict
from tests.unit.worlds import GUIDE, GUIDE_FACTS, built, container

NEWCOMER = replace(container(50, "mcp-50-new"), pid=0, cgroup=0, foreseen=True)


def judged(address: str, policy: Policy, host: Facts, who: Container = NEWCOMER) -> NetJudgement:
    """A TCP connection of the newcomer's."""
    image, ids = built(policy, host)
    return judge_net(image, subject=ids.subject(who.id), address=address, protocol=6, port=443)


def test_a_container_that_was_not_looked_at_goes_nowhere_yet() -> None:
    """What its rules grant depends on networks that nobody knows yet; its own loopback does not. It may ask for no name."""
    out = NetRule("r", ("agents",), (ToCidr(ip_network("0.0.0.0/0")), ToNetwork("public")), sockets=Sockets.RAW)
    policy = replace(GUIDE, net_rules=(out,))
    host = replace(GUIDE_FACTS, containers={**GUIDE_FACTS.containers, NEWCOMER.id: NEWCOMER})
    for address in ("203.0.113.10", "172.20.0.60", "172.21.0.12", "172.21.0.1"):
        assert judged(address, policy, host).verdict is Verdict.DENIED
    assert judged("127.0.0.1", policy, host).verdict is Verdict.ALLOWED
    seen = replace(host, containers={NEWCOMER.id: replace(NEWCOMER, foreseen=False)})
    assert judged("203.0.113.10", policy, seen).verdict is Verdict.ALLOWED
    image, ids = built(policy, host)
    subject = ids.subject(NEWCOMER.id)
    entry = image.net_subjects[NetKey(1, subject)]
    assert entry.scope
    assert not [key for key in image.tables[Table.NAMES] if key.scope == entry.scope]
    assert judge_name(image, subject=subject).verdict is Verdict.DENIED
    assert judge_socket(image, subject=subject, socket="raw", protocol=6).verdict is Verdict.ALLOWED
    assert image.reasons[subject, NET] == (FORESEEN,)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        (replace(GUIDE, net_rules=(), internal=()), Verdict.ALLOWED),
        (replace(GUIDE, net_rules=()), Verdict.DENIED),
        (replace(GUIDE, mode=Mode.MONITOR), Verdict.OBSERVED),
        (
            replace(GUIDE, net_rules=(NetRule("r", ("agents",), (), Mode.MONITOR),)),
            Verdict.OBSERVED,
        ),
    ],
)
def test_until_the_look_the_mode_is_that_of_the_rules(changed: Policy, verdict: Verdict) -> None:
    """Only a policy that speaks of the network holds it, and one that only watches lets it go on, as it will later."""
    host = replace(GUIDE_FACTS, containers={NEWCOMER.id: NEWCOMER})
    assert judged("203.0.113.10", changed, host).verdict is verdict


def test_a_container_on_no_network_is_not_a_container_not_looked_at() -> None:
    """One with host networking, or none, has been seen to be on no internal network: only rules that name it hold it."""
    alone = container(51, "alone")
    assert (
        judged("203.0.113.10", GUIDE, replace(GUIDE_FACTS, containers={alone.id: alone}), alone).verdict
        is Verdict.ALLOWED
    )
