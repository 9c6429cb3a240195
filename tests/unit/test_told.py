"""One record in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from enforcer.core.event import Notice
from enforcer.core.model import Hook, Mechanism, Mode, Verdict
from enforcer.core.told import HOOKS, ONLY_SEEN, PREVENTED, PUNISHED, effect, told
from enforcer.core.words import escape
from tests.edges.test_ecs import EVENTS, NOTICES
from tests.unit.test_cli_log import CONNECT, NOTICE, START, WRITE

FULL = replace(
    WRITE,
    who=replace(WRITE.who, image="agent:1", labels={"team": "red", "a": "b"}),
    process=replace(WRITE.process, tid=32),
    first_ns=START - 1,
    errno=30,
)


def test_every_hook_has_words():
    """A new one must be told, too."""
    assert set(HOOKS) == set(Hook)


def test_nothing_that_is_known_is_left_out():
    """Each fact of the record stands somewhere in its words."""
    said = dict(told(FULL))
    assert said["attempts"] == (
        "3 alike in one record, the first at 2025-11-18T01:59:59.999999999Z, the last at 2025-11-18T02:00:00.000000000Z"
    )
    assert said["labels"] == "a=b, team=red"
    assert "labels left out" not in said
    cut = dict(told(replace(FULL, who=replace(FULL.who, labels_cut=3))))
    assert cut["labels left out"] == "3, which were too long to be recorded"
    assert said["process"] == "c\\x1b[2Jat, pid 31 on the host, thread 32, uid 1001"
    assert said["errno"] == "30 from what refused it before"
    assert said["policy"] == f"{'cd' * 32}, generation 3, enforce"
    assert said["rules"] == "data.rules[0]"
    for fact in (FULL.who.id, "agent:1", "mcp-internal (internal)", "evil\\x0aname", "volume mcp-02-data"):
        assert fact in said.values()


def test_a_destination_is_placed():
    """Where the address is, seen from the container."""
    assert dict(told(CONNECT))["place"] == "outside the container's networks; it would have left mcp-internal"
    inside = replace(CONNECT, attempt=replace(CONNECT.attempt, external=False, peer="database"))
    assert dict(told(inside))["place"] == "container database on network mcp-internal"
    host = replace(CONNECT, attempt=replace(CONNECT.attempt, external=False, host=True))
    assert dict(told(host))["place"] == "the host on network mcp-internal"
    name = replace(CONNECT, attempt=replace(CONNECT.attempt, resolver=True, name="x.example"))
    assert dict(told(name))["place"] == "a name that is not on mcp-internal"


@pytest.mark.parametrize(
    ("verdict", "mechanism", "mode", "begins"),
    [
        (Verdict.DENIED, Mechanism.LSM, Mode.ENFORCE, PREVENTED),
        (Verdict.DENIED, Mechanism.FMOD_RET, Mode.ENFORCE, PREVENTED),
        (Verdict.DENIED, Mechanism.CGROUP, Mode.ENFORCE, PREVENTED),
        (
            Verdict.DENIED,
            Mechanism.MOUNT,
            Mode.ENFORCE,
            "prevented by the mount or the file's mode, not by the enforcer",
        ),
        (Verdict.DENIED, Mechanism.SWEEP, Mode.ENFORCE, "found after the fact"),
        (Verdict.DENIED, Mechanism.NFT, Mode.ENFORCE, "prevented by the host's packet filter"),
        (Verdict.KILLED, Mechanism.TRACEPOINT, Mode.ENFORCE, PUNISHED),
        (Verdict.OBSERVED, Mechanism.LSM, Mode.MONITOR, f"{ONLY_SEEN}, in monitor mode"),
        (Verdict.OBSERVED, Mechanism.AUDIT, Mode.ENFORCE, f"{ONLY_SEEN}, by the kernel's audit, which can only watch"),
        (Verdict.OBSERVED, Mechanism.SWEEP, Mode.ENFORCE, f"{ONLY_SEEN}, when the agent looked"),
        (Verdict.ALLOWED, Mechanism.LSM, Mode.ENFORCE, "allowed"),
    ],
)
def test_what_the_mechanism_means(verdict, mechanism, mode, begins):
    """A responder must know whether data may be gone: denial by a hook prevents, a kill comes after the fact."""
    assert effect(replace(WRITE, verdict=verdict, mechanism=mechanism, mode=mode)).startswith(begins)


def test_a_notice_is_told_with_its_own_facts():
    """All its fields, and how it ended."""
    said = dict(told(replace(NOTICE, outcome="failure", fields={"container": "mcp-03", "n": 3})))
    assert said["action"] == "policy-loaded by the agent: failure"
    assert (said["container"], said["n"]) == ("mcp-03", "3")


def test_death_may_come_in_time():
    """A program that is killed before its first instruction has done nothing; a reader may have read."""
    killed = replace(WRITE, verdict=Verdict.KILLED, mechanism=Mechanism.TRACEPOINT)
    assert effect(replace(killed, hook=Hook.EXEC)) == "killed before the program's first instruction"
    assert effect(killed) == PUNISHED


def test_nobody_in_particular():
    """What was noted for a container as a whole has no process."""
    nobody = replace(WRITE, process=replace(WRITE.process, pid=0, tid=0, name=""))
    assert "process" not in dict(told(nobody))


@given(item=EVENTS | NOTICES)
def test_no_control_character_is_told(item):
    """Whatever names were chosen."""
    assert all(label.isprintable() and text.isprintable() for label, text in told(item))


@given(notice=NOTICES)
def test_every_field_of_a_notice_is_there(notice):
    """Escaped; an empty one says nothing."""
    said = told(Notice(1, 0, "a", "b", fields=notice.fields))
    assert all((escape(k), escape(str(v))) in said for k, v in notice.fields.items() if str(v))
