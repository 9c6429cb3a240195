"""Replay: the policy that was running gives every recorded verdict again; another one shows what it would change."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core.compile import compile
from enforcer.core.compile_net import FORESEEN
from enforcer.core.decide import judge_net, judge_object
from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.ids import Ids, allocate
from enforcer.core.image import NET
from enforcer.core.model import (
    ANY_PORT,
    Access,
    Attachment,
    Container,
    DataObject,
    DataRule,
    DataTarget,
    Facts,
    Hook,
    Inode,
    Kind,
    Mechanism,
    Mode,
    NetRule,
    Network,
    ObjectId,
    Policy,
    PortRange,
    Selector,
    ToCidr,
    ToContainer,
    ToHost,
    ToNetwork,
    Verdict,
)
from enforcer.core.objects import protect
from enforcer.core.replay import GROUPS, Comparison, replay

NAMES = ("mcp-01", "mcp-02", "database", "gateway")
NETWORKS = {"public": "172.20.0", "mcp-internal": "172.21.0", "database": "172.22.0"}
OBJECTS = (
    ObjectId(Kind.VOLUME, "mcp-01-data"),
    ObjectId(Kind.VOLUME, "mcp-02-data"),
    ObjectId(Kind.VOLUME, "scratch"),
    ObjectId(Kind.LAYER, "mcp-01"),
    ObjectId(Kind.PATH, "/var/run/docker.sock"),
)
TARGETS = st.sampled_from(
    [
        DataTarget(Kind.VOLUME, "{name}-data"),
        DataTarget(Kind.VOLUME, "mcp-*"),
        DataTarget(Kind.VOLUME, "mcp-02-data"),
        DataTarget(Kind.LAYER, "mcp-01"),
        DataTarget(Kind.PATH, "/var/run/docker.sock"),
    ]
)
PROTECTED = st.sampled_from(
    [DataTarget(Kind.VOLUME, "mcp-*"), DataTarget(Kind.LAYER, "*"), DataTarget(Kind.PATH, "/var/run/docker.sock")]
)
SELECTORS = {
    "agents": Selector(name="mcp-*", excluded=("mcp-02",)),
    "second": Selector(image="agent:2"),
    "labelled": Selector(label={"role": "db*"}),
    "all": Selector(),
}
WHO = st.lists(st.sampled_from(list(SELECTORS)), min_size=1, max_size=2, unique=True).map(tuple)
MODES = st.sampled_from(Mode)
PORTS = st.sampled_from([(ANY_PORT,), (PortRange(443, 443, 6),), (PortRange(1, 1023, 17), PortRange(5432, 5432, 6))])
CIDRS = st.sampled_from(["0.0.0.0/0", "203.0.113.0/24", "172.21.0.0/30", "::/0"]).map(ip_network)
NET_TARGETS = st.one_of(
    st.builds(ToNetwork, st.sampled_from(list(NETWORKS)), PORTS),
    st.builds(ToContainer, st.sampled_from([*NAMES, "agents"]), PORTS),
    st.builds(ToCidr, CIDRS, st.sampled_from([(), (ip_network("203.0.113.10/32"),)]), PORTS),
    st.builds(ToHost, PORTS),
)


def rules(prefix, kind, **parts):
    """Lists of rules, numbered as the parser numbers them."""
    rule = st.builds(kind, id=st.just(""), who=WHO, mode=st.none() | MODES, **parts)
    return st.lists(rule, max_size=3).map(
        lambda found: tuple(replace(r, id=f"{prefix}.rules[{n}]") for n, r in enumerate(found))
    )


POLICIES = st.builds(
    Policy,
    mode=MODES,
    containers=st.just(SELECTORS),
    protected=st.lists(PROTECTED, max_size=3, unique=True).map(tuple),
    data_rules=rules(
        "data",
        DataRule,
        read_write=st.lists(TARGETS, max_size=2).map(tuple),
        read_only=st.lists(TARGETS, max_size=2).map(tuple),
    ),
    internal=st.lists(st.sampled_from(list(NETWORKS)), max_size=2, unique=True).map(tuple),
    net_rules=rules("network", NetRule, connect=st.lists(NET_TARGETS, max_size=3).map(tuple)),
    hash=st.just("ab" * 32),
)


@st.composite
def hosts(draw):
    """A host with the guide's three networks, some of its containers on some of them, and all objects."""
    containers = {}
    for number, name in enumerate(NAMES, start=1):
        foreseen = draw(st.booleans())
        joined = draw(st.lists(st.sampled_from(list(NETWORKS)), max_size=0 if foreseen else 3, unique=True))
        attachments = tuple(Attachment(n, (f"{NETWORKS[n]}.{number + 1}",)) for n in joined)
        identity = f"{number:064x}"
        image, role = draw(st.sampled_from(["agent:1", "agent:2"])), draw(st.sampled_from(["db-main", "web"]))
        found = Container(identity, name, image, {"role": role}, attachments, pid=number, foreseen=foreseen)
        containers[identity] = found
    networks = {
        name: Network(
            f"id-{name}", name, draw(st.booleans()), (ip_network(f"{prefix}.0/24"),), gateways=(f"{prefix}.1",)
        )
        for name, prefix in NETWORKS.items()
    }
    objects = {o: DataObject(o, (Inode(1, n + 100),)) for n, o in enumerate(OBJECTS)}
    return Facts(containers, networks, objects)


class Recorder:
    """Judges as the kernel does, by the whole host's image, and records as the agent does: names for numbers."""

    def __init__(self, policy, facts):
        self.policy, self.facts = policy, facts
        self.ids = allocate(Ids(), policy, facts)
        self.image = compile(policy, facts, self.ids, 4)

    def who(self, container):
        """The container with what selectors look at."""
        networks = tuple(a.network for a in container.attachments)
        inner = tuple(n for n in networks if self.facts.networks[n].internal)
        return Who(container.id, container.name, container.image, container.labels, networks, inner)

    def file(self, container, target, asked):
        """The event of an access to a data object; None if the policy does not protect it."""
        if target not in protect(self.policy, self.facts).objects:
            return None
        subject, number = self.ids.subject(container.id), self.ids.object(target)
        judged = judge_object(self.image, subject=subject, number=number, asked=asked)
        rule = self.image.reasons.get((subject, number), ())
        attempt = FileAttempt(target, "a/b", 7, 8)
        return event(self.who(container), attempt, asked=asked, judged=judged, rule=rule, hook=Hook.OPEN)

    def net(self, container, address, port):
        """The event of a TCP connection."""
        subject = self.ids.subject(container.id)
        judged = judge_net(self.image, subject=subject, address=address, protocol=6, port=port)
        peer = self.facts.containers.get(self.ids.container_of(judged.peer) or "")
        network = next((n.name for n in self.facts.networks.values() if self.ids.network(n.id) == judged.network), "")
        attempt = NetAttempt(address, port, 6, network, judged.external, peer.name if peer else "", judged.host)
        rule = self.image.reasons.get((subject, NET), ())
        return event(self.who(container), attempt, asked=Access.CONNECT, judged=judged, rule=rule, hook=Hook.CONNECT4)

    def everything(self):
        """Every attempt of every container."""
        for container in self.facts.containers.values():
            for target in OBJECTS:
                for asked in (Access.READ, Access.WRITE, Access.READ | Access.WRITE, Access.EXEC, Access.CONNECT):
                    yield self.file(container, target, asked)
            for prefix in NETWORKS.values():
                for last in range(1, 7):  # the gateway, the four containers, nobody
                    yield self.net(container, f"{prefix}.{last}", 443)
                    yield self.net(container, f"{prefix}.{last}", 5432)
            for outside in ("203.0.113.10", "203.0.113.11", "2001:db8::1"):
                yield self.net(container, outside, 443)


def event(who, attempt, *, asked, judged, rule=(), hook=Hook.OPEN, mechanism=Mechanism.LSM):
    """A record of what was judged."""
    return Event(
        sequence=1,
        time_ns=1_763_431_200_000_000_000,
        who=who,
        process=Process(1, 1, 0, "cat"),
        attempt=attempt,
        asked=asked,
        granted=judged.granted,
        mode=judged.mode,
        verdict=judged.verdict,
        mechanism=mechanism,
        hook=hook,
        generation=4,
        policy="ab" * 32,
        rule=rule,
    )


def beyond(recorded):
    """Does it depend on who holds an address outside the container's networks, which no event carries?"""
    attempt = recorded.attempt
    return isinstance(attempt, NetAttempt) and attempt.external and attempt.address.startswith("172.")


@settings(max_examples=60, deadline=None)
@given(policy=POLICIES, facts=hosts())
def test_the_running_policy_gives_every_recorded_verdict_again(policy, facts):
    """Judged on a host rebuilt from the event alone: the same verdict, grant, mode and rules as on the whole host."""
    events = (e for e in Recorder(policy, facts).everything() if e)
    recorded = [e for e in events if e.verdict is not Verdict.ALLOWED or not beyond(e)]
    for judged in replay(policy, recorded):
        was = judged.event
        assert (judged.verdict, judged.granted, judged.mode) == (was.verdict, was.granted, was.mode), was
        assert judged.rule == was.rule
        assert not judged.changed


@settings(max_examples=40, deadline=None)
@given(policy=POLICIES, other=POLICIES, facts=hosts())
def test_another_policy_is_judged_as_if_it_had_run(policy, other, facts):
    """What replay says of another policy is what that policy would have recorded on the same host."""
    recorded = [e for e in Recorder(policy, facts).everything() if e and not unseen(e, facts)]
    wanted = {key(e): e.verdict for e in Recorder(other, facts).everything() if e and not beyond(e)}
    for judged in replay(other, recorded):
        assert judged.verdict == wanted.get(key(judged.event), judged.verdict), judged.event


def unseen(recorded, facts):
    """Was it of a container that was only foreseen, which its event does not say where that decided nothing?"""
    return facts.containers[recorded.who.id].foreseen and recorded.rule != (FORESEEN,)


def key(recorded):
    """What identifies an attempt."""
    return recorded.who.name, recorded.attempt, recorded.asked


SERVICE = Who(id="cd" * 32, name="mcp-01", networks=("mcp-internal",), internal=("mcp-internal",))
WRITE_OTHERS = FileAttempt(ObjectId(Kind.VOLUME, "mcp-02-data"), "x", 1, 2)
GUARD = Policy(mode=Mode.ENFORCE, protected=(DataTarget(Kind.VOLUME, "mcp-*"),))
OPEN_DOOR = replace(
    GUARD,
    containers={"agents": Selector(name="mcp-*")},
    data_rules=(DataRule("data.rules[0]", ("agents",), read_write=(DataTarget(Kind.VOLUME, "mcp-*"),)),),
)


def denied(**parts):
    """A recorded denial of writing another agent's volume."""
    base = event(SERVICE, WRITE_OTHERS, asked=Access.WRITE, judged=_Denied())
    return replace(base, **parts)


class _Denied:
    granted, mode, verdict = Access.NONE, Mode.ENFORCE, Verdict.DENIED


@pytest.mark.parametrize(
    ("mechanism", "verdict", "mode"),
    [
        (Mechanism.TRACEPOINT, Verdict.KILLED, Mode.ENFORCE),
        (Mechanism.TRACEPOINT, Verdict.OBSERVED, Mode.ENFORCE),
        (Mechanism.AUDIT, Verdict.OBSERVED, Mode.ENFORCE),
        (Mechanism.SWEEP, Verdict.OBSERVED, Mode.ENFORCE),
        (Mechanism.MOUNT, Verdict.DENIED, Mode.ENFORCE),
    ],
)
def test_a_mechanism_that_can_do_less_is_no_change(mechanism, verdict, mode):
    """Killed, or only observed, because nothing better was there: the same policy decides the same."""
    [judged] = replay(GUARD, [denied(mechanism=mechanism, verdict=verdict, mode=mode)])
    assert (judged.changed, judged.verdict) == (False, verdict)


def test_an_open_file_is_observed_and_an_open_connection_is_cut():
    """Whatever mode it was found in: an enforcing policy takes no open file away."""
    found = {"mechanism": Mechanism.SWEEP, "verdict": Verdict.OBSERVED, "mode": Mode.MONITOR}
    net = {"attempt": NetAttempt("203.0.113.9", 443, 6, external=True), "asked": Access.CONNECT}
    nowhere = replace(OPEN_DOOR, net_rules=(NetRule("network.rules[0]", ("agents",)),))
    file, connection = replay(replace(nowhere, data_rules=()), [denied(**found), denied(**found, **net)])
    assert (file.changed, file.verdict) == (False, Verdict.OBSERVED)
    assert (connection.changed, connection.verdict) == (True, Verdict.DENIED)


def test_a_policy_in_monitor_mode_would_have_observed():
    """The mode is part of the decision: from enforce to monitor, what was denied would have been let through."""
    [judged] = replay(replace(GUARD, mode=Mode.MONITOR), [denied()])
    assert (judged.changed, judged.verdict) == (True, Verdict.OBSERVED)


def test_an_unnamed_container_stays_unnamed():
    """A container that Docker never told of has no row of its own, even under a rule for everybody."""
    everybody = replace(OPEN_DOOR, containers={"agents": Selector(name="*")})
    [judged] = replay(everybody, [denied(who=Who(id="", name="(unnamed)"))])
    assert judged.verdict is Verdict.DENIED


def test_what_could_not_be_placed_is_granted_to_nobody():
    """A file too deep to place is denied by every policy, in the mode of the container."""
    attempt = FileAttempt(ObjectId(Kind.PATH, "(too deep to place)"), "x", 1, 2)
    for policy in (OPEN_DOOR, Policy(mode=Mode.ENFORCE)):
        [judged] = replay(policy, [denied(attempt=attempt)])
        assert not judged.changed


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (ObjectId(Kind.PROCESS, "mcp-02-backend"), Verdict.OBSERVED),
        (ObjectId(Kind.HOST, "cgroup"), Verdict.OBSERVED),
        (ObjectId(Kind.HOST, "device of protected data"), Verdict.OBSERVED),
        (ObjectId(Kind.HOST, "enforcer"), Verdict.DENIED),
        (ObjectId(Kind.HOST, "journal"), Verdict.DENIED),
    ],
)
def test_what_is_no_data_object_is_granted_to_nobody(target, verdict):
    """It goes by the container's mode; what is the agent's own is denied in monitor mode, too."""
    attempt = FileAttempt(target, "", 0, 0)
    for policy in (OPEN_DOOR, GUARD):
        [judged] = replay(policy, [denied(attempt=attempt)])
        assert not judged.changed
    [judged] = replay(replace(GUARD, mode=Mode.MONITOR), [denied(attempt=attempt)])
    assert judged.verdict is verdict


def test_notices_are_passed_over():
    """What the agent noted is no attempt."""
    assert list(replay(GUARD, [Notice(1, 1, "started", "x")])) == []


def test_a_connection_to_itself_is_always_allowed():
    """The container's own address is no peer, whatever the policy."""
    policy = replace(GUARD, containers={"a": Selector()}, net_rules=(NetRule("network.rules[0]", ("a",)),))
    own = NetAttempt("172.21.0.2", 80, 6, "mcp-internal", peer="mcp-01")
    other = replace(own, peer="mcp-02")
    judged = list(replay(policy, [denied(attempt=a, asked=Access.CONNECT) for a in (own, other)]))
    assert [j.verdict for j in judged] == [Verdict.ALLOWED, Verdict.DENIED]


def test_what_changes_is_grouped_for_a_reader():
    """Attempts of one container on one target become one line with their sum and their first and last time."""
    comparison = Comparison()
    reads = denied(asked=Access.READ, count=5, rule=("data.rules[7]",))
    unchanged = denied(attempt=FileAttempt(ObjectId(Kind.PATH, "(too deep to place)"), "x", 1, 2), count=4)
    events = [denied(time_ns=30, count=2), denied(time_ns=10), reads, unchanged]
    for judged in replay(OPEN_DOOR, events):
        comparison.add(judged)
    read, write = comparison.changes
    assert (comparison.attempts, comparison.changed) == (12, 8)
    assert (write.container, write.target, write.asked) == ("mcp-01", "volume mcp-02-data", Access.WRITE)
    assert (write.was, write.now, write.rule) == (Verdict.DENIED, Verdict.ALLOWED, ("data.rules[0]",))
    assert (write.count, write.first, write.last) == (3, 10, 30)
    assert (read.asked, read.count, read.was_rule) == (Access.READ, 5, ("data.rules[7]",))


def test_each_question_is_compiled_once(monkeypatch):
    """A storm of one violation costs one compilation, not one for each record."""
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return compile(*args, **kwargs)

    monkeypatch.setattr("enforcer.core.hindsight.compile", counting)
    assert len(list(replay(GUARD, [denied(sequence=n) for n in range(100)]))) == 100
    assert len(calls) == 1


def test_all_addresses_of_a_network_are_judged_by_one_image(monkeypatch):
    """A scan over many destinations costs one compilation for those outside, and one for each network."""
    calls = []

    def counting(*args, **kwargs):
        calls.append(args)
        return compile(*args, **kwargs)

    monkeypatch.setattr("enforcer.core.hindsight.compile", counting)
    outside = [NetAttempt(f"203.0.113.{n}", 443, 6, "mcp-internal", external=True) for n in range(50)]
    inside = [NetAttempt(f"172.21.0.{n}", n, 6, "mcp-internal") for n in range(50)]
    assert len(list(replay(GUARD, [denied(attempt=a, asked=Access.CONNECT) for a in (*outside, *inside)]))) == 100
    assert len(calls) == 2


def test_two_policies_are_compared_on_what_was_recorded():
    """Not what was recorded counts then, but what the other policy makes of the same attempt."""
    [judged] = replay(OPEN_DOOR, [denied()], against=OPEN_DOOR)
    assert (judged.changed, judged.was, judged.was_rule) == (False, Verdict.ALLOWED, ("data.rules[0]",))
    [judged] = replay(GUARD, [denied()], against=OPEN_DOOR)
    assert (judged.changed, judged.was, judged.verdict) == (True, Verdict.ALLOWED, Verdict.DENIED)


def test_a_scan_does_not_fill_the_memory():
    """Beyond so many groups, what changes is grouped by network; the sums stay exact."""
    free = replace(GUARD, data_rules=())
    comparison = Comparison()
    for n in range(GROUPS + 500):
        to = NetAttempt(f"203.{n >> 16}.{n >> 8 & 255}.{n & 255}", 443, 6, "lan", external=True)
        [judged] = replay(
            free, [denied(attempt=to, asked=Access.CONNECT, who=replace(SERVICE, networks=(), internal=()))]
        )
        comparison.add(judged)
    rest = next(c for c in comparison.changes if c.target == "other addresses outside lan")
    assert (len(comparison.changes), comparison.changed, rest.count) == (GROUPS + 1, GROUPS + 500, 500)
