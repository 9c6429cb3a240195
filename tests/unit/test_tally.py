"""What many records come to: buckets of time, rows and columns, and the words over them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core import tally, tally_reach
from enforcer.core.event import FileAttempt, NetAttempt, Notice
from enforcer.core.model import Hook, Kind, Mechanism, ObjectId, Verdict
from enforcer.core.query import Query
from enforcer.core.tally import OTHERS, Overview
from enforcer.core.tally_reach import OTHER_TARGETS, Reaches, target_of
from enforcer.core.tally_time import FINE, KEPT, ORIGIN, WIDTHS, Timeline
from enforcer.core.tally_words import (
    EARLIEST,
    LATEST,
    compact,
    policy_words,
    query_words,
    range_words,
    ticks,
    totals_words,
    width_words,
)
from tests.unit.test_cli_log import CONNECT, NOTICE, START, WRITE

TIMES = st.integers(EARLIEST, LATEST) | st.integers(START, START + 3600 * 10**9) | st.integers(START, START + 10**6)
NAMES = st.sampled_from(["mcp-01", "mcp-02", "mallory", "database"])
VIOLATIONS = st.sampled_from([Verdict.OBSERVED, Verdict.DENIED, Verdict.KILLED])


@st.composite
def attempts(draw):
    """A record of some container at some time."""
    who = replace(WRITE.who, name=draw(NAMES))
    return replace(
        draw(st.sampled_from([WRITE, CONNECT])),
        who=who,
        time_ns=draw(TIMES),
        verdict=draw(VIOLATIONS),
        count=draw(st.integers(1, 9)),
    )


def fed(kind, items):
    """A tally of ``items``."""
    found = kind()
    for item in items:
        found.add(item)
    return found


@settings(max_examples=200, deadline=None)
@given(items=st.lists(attempts(), max_size=40), room=st.integers(2, 200))
def test_buckets_are_what_their_width_would_have_given_from_the_start(items, room):
    """However the range grew while it was read, each attempt is in the bucket of its time, and none is lost."""
    chart = fed(Timeline, items).chart(room, 100)
    assert chart.buckets <= room
    found = Counter()
    for bars in chart.rows:
        for verdict, counts in bars.counts.items():
            assert len(counts) == chart.buckets
            found.update({(bars.container, verdict, bucket): n for bucket, n in enumerate(counts) if n})
    wanted = Counter()
    for item in items:
        wanted[item.who.name, item.verdict, (item.time_ns - chart.start) // chart.width] += item.count
    assert found == wanted


@settings(deadline=None)
@given(items=st.lists(attempts(), min_size=1, max_size=30))
def test_the_order_of_records_changes_nothing(items):
    """A clock that jumps back gives the same picture."""
    assert fed(Timeline, items).chart(60, 9) == fed(Timeline, items[::-1]).chart(60, 9)


def test_widths_fit_into_each_other():
    """Those that are counted by have no remainder, and each is one that can be shown; all begin at midnight on a Monday."""
    assert all(wide % fine == 0 for fine, wide in pairwise(KEPT))
    assert set(KEPT) <= set(WIDTHS)
    assert list(WIDTHS) == sorted(set(WIDTHS))
    assert datetime.fromtimestamp(ORIGIN // 10**9, tz=UTC).strftime("%A %H:%M") == "Monday 00:00"


@pytest.mark.parametrize("width", KEPT)
def test_every_width_that_is_counted_by_leaves_enough_to_show(width):
    """Where counting becomes coarser, there are still more buckets than a terminal has columns for."""
    following = next((w for w in KEPT if w > width), width)
    assert FINE * width // following >= 100


def test_memory_does_not_grow_with_the_journal():
    """A hundred thousand records over years, by a thousand containers with a target each time another: what is kept is bounded."""
    timeline, reaches = Timeline(), Reaches()
    for n in range(100_000):
        who = replace(WRITE.who, name=f"run-{n % 1000}")
        attempt = NetAttempt(f"203.0.113.{n % 250}", n % 65536, 6, "mcp-internal", external=True)
        event = replace(CONNECT, who=who, attempt=attempt, time_ns=START + n * 3600 * 10**9, policy=f"{n:064x}")
        timeline.add(event)
        reaches.add(event)
    kept = timeline._counts
    assert len({name for name, _ in kept}) == tally.CONTAINERS + 1
    assert max(map(len, kept.values())) <= FINE
    assert sum(sum(c.values()) for c in kept.values()) == 100_000
    assert max(map(len, reaches._cells.values())) <= tally_reach.TARGETS + len(tally_reach._WIDE) + len(Kind)
    assert len(reaches.overview.policies) == tally.POLICIES
    assert policy_words(reaches.overview).endswith(" and more")
    assert sum(c.weight.attempts for c in reaches.grid(99, 99).cells.values()) == 100_000


def test_a_scan_does_not_push_out_what_another_did():
    """One container tries ten thousand ports; the one attempt of another keeps its own row and its own name."""
    scan = [replace(CONNECT, attempt=replace(CONNECT.attempt, port=port)) for port in range(1, 10_001)]
    reaches = fed(Reaches, [*scan, WRITE])
    grid = reaches.grid(50, 100)
    assert grid.cells["mcp-01", target_of(WRITE.attempt)].weight == (Verdict.DENIED, 3)
    assert grid.row_sums()["mcp-02"].attempts == 10_000
    assert len([t for t in grid.targets if t.text == "other addresses outside"]) == 1


def test_what_has_no_room_is_one_row_and_one_column():
    """The worst and then the most frequent are kept; nothing is lost from the sums."""
    items = [
        replace(
            WRITE,
            who=replace(WRITE.who, name=f"c{n}"),
            attempt=FileAttempt(ObjectId(Kind.VOLUME, f"v{n}"), "x", 5, 6),
            verdict=Verdict.KILLED if n == 5 else Verdict.DENIED,
            count=1 if n == 5 else n + 1,
        )
        for n in range(10)
    ]
    grid = fed(Reaches, items).grid(3, 3)
    assert grid.containers == ("c5", "c9", OTHERS)
    assert [t.text for t in grid.targets] == ["volume v5", "volume v9", OTHER_TARGETS]
    assert sum(c.weight.attempts for c in grid.cells.values()) == sum(i.count for i in items)
    rows = fed(Timeline, items).chart(10, 3).rows
    assert [bars.container for bars in rows] == ["c5", "c9", OTHERS]
    assert sum(bars.total for bars in rows) == sum(i.count for i in items)


@settings(deadline=None)
@given(items=st.lists(attempts(), max_size=40), rows=st.integers(2, 6), columns=st.integers(2, 6))
def test_a_grid_holds_every_attempt(items, rows, columns):
    """Whatever room there is."""
    grid = fed(Reaches, items).grid(rows, columns)
    assert len(grid.containers) <= rows
    assert len(grid.targets) <= columns
    assert sum(c.weight.attempts for c in grid.cells.values()) == sum(i.count for i in items)


def test_notices_and_what_was_allowed_are_no_violations():
    """A timeline shows violations; the matrix also what was allowed, where that is recorded."""
    allowed = replace(WRITE, verdict=Verdict.ALLOWED)
    assert fed(Timeline, [NOTICE, allowed]).chart(10, 10).rows == ()
    assert fed(Reaches, [NOTICE]).grid(9, 9).cells == {}
    (cell,) = fed(Reaches, [NOTICE, allowed]).grid(9, 9).cells.values()
    assert cell.weight == (Verdict.ALLOWED, 3)


TO = CONNECT.attempt


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (WRITE.attempt, "volume mcp-02-data"),
        (TO, "203.0.113.10:443/tcp"),
        (replace(TO, address="2001:db8::1"), "[2001:db8::1]:443/tcp"),
        (replace(TO, address="fe80::1%\x1b[2J"), "[fe80::1%\\x1b[2J]:443/tcp"),
        (replace(TO, port=0, protocol=1), "203.0.113.10 icmp"),
        (replace(TO, external=False, peer="database"), "container database:443/tcp"),
        (replace(TO, external=False, host=True), "host 203.0.113.10:443/tcp"),
        (NetAttempt("", 0, 1, socket="raw"), "raw socket"),
        (NetAttempt("127.0.0.11", 53, 17, "n", resolver=True, name="a\nb"), "name a\\x0ab"),
    ],
)
def test_targets_in_words(attempt, text):
    """A column says what was tried to reach, and no control character is in it."""
    assert target_of(attempt).text == text


def test_the_head_says_when_how_much_and_under_which_policy():
    """The range reaches from the first of several attempts on; the worst verdict comes first."""
    overview = Overview()
    assert (range_words(overview), totals_words(overview), policy_words(overview)) == ("", "", "")
    overview.add(replace(WRITE, first_ns=START - 10**9, count=1200, verdict=Verdict.KILLED))
    overview.add(CONNECT)
    assert range_words(overview) == "2025-11-18 01:59:59 to 2025-11-18 02:01:00 UTC"
    assert totals_words(overview) == "1,201 attempts: 1,200 killed, 1 observed"
    assert policy_words(overview) == "policy cdcdcdcdcdcd"


def test_a_picture_of_a_part_says_so():
    """Every criterion of a query is in its words, escaped."""
    assert query_words(Query()) == ""
    query = Query(
        since=START,
        until=START + 10**9,
        containers=("a*", "b\x1b"),
        objects=("o",),
        verdicts=(Verdict.DENIED,),
        kinds=("file",),
        mechanisms=(Mechanism.LSM,),
        hooks=(Hook.OPEN,),
        rules=("r",),
        processes=("p",),
    )
    assert query_words(query) == (
        "only since 2025-11-18 02:00:00; until 2025-11-18 02:00:01; container a* or b\\x1b; object o; verdict denied; "
        "kind file; mechanism lsm; hook open; rule r; process p"
    )


@given(start=TIMES, length=st.integers(1, 10**18), most=st.integers(2, 12))
def test_marks_are_few_and_in_range(start, length, most):
    """Each with a label; never more than asked for."""
    marks = ticks(start, start + length, most)
    assert len(marks) <= most
    assert all(start <= at < start + length and label for at, label in marks)


def test_numbers_in_words():
    """Short enough for a cell, and never more than it is."""
    assert [compact(n) for n in (0, 999, 1000, 1999, 9999, 34_567, 999_999, 5_600_000, 10**9, 10**13)] == [
        "0", "999", "1k", "1.9k", "9.9k", "34k", "999k", "5.6M", "1G", "10T",
    ]  # fmt: skip
    assert [width_words(n * 10**6) for n in (1, 1000, 90_000, 60_000, 3_600_000, 86_400_000)] == [
        "1 ms", "1 s", "90 s", "1 min", "1 h", "1 d",
    ]  # fmt: skip


def test_notices_do_not_count():
    """Not even in the range."""
    timeline = fed(Timeline, [Notice(1, 0, "a", "b"), WRITE])
    assert timeline.overview.first == START
