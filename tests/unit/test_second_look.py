"""What a record refused, the policy learnt from it refuses, or says beside the rule that it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core import record as record_module
from enforcer.core.decide import decide
from enforcer.core.event import NetAttempt, Who
from enforcer.core.hindsight import Hindsight
from enforcer.core.learn import propose
from enforcer.core.model import Access, Mode, PortRange, ToContainer, ToNetwork, Verdict
from enforcer.core.proposal_text import DESPITE, text_of
from enforcer.core.record import Record
from enforcer.core.second_look import policy_of
from enforcer.core.words import access_words, target_words
from tests.unit.test_learn import did, learnt, outside, text, to, volume
from tests.unit.test_replay import POLICIES, Recorder, hosts

PEERS = ("a", "b", "c", "database", "mcp-01")
ADDRESSES = {peer: f"172.21.0.{n}" for n, peer in enumerate((*PEERS, ""), start=2)}


def near(peer, port, network="mcp-internal", **parts):
    """An attempt on a network."""
    return NetAttempt(ADDRESSES[peer], port, 6, network=network, peer=peer, **parts)


NEAR = st.builds(
    near,
    st.sampled_from([*PEERS, ""]),
    st.sampled_from([80, 443]) | st.integers(1000, 1040),
    st.sampled_from(["mcp-internal", "other"]),
)
HOST = st.builds(
    near, st.just(""), st.sampled_from([22, 80]), st.sampled_from(["mcp-internal", "other"]), host=st.just(True)
)
FAR = st.builds(outside, st.sampled_from(["203.0.113.8", "203.0.113.9", "172.21.0.3"]), st.integers(440, 480))
DATA = st.builds(volume, st.sampled_from(["mcp-01-data", "mcp-02-data", "mcp-9-data", "shared"]))
FILES = st.sampled_from([Access.READ, Access.WRITE, Access.READ | Access.WRITE, Access.EXEC])


@st.composite
def events(draw):
    """Some attempts of few containers at few places, allowed or not: so that the two meet."""
    kinds = draw(st.sampled_from([NEAR, HOST, FAR, DATA, NEAR | DATA, NEAR | HOST | FAR | DATA]))
    found = []
    for attempt in draw(st.lists(kinds, min_size=1, max_size=60)):
        asked = Access.CONNECT if isinstance(attempt, NetAttempt) else draw(FILES)
        name = draw(st.sampled_from(["mcp-01", "mcp-02", "mcp-03", "web"]))
        verdict = draw(st.sampled_from([Verdict.ALLOWED] * 5 + [Verdict.DENIED, Verdict.KILLED, Verdict.OBSERVED]))
        inside = draw(st.sampled_from([(), ("mcp-internal",)]))
        found.append(did(name, attempt, asked, verdict=verdict, networks=("mcp-internal", "other"), internal=inside))
    return found


def let_through(policy, event):
    """Would the policy, enforced, allow it?"""
    return decide(Hindsight(policy).answer(event).granted, event.asked, Mode.ENFORCE) is Verdict.ALLOWED


def admitted(event):
    """How the text says that it grants this all the same."""
    what = f"{'/'.join(access_words(event.asked))} {target_words(event.attempt)}"
    return f"{DESPITE}: {event.who.name}: {what}: was {event.verdict.name.lower()}"


def check(recorded):
    """Each refusal is repeated, or admitted; and none is both admitted and listed as not granted."""
    written = text(recorded, mode=Mode.ENFORCE)
    policy = learnt(recorded, mode=Mode.ENFORCE)
    for event in recorded:
        if event.verdict is not Verdict.ALLOWED and let_through(policy, event):
            assert admitted(event) in written, event
            assert f"#   {admitted(event).removeprefix(f'{DESPITE}: ')}" not in written


@settings(max_examples=300, deadline=None)
@given(recorded=events())
def test_nothing_that_was_refused_is_granted_in_silence(recorded):
    """Whatever the record holds."""
    check(recorded)


@settings(max_examples=40, deadline=None)
@given(policy=POLICIES, facts=hosts())
def test_nor_of_what_a_real_policy_refused(policy, facts):
    """Whichever policy and host it was recorded on."""
    check([e for e in Recorder(policy, facts).everything() if e])


@settings(max_examples=100, deadline=None)
@given(recorded=events(), mode=st.sampled_from(Mode))
def test_what_is_looked_at_is_what_is_written(recorded, mode):
    """The policy that the refusals are put before is the one that the text loads as."""
    record = Record()
    for event in recorded:
        record.add(event)
    assert policy_of(propose(record, mode=mode)) == replace(learnt(recorded, mode=mode), hash="")


def allowed_and(refused, *attempts, name="web"):
    """The record of a container that was allowed some connections and refused another."""
    networks = ("mcp-internal", "other")
    found = [did(name, attempt, Access.CONNECT, networks=networks) for attempt in attempts]
    return [*found, did(name, refused, Access.CONNECT, verdict=Verdict.DENIED, networks=networks)]


def reach(recorded):
    """Where the learnt policy lets one connect."""
    return {t for rule in learnt(recorded, mode=Mode.ENFORCE).net_rules for t in rule.connect}


def test_a_network_with_one_who_was_refused_is_said_by_names():
    """Three containers of a network would be the network; a fourth on it was refused."""
    recorded = allowed_and(near("database", 80), *(near(peer, 80) for peer in "abc"))
    assert reach(recorded) == {ToContainer(peer, (PortRange(80, 80, 6),)) for peer in "abc"}
    assert DESPITE not in text(recorded)
    assert reach(recorded[:-1]) == {ToNetwork("mcp-internal", (PortRange(80, 80, 6),))}


def test_ports_are_not_widened_over_one_that_was_refused():
    """As many ranges as fit, and a word about the rest."""
    ports = range(1000, 1040, 2)
    recorded = allowed_and(near("a", 1001), *(near("a", port) for port in ports))
    assert reach(recorded) == {ToContainer("a", tuple(PortRange(p, p, 6) for p in ports[:15]))}
    assert "NOT ALL ports" in text(recorded)
    assert DESPITE not in text(recorded)


@pytest.mark.parametrize(
    ("refused", "allowed"),
    [
        (near("a", 80, "other"), near("a", 80)),
        (near("", 22, "other", host=True), near("", 22, host=True)),
        (to("database"), to("database")),
    ],
)
def test_what_no_rule_can_tell_apart_is_said(refused, allowed):
    """The same container or the host on two networks, and what was allowed before it was denied."""
    recorded = allowed_and(refused, allowed)
    written = text(recorded, mode=Mode.ENFORCE)
    assert f"    # {DESPITE}: web: connect" in written
    assert "# Not granted" not in written
    assert f"look for {DESPITE}" in written.splitlines()[2]


@pytest.mark.parametrize(
    ("may", "not_"), [(Access.WRITE, Access.READ), (Access.READ, Access.EXEC), (Access.READ, Access.READ)]
)
def test_data_whose_grant_brings_more_is_said(may, not_):
    """Reading comes with writing, executing with reading."""
    recorded = [did("web", volume("v"), may), did("web", volume("v"), not_, verdict=Verdict.KILLED)]
    assert f"    # {DESPITE}: web: {access_words(not_)[0]} volume v: was killed, once" in text(recorded)


def test_what_no_rule_grants_and_none_can_hold_is_said():
    """A path that a policy cannot name is not protected by it."""
    odd = replace(volume("v"), object=volume("v").object._replace(name="a*b"))
    written = text([did("web", odd, verdict=Verdict.DENIED), did("web", volume("v"))])
    assert f"\n# {DESPITE}: web: read volume a*b: was denied, once" in written


def test_more_refusals_than_are_kept_make_it_exact(monkeypatch):
    """Those that could not be compared are said to be so, and their container is granted by names only."""
    monkeypatch.setattr(record_module, "REFUSED", 10)
    flood = [did("web", outside(f"203.0.113.{n}"), Access.CONNECT, verdict=Verdict.DENIED) for n in range(20)]
    recorded = [*flood, *allowed_and(near("database", 80), *(near(peer, 80) for peer in "abc"))]
    assert f"# {DESPITE}, perhaps" in text(recorded)
    assert "web: whatever else: was denied, 11 times" in text(recorded)
    assert not any(isinstance(t, ToNetwork) for t in reach(recorded))


def test_who_only_shares_the_beginning_of_a_name_is_judged_too():
    """A glob for those alike grants nothing to a name that no rule could write without the text saying so."""
    recorded = [did(f"mcp-{n}", volume("shared")) for n in range(3)]
    stranger = Who(id="ff" * 32, name="mcp- x", networks=(), internal=())
    refused = replace(did("web", volume("shared"), verdict=Verdict.DENIED), who=stranger)
    assert admitted(refused) in text([*recorded, refused])


def test_a_scan_that_was_allowed_is_granted_up_to_a_bound(monkeypatch):
    """What one container may be granted does not grow without end; what is beyond it is listed."""
    monkeypatch.setattr(record_module, "PLACES", 10)
    recorded = [did("web", outside(f"203.0.113.{2 * n}"), Access.CONNECT) for n in range(20)]
    assert len(reach(recorded)) == 10
    assert text(recorded).count("no more than 10 places") == 10


def test_many_addresses_are_joined_with_their_own_evidence():
    """Each prefix with what was seen in it, of both families."""
    addresses = [*(f"203.0.113.{n}" for n in (0, 1, 2, 3, 7)), "2001:db8::", "2001:db8::1", "2001:db8::4"]
    record = Record()
    for n, address in enumerate(addresses, start=1):
        record.add(did("web", outside(address), Access.CONNECT, count=n))
    [rule] = propose(record).net
    assert {str(g.target.cidr): g.evidence.attempts for g in rule.grants} == {
        "203.0.113.0/30": 10,
        "203.0.113.7/32": 5,
        "2001:db8::/127": 13,
        "2001:db8::4/128": 8,
    }
    assert text_of(propose(record))
