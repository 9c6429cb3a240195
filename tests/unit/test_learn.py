"""Learning: what was done may be done again under the learnt policy, nothing else, and no name says more than a name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core.event import FileAttempt, NetAttempt, Who
from enforcer.core.learn import propose
from enforcer.core.model import (
    READ_ONLY,
    Access,
    DataTarget,
    Kind,
    Mode,
    ObjectId,
    Policy,
    PortRange,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
    Verdict,
)
from enforcer.core.parse import parse
from enforcer.core.proposal_text import text_of
from enforcer.core.record import Record
from enforcer.core.replay import replay
from enforcer.edges.policyfile import from_bytes
from tests.unit.test_replay import POLICIES, Recorder, beyond, denied, hosts

HOSTILE = st.text(st.sampled_from('a-*?[]{}"\\\n\r\t#:, \x1b\u2028\udc80é'), max_size=12) | st.sampled_from(
    ["*", "[a]", "{name}", "a\n    - {who: x}", '"', "${x}", "a" * 300, "../etc", "/a/../b", "/", "//a", "yes", "null"]
)


def learnt(events, *, mode=Mode.MONITOR, observed=False, base=None):
    """The policy that is learnt, through its text, as it would be loaded."""
    return parse(from_bytes(text(events, mode=mode, observed=observed, base=base).encode(), "learnt.yaml"))


def text(events, *, mode=Mode.MONITOR, observed=False, base=None):
    """The text of a proposal."""
    record = Record(observed=observed)
    for event in events:
        record.add(event)
    return text_of(propose(record, mode=mode, base=base))


def did(name, attempt, asked=Access.READ, **parts):
    """An access that was allowed."""
    given = {"networks": ("mcp-internal",), "internal": ("mcp-internal",)} | {
        k: parts.pop(k) for k in ("networks", "internal") if k in parts
    }
    who = Who(id=f"{sum(name.encode()):064x}", name=name, **given)
    granted = asked if asked is Access.CONNECT else READ_ONLY
    parts = {"verdict": Verdict.ALLOWED} | parts
    return denied(who=who, attempt=attempt, asked=asked, granted=granted, **parts)


def volume(name):
    """An attempt at a volume."""
    return FileAttempt(ObjectId(Kind.VOLUME, name), "", 0, 0)


def to(peer="", address="172.21.0.9", port=5432, **parts):
    """An attempt to connect."""
    return NetAttempt(address, port, 6, network="mcp-internal", peer=peer, **parts)


def outside(address, port=443):
    """An attempt to leave."""
    return NetAttempt(address, port, 6, network="", external=True)


@settings(max_examples=60, deadline=None)
@given(policy=POLICIES, facts=hosts(), mode=st.sampled_from(Mode))
def test_what_was_allowed_is_allowed_again(policy, facts, mode):
    """Nothing lawful of the record is refused by the policy learnt from it, whichever policy and host it was recorded on."""
    recorded = [e for e in Recorder(policy, facts).everything() if e]
    allowed = [e for e in recorded if e.verdict is Verdict.ALLOWED and not beyond(e)]
    for judged in replay(learnt(recorded, mode=mode), allowed):
        assert not judged.changed, judged.event


@settings(max_examples=40, deadline=None)
@given(policy=POLICIES, facts=hosts())
def test_what_was_refused_is_not_granted(policy, facts):
    """Data that a container was refused it is refused again: a pattern never reaches it."""
    recorded = [e for e in Recorder(policy, facts).everything() if e and isinstance(e.attempt, FileAttempt)]
    for judged in replay(learnt(recorded, mode=Mode.ENFORCE), recorded):
        read_later = judged.event.asked in (Access.EXEC, Access.READ, Access.CONNECT, Access.WRITE)
        if judged.event.verdict is not Verdict.ALLOWED and judged.verdict is Verdict.ALLOWED:
            # reading comes with executing, and connecting with writing, as in every policy
            assert read_later
            assert any(
                e.verdict is Verdict.ALLOWED and e.who == judged.event.who and e.attempt == judged.event.attempt
                for e in recorded
            )


@settings(max_examples=60, deadline=None)
@given(policy=POLICIES, facts=hosts(), data=st.data())
def test_the_same_record_gives_the_same_text(policy, facts, data):
    """In whichever order it is read; and what is learnt from it once more, under what was learnt, is the same again."""
    recorded = [e for e in Recorder(policy, facts).everything() if e]
    assert text(data.draw(st.permutations(recorded))) == text(recorded)


@settings(max_examples=200, deadline=None)
@given(names=st.tuples(*[HOSTILE] * 5), verdict=st.sampled_from(Verdict), data=st.booleans())
def test_no_name_ends_its_line(names, verdict, data):
    """Whatever names a journal holds, the text loads, and grants no more than it would without them."""
    name, target, network, peer, address = names
    attempt = (
        FileAttempt(ObjectId(Kind.PATH, target), "", 0, 0) if data else NetAttempt(address, 1, 6, network, peer=peer)
    )
    hostile = did("x", attempt, networks=(network,), internal=(network,), verdict=verdict)
    hostile = replace(hostile, who=replace(hostile.who, name=name))
    found = learnt([hostile, did("agent", volume("agent-data"))], observed=True)
    assert DataTarget(Kind.VOLUME, "agent-data") in found.protected
    assert all(not set("*?[") & set(t.pattern) for t in found.protected)
    assert {n for s in found.containers.values() for n in [s.name]} <= {"agent", name}


def test_a_pattern_for_those_who_are_alike():
    """Three agents that write their own data and read their own configuration are one rule, with {name} in it."""
    names = ("mcp-01", "mcp-02", "mcp-03")
    events = [did(n, volume(f"{n}-data"), Access.WRITE) for n in names]
    events += [did(n, volume(f"{n}-config")) for n in names]
    found = learnt(events)
    [rule] = found.data_rules
    assert rule.who == ("mcp",)
    assert found.containers["mcp"].name == "mcp-*"
    assert [t.pattern for t in rule.read_write] == ["{name}-data"]
    assert [t.pattern for t in rule.read_only] == ["{name}-config"]
    assert {t.pattern for t in found.protected} == {"mcp-*-data", "mcp-*-config"}


def test_who_is_not_alike_is_excepted():
    """The orchestrator has the agents' beginning and other deeds: the glob leaves it out."""
    agents = ("mcp-01", "mcp-02", "mcp-03")
    events = [did(n, volume(f"{n}-data"), Access.WRITE) for n in agents]
    events.append(did("mcp-20", volume("mcp-01-config")))
    found = learnt(events)
    assert (found.containers["mcp"].name, found.containers["mcp"].excluded) == ("mcp-*", ("mcp-20",))
    assert found.containers["mcp-20"].name == "mcp-20"


def test_networks_rather_than_addresses():
    """Whoever reached three containers of a network by the same ports is granted the network; one is granted by its name."""
    events = [did("hub", to(peer, f"172.21.0.{n}", 80), Access.CONNECT) for n, peer in enumerate(("a", "b", "c"), 2)]
    events.append(did("app", to("database"), Access.CONNECT))
    events.append(did("app", to(port=9100, host=True), Access.CONNECT))
    rules = {rule.who: rule.connect for rule in learnt(events).net_rules}
    assert rules["hub",] == (ToNetwork("mcp-internal", (PortRange(80, 80, 6),)),)
    assert set(rules["app",]) == {
        ToContainer("database", (PortRange(5432, 5432, 6),)),
        ToHost((PortRange(9100, 9100, 6),)),
    }


def test_addresses_are_joined_and_never_widened():
    """Two neighbours are one prefix; what lies between others is not granted."""
    addresses = ("203.0.113.8", "203.0.113.9", "203.0.113.12", "2001:db8::1")
    found = learnt([did("app", outside(a), Access.CONNECT, internal=()) for a in addresses])
    [rule] = found.net_rules
    assert all(isinstance(t, ToCidr) for t in rule.connect)
    assert {str(t.cidr) for t in rule.connect} == {"203.0.113.8/31", "203.0.113.12/32", "2001:db8::1/128"}


def test_more_ports_than_fit_are_widened_and_said():
    """Sixteen lone ports become one range, with a word about it."""
    events = [did("app", to("database", port=1000 + 2 * n), Access.CONNECT) for n in range(16)]
    assert "more ports than were seen" in text(events)
    [rule] = learnt(events).net_rules
    assert rule.connect == (ToContainer("database", (PortRange(1000, 1030, 6),)),)


def test_evidence_stands_by_its_rule():
    """How often, from when to when, by whom."""
    seconds = 1_763_431_200
    first, last = (n * 10**9 for n in (seconds, seconds + 60))
    events = [
        did("app", volume("data"), count=41, first_ns=first, time_ns=first),
        did("app", volume("data"), time_ns=last),
    ]
    wanted = "# volume data: read 42 times, 2025-11-18T02:00:00Z to 2025-11-18T02:01:00Z, by app (42)"
    assert wanted in text(events)


def test_a_container_that_reached_nobody_may_reach_nobody():
    """If connections were recorded at all."""
    quiet = did("quiet", volume("quiet-data"))
    assert learnt([quiet]).net_rules == ()
    rules = {r.who: r.connect for r in learnt([quiet, did("app", to("database"), Access.CONNECT)]).net_rules}
    assert rules["quiet",] == ()


def test_violations_are_listed_and_not_granted():
    """What was denied never; what was only watched if one asks for it."""
    events = [did("app", volume("app-data")), did("app", volume("other"), verdict=Verdict.OBSERVED)]
    assert "#   app: read volume other: was observed, once" in text(events)
    assert [t.pattern for r in learnt(events).data_rules for t in r.read_only] == ["{name}-data"]
    granted = learnt(events, observed=True).data_rules
    assert [t.pattern for r in granted for t in r.read_only] == ["other", "{name}-data"]
    refused = [replace(e, verdict=Verdict.DENIED) for e in events]
    assert learnt(refused, observed=True).data_rules == ()


def test_what_the_base_protects_stays_protected():
    """A proposal never protects less than the policy that one has."""
    base = Policy(
        Mode.ENFORCE, protected=(DataTarget(Kind.VOLUME, "*"), DataTarget(Kind.LAYER, "app")), internal=("db",)
    )
    found = learnt([did("app", volume("app-data"))], base=base)
    assert found.protected == base.protected
    assert found.internal == ("db", "mcp-internal")


@pytest.mark.parametrize("layer", ["app", "other"])
def test_ones_own_layer_needs_no_rule(layer):
    """It is one's own anyway; another's is granted as any object."""
    event = did("app", FileAttempt(ObjectId(Kind.LAYER, layer), "", 0, 0), Access.WRITE)
    found = learnt([event], mode=Mode.ENFORCE)
    assert bool(found.data_rules) is (layer == "other")
    assert [j.verdict for j in replay(found, [event])] == [Verdict.ALLOWED]


def test_a_flood_of_refusals_does_not_fill_the_memory():
    """What is not granted is summed up by container beyond a number of kinds."""
    record = Record()
    for n in range(10_000):
        record.add(did("app", outside(f"203.0.{n >> 8}.{n & 255}"), Access.CONNECT, verdict=Verdict.DENIED))
    assert len(record.left) < 5000
    assert sum(seen.evidence.attempts for seen in record.left.values()) == 10_000
    assert isinstance(next(iter(record.deeds)), str)
