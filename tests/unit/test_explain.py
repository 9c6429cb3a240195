"""Answers for people, from the rows that the kernel would hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from enforcer.core.decide import judge_file, judge_net
from enforcer.core.explain import Destination, explain_data, explain_net
from enforcer.core.model import Access, Kind, Mode, NetRule, ObjectId, ToNetwork, Verdict
from enforcer.errors import UsageError
from tests.unit.worlds import ADDRESSES, GUIDE, GUIDE_FACTS, PORTS, SELECTOR, UDP, built, hosts, policies, tcp

MONITORED = replace(GUIDE, mode=Mode.MONITOR)


def about(container: str, name: str, asked: Access, *, kind: Kind = Kind.VOLUME, policy=GUIDE):
    """An answer about data on the guide's host."""
    return explain_data(policy, GUIDE_FACTS, container=container, target=ObjectId(kind, name), asked=asked)


def towards(container: str, host: str, port: int = 80, *, protocol: int = 6, policy=GUIDE):
    """An answer about a connection on the guide's host."""
    return explain_net(policy, GUIDE_FACTS, container=container, to=Destination(host, port, protocol))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            about("mcp-01-selector", "mcp-01-selector-config", Access.WRITE),
            "mcp-01-selector may not write mcp-01-selector-config: data.rules[0] grants read-only",
        ),
        (
            about("mcp-01-selector", "mcp-01-selector-data", Access.READ | Access.WRITE),
            "mcp-01-selector may read/write mcp-01-selector-data: data.rules[0] grants read-write",
        ),
        (
            about("mcp-01-selector", "mcp-02-backend-data", Access.READ),
            "mcp-01-selector may not read mcp-02-backend-data: no rule names it",
        ),
        (
            about("mcp-01-selector", "mcp-02-backend-data", Access.READ, policy=MONITORED),
            "mcp-01-selector may not read mcp-02-backend-data, but is only watched (mode monitor): no rule names it",
        ),
        (
            about("stranger", "scratch", Access.WRITE),
            "stranger may write scratch: it is not protected, so any container may",
        ),
        (
            about("mcp-01-selector", "mcp-01-selector", Access.WRITE, kind=Kind.LAYER),
            "mcp-01-selector may write mcp-01-selector: it is its own layer",
        ),
        (
            towards("mcp-01-selector", "203.0.113.10", 443),
            "mcp-01-selector may not connect to 203.0.113.10:443/tcp: network.rules[0] does not grant it, "
            "and it would leave mcp-internal",
        ),
        (
            towards("mcp-20-orchestrator", "database", 5432),
            "mcp-20-orchestrator may connect to database:5432/tcp: network.rules[1] grants it",
        ),
        (
            towards("mcp-20-orchestrator", "database", 22),
            "mcp-20-orchestrator may not connect to database:22/tcp: network.rules[1] does not grant it",
        ),
        (
            towards("stranger", "203.0.113.10", 53, protocol=UDP),
            "stranger may connect to 203.0.113.10:53/udp: no network rule concerns it",
        ),
        (
            towards("lurker", "203.0.113.10"),
            "lurker may not connect to 203.0.113.10:80/tcp: no rule names it, and it is on internal networks only, "
            "and it would leave mcp-internal",
        ),
        (
            towards("database", "127.0.0.1"),
            "database may connect to 127.0.0.1:80/tcp: it stays within the container or its internal networks",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_line_for_a_person(answer, text):
    """The line says who, what, whether, and which rule decided."""
    assert answer.text == text


def test_the_parts_of_an_answer():
    """What a program needs is there beside the line."""
    answer = about("mcp-01-selector", "mcp-01-selector-config", Access.WRITE)
    assert (answer.verdict, answer.rules, answer.mode) == (Verdict.DENIED, ("data.rules[0]",), Mode.ENFORCE)
    assert answer.granted == Access.READ | Access.EXEC


def test_only_the_rules_that_grant_are_named():
    """Of several rules that name a container, an allowed connection names those that allow it."""
    extra = NetRule("network.rules[4]", ("agents",), (ToNetwork("mcp-internal", tcp(22)),))
    policy = replace(GUIDE, net_rules=(*GUIDE.net_rules, extra))
    assert towards("mcp-01-selector", "172.21.0.12", 80, policy=policy).rules == ("network.rules[0]",)
    assert towards("mcp-01-selector", "172.21.0.12", 22, policy=policy).rules == (
        "network.rules[0]",
        "network.rules[4]",
    )
    assert towards("mcp-01-selector", "203.0.113.10", policy=policy).rules == ("network.rules[0]", "network.rules[4]")


def test_a_container_may_be_named_by_its_id():
    """Docker's id serves as well as the name."""
    assert about(SELECTOR.id, "mcp-01-selector-data", Access.READ).verdict is Verdict.ALLOWED


def test_a_named_destination_is_tried_where_both_are():
    """Of a container's addresses, the one on a common network is asked about."""
    answer = towards("workstation", "mcp-20-orchestrator")
    assert answer.verdict is Verdict.ALLOWED


@pytest.mark.parametrize(
    "ask",
    [
        lambda: about("nobody", "scratch", Access.READ),
        lambda: about("stranger", "nothing", Access.READ),
        lambda: towards("nobody", "127.0.0.1"),
        lambda: towards("stranger", "nowhere"),
    ],
)
def test_what_is_not_on_the_host_cannot_be_explained(ask):
    """A name that does not exist is the caller's mistake, and the message says what to do."""
    with pytest.raises(UsageError, match=r"there is no .* on this host: '"):
        ask()


@settings(deadline=None, max_examples=60)
@given(policy=policies, host=hosts())
def test_explain_and_the_kernel_agree(policy, host):
    """Whatever is asked, the answer is that of the rows, and a granted answer that needed a rule names one."""
    image, ids = built(policy, host)
    for who in host.containers.values():
        subject = ids.subject(who.id)
        for object_id, found in host.objects.items():
            answer = explain_data(policy, host, container=who.id, target=object_id, asked=Access.WRITE)
            if found.inodes:
                judged = judge_file(image, subject=subject, inodes=found.inodes, asked=Access.WRITE)
                assert answer.verdict is judged.verdict
        for address in ADDRESSES[::4]:
            protocol, port = PORTS[0]
            answer = explain_net(policy, host, container=who.id, to=Destination(address, port, protocol))
            judged = judge_net(image, subject=subject, address=address, protocol=protocol, port=port)
            assert (answer.verdict, answer.mode) == (judged.verdict, judged.mode)
