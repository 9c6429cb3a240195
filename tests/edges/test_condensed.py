"""A journal read for what it comes to: the same attempts as line by line, however they are written, and as strictly."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.query import Query
from enforcer.core.replay import Comparison, Replay
from enforcer.edges import condensed
from enforcer.edges.condensed import Condensed
from enforcer.edges.ecs import encode
from enforcer.edges.index import holds_records_only, index_of
from enforcer.edges.journal import Journal
from enforcer.edges.seal import tidy
from enforcer.edges.segments import read, sealed, segment_name, segments_of
from enforcer.errors import EdgeError
from enforcer.settings import Limits
from tests.edges.test_journal import EVENT
from tests.unit.test_replay import POLICIES, Recorder, hosts

START = 1_763_431_200_000_000_000


@st.composite
def journals(draw):
    """Batches of records as an agent writes them: attempts of one host in any order and number, notices between them."""
    known = [e for e in Recorder(draw(POLICIES), draw(hosts())).everything() if e] or [None]
    chosen = draw(st.lists(st.sampled_from(known), max_size=40))
    items: list[Event | Notice] = []
    for number, event in enumerate(chosen):
        time = START + draw(st.integers(0, 10**12))
        if event is None or draw(st.integers(0, 9)) == 0:
            items.append(Notice(0, time, "policy-loaded", "x", fields={"n": number}))
            continue
        count = draw(st.integers(1, 3))
        first = time - 10**9 if count > 1 else draw(st.sampled_from([0, time]))
        process = Process(draw(st.integers(1, 9)), 1, 0, draw(st.sampled_from(["cat", "sh"])))
        items.append(replace(event, time_ns=time, first_ns=first, count=count, process=process))
    sizes = draw(st.lists(st.integers(1, 7), min_size=1, max_size=10))
    batches = []
    while items:
        size = sizes[len(batches) % len(sizes)]
        batches.append(items[:size])
        items = items[size:]
    return batches


def written(directory, batches):
    """The directory of a journal with these batches."""
    with Journal(directory) as journal:
        for batch in batches:
            journal.append(batch)
    return directory


def sums(events):
    """Who tried what with which verdict: how often, first and last."""
    found: dict[object, tuple[int, int, int]] = {}
    for e in events:
        if isinstance(e, Event):
            attempt = (
                replace(e.attempt, path="", inode=0, device=0) if isinstance(e.attempt, FileAttempt) else e.attempt
            )
            key = (e.who.name, attempt, e.asked, e.verdict, e.mode, e.mechanism, e.rule)
            n, first, last = found.get(key, (0, e.first_ns or e.time_ns, 0))
            found[key] = (n + e.count, min(first, e.first_ns or e.time_ns), max(last, e.time_ns))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=journals(), room=st.sampled_from([2, 10, 1 << 16]), block=st.sampled_from([100, 5000, 1 << 16]))
def test_it_comes_to_the_same(tmp_path_factory, batches, room, block):
    """Line by line or condensed: the same sums with the same first and last times, whatever the size of block and table."""
    directory = written(tmp_path_factory.mktemp("j") / "journal", batches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(condensed, "ROOM", room)
        patch.setattr(condensed, "BLOCK", block)
        assert sums(Condensed(Query(), lambda _: False).events([directory])) == sums(read([directory]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=journals(), policy=POLICIES, other=st.none() | POLICIES)
def test_replay_finds_the_same(tmp_path_factory, batches, policy, other):
    """What a policy changes is the same, also where destinations are not told apart because none of them changes."""
    directory = written(tmp_path_factory.mktemp("j") / "journal", batches)
    replay, quick, slow = Replay(policy, other), Comparison(), Comparison()
    for event in Condensed(Query(), replay.alike).events([directory]):
        quick.add(replay.judge(event))
    for item in read([directory]):
        if isinstance(item, Event):
            slow.add(replay.judge(item))
    assert (quick.attempts, quick.changed, quick.changes) == (slow.attempts, slow.changed, slow.changes)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=journals(), since=st.integers(0, 10**12), length=st.integers(0, 10**12))
def test_a_question_is_asked_of_each_line(tmp_path_factory, batches, since, length):
    """Filters choose the same records as line by line."""
    directory = written(tmp_path_factory.mktemp("j") / "journal", batches)
    query = Query(
        START + since, START + since + length, ("mcp-*",), ("172.*", "volume:*"), (Verdict.ALLOWED, Verdict.DENIED)
    )
    asked = sums(item for item in read([directory]) if query.matches(item))
    assert sums(Condensed(query, lambda _: True).events([directory])) == asked


WHO = Who("ab" * 32, "mcp-01", networks=("mcp-internal",), internal=("mcp-internal",))
ATTEMPT = Event(
    sequence=1,
    time_ns=START,
    who=WHO,
    process=Process(1, 1, 0, "cat"),
    attempt=NetAttempt("203.0.113.9", 443, 6, "mcp-internal", external=True),
    asked=Access.CONNECT,
    granted=Access.NONE,
    mode=Mode.ENFORCE,
    verdict=Verdict.DENIED,
    mechanism=Mechanism.CGROUP,
    hook=Hook.CONNECT4,
    generation=1,
    policy="ab" * 32,
)
GOOD = encode(ATTEMPT, 1)
NEWER = GOOD.replace(b'"schema":2', b'"schema":99')


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (b"no json\n", "not JSON"),
        (b"\n", "not JSON"),
        (GOOD[:40] + b"\n" + GOOD[40:], "not JSON"),
        (GOOD[:-1] + GOOD, "not JSON"),
        (b"{}\n", "not a record"),
        (NEWER, "schema 99 is unknown"),
        (GOOD.replace(b'"denied"', b'"blessed"'), "blessed"),
        (GOOD.replace(b"203.0.113.9", b"203.0.113.999"), "203.0.113.999"),
        (GOOD.replace(b"2025-11-18T02:00:00.000000000Z", b"2025-11-18 02:00:00"), "not a time"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_a_line_that_is_none_of_ours_is_named(tmp_path, bad, complaint, before):
    """As strictly as line by line, with file and line, wherever in a file it stands."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(GOOD * before + bad + GOOD)
    with pytest.raises(EdgeError, match=complaint) as raised:
        list(Condensed(Query(), lambda _: False).events([path]))
    assert f"{path}:{before + 1}: " in str(raised.value)


DAMAGES = [
    GOOD.replace(b'"sequence":1,', b'"sequence":1,,,,\xff'),
    GOOD.replace(b"mcp-01 tried", b"mcp-01 \xff tried"),
    GOOD.replace(b"mcp-01 tried", b"mcp-01 \0 tried"),
    b"\0" * 512 + GOOD,
    GOOD[:100] + GOOD,
    GOOD[:300] + GOOD,
    GOOD.replace(b'"@timestamp":"2025-11-18', b'"@timestamp":"2025-99-99'),
    GOOD[:-1] + GOOD + b"\n",
    b"\n" + GOOD[:-1] + GOOD,
]


@pytest.mark.parametrize("bad", DAMAGES)
@pytest.mark.parametrize("question", [Query(), Query(since=1)])
@pytest.mark.parametrize("before", [0, 500])
def test_damage_before_what_is_known_is_named(tmp_path, bad, question, before):
    """Also where lines are only counted, some blocks after the first of their kind: with file and line, as line by line."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(GOOD * before + bad + GOOD * 3)
    with pytest.raises(EdgeError) as slow:
        list(read([path]))
    with pytest.raises(EdgeError) as quick:
        list(Condensed(question, lambda _: False).events([path]))
    assert str(quick.value) == str(slow.value)
    assert f"{path}:{before + 1}: " in str(quick.value)


@pytest.mark.parametrize("bad", [*DAMAGES, GOOD.replace(b'"pid":1,', b'"pid":"1",')])
def test_damage_that_was_sealed_is_named(tmp_path, bad):
    """What an index says of a segment hides nothing: all its lines are counted unlooked at only if each of them was a record."""
    path = tmp_path / segment_name(1)
    path.write_bytes(GOOD * 500 + bad + GOOD * 3)
    assert tidy(tmp_path, tmp_path / segment_name(9), set(), lambda: None) == ""
    assert (index_of(sealed(path)) is not None, path.exists()) == (True, False)
    with pytest.raises(EdgeError) as slow:
        list(read([tmp_path]))
    with pytest.raises(EdgeError) as quick:
        list(Condensed(Query(), lambda _: False).events([tmp_path]))
    assert str(quick.value) == str(slow.value)


def test_what_was_sealed_comes_to_the_same(tmp_path):
    """And is not looked at twice: the index has said that each line is a record."""
    path = tmp_path / segment_name(1)
    path.write_bytes(GOOD * 500 + GOOD.replace(b'"count":1', b'"count":5'))
    assert tidy(tmp_path, tmp_path / segment_name(9), set(), lambda: None) == ""
    assert holds_records_only(sealed(path))
    assert not holds_records_only(path)
    assert [e.count for e in Condensed(Query(), lambda _: False).events([tmp_path])] == [505]


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999999999Z", "0001-01-01T00:00:00.000000001Z"])
def test_an_odd_time_is_counted_once(tmp_path, time):
    """One that only we write is no damage, and what was counted before it was looked at is not counted again."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(GOOD * 500 + GOOD.replace(b"2025-11-18T02:00:00.000000000Z", time.encode()) + GOOD)
    assert sums(Condensed(Query(), lambda _: False).events([path])) == sums(read([path]))


def test_a_hidden_count_counts_nothing(tmp_path):
    """A count or a chain that stands where none of ours writes it is not taken for the line's own."""
    odd = GOOD.replace(b'"schema":2', b'"schema":2,"zzz":{"count":7}')
    path = tmp_path / "events.jsonl"
    path.write_bytes(GOOD + odd + odd + GOOD.replace(b'"count":1', b'"count":5'))
    assert [e.count for e in Condensed(Query(), lambda _: False).events([path])] in ([6, 1, 1], [6, 2])


def test_what_is_alike_is_one(tmp_path):
    """Where the destination makes no difference, a scan is one event; else one for each."""
    path = tmp_path / "events.jsonl"
    lines = [encode(replace(ATTEMPT, attempt=replace(ATTEMPT.attempt, address=f"203.0.113.{n}")), n) for n in range(50)]
    path.write_bytes(b"".join(lines))
    assert [e.count for e in Condensed(Query(), lambda _: True).events([path])] == [50]
    assert Counter(e.count for e in Condensed(Query(), lambda _: False).events([path])) == {1: 50}


def test_objects_that_differ_are_told_apart(tmp_path):
    """By name and kind, not by their path."""
    path = tmp_path / "events.jsonl"
    attempts = [
        FileAttempt(ObjectId(Kind.VOLUME, name), where, n, 1) for n, (name, where) in enumerate(["ax", "ay", "bx"])
    ]
    path.write_bytes(b"".join(encode(replace(ATTEMPT, attempt=a), 1) for a in attempts))
    assert sorted(e.count for e in Condensed(Query(), lambda _: True).events([path])) == [1, 2]


def test_a_label_is_no_section(tmp_path):
    """What is left out of a comparison is the section `destination`, not what a label is called."""
    path = tmp_path / "events.jsonl"
    labels = ({"destination": "x", "network": "{y"}, {"destination": "z", "network": "{y"})
    lines = [encode(replace(ATTEMPT, who=replace(WHO, labels=found)), n) for n, found in enumerate(labels * 3)]
    path.write_bytes(b"".join(lines))
    events = list(Condensed(Query(), lambda _: True).events([path]))
    assert [(e.count, e.who.labels) for e in events] == [(3, found) for found in labels]


def test_the_end_of_a_batch_is_no_other_attempt(tmp_path):
    """The chain that ends a batch makes no difference, however many batches there are."""
    with Journal(tmp_path / "journal") as journal:
        for _ in range(20):
            journal.append([ATTEMPT, ATTEMPT])
    assert [e.count for e in Condensed(Query(), lambda _: False).events([tmp_path / "journal"])] == [40]


def test_a_sealed_segment_is_read_as_well(tmp_path):
    """Compressed or not, it comes to the same."""
    path = tmp_path / "events-00000000000000000001.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(GOOD * 5000))
    assert [e.count for e in Condensed(Query(), lambda _: False).events([tmp_path])] == [5000]


def test_a_truncated_segment_is_said(tmp_path):
    """What is left of it is not taken for all of it."""
    path = tmp_path / "events-00000000000000000001.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(GOOD * 5000)[:-20])
    with pytest.raises(EdgeError):
        list(Condensed(Query(), lambda _: False).events([tmp_path]))


def test_what_retention_removes_meanwhile_is_passed_over(tmp_path):
    """As a reader line by line does: the segment was listed, and is in no form there any more."""
    with Journal(tmp_path, Limits(segment_size=1)) as journal:
        for _ in range(4):
            journal.append([EVENT])
        journal.close(settle=True)
    found = Condensed(Query(), lambda _: True).events([tmp_path])
    first = next(found)
    segments_of(tmp_path)[1].unlink()
    assert first.count + sum(event.count for event in found) == 3 * EVENT.count


def test_a_batch_without_an_end_counts_nothing(tmp_path, monkeypatch):
    """The disk may still refuse it: as when read line by line, whatever the size of the blocks."""
    written(tmp_path, [[EVENT] * 3, [EVENT] * 4])
    [segment] = segments_of(tmp_path)
    whole = segment.read_bytes()
    for cut in (len(whole) - 1, whole.rfind(b"\n", 0, -1) + 1):
        segment.write_bytes(whole[:cut])
        for size in (1, 1 << 10, 1 << 20):
            monkeypatch.setattr(condensed, "BLOCK", size)
            found = list(Condensed(Query(), lambda _: False).events([tmp_path]))
            assert (
                sum(e.count for e in found)
                == sum(e.count for e in read([tmp_path]) if isinstance(e, Event))
                == 3 * EVENT.count
            )
