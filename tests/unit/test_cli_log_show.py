"""``log show``, and the filters that ``log`` has beside time, container, object, verdict and kind."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from enforcer.cli import cli
from enforcer.cli.log import log_group
from enforcer.cli.log_show import find, line_of, neighbours
from enforcer.core.event import NetAttempt, Notice
from enforcer.core.model import Hook, Mechanism
from enforcer.edges.ecs import decode, encode
from enforcer.edges.journal import Journal
from enforcer.edges.segments import first_sequence, sealed, segment_name, segments_of
from enforcer.errors import EdgeError, UsageError
from enforcer.settings import Limits
from tests.unit.test_cli_log import CONNECT, NOTICE, START, WRITE, found, run

OTHER = replace(WRITE, who=replace(WRITE.who, name="mcp-09", id="09" * 32))
NAME = replace(CONNECT, attempt=NetAttempt("127.0.0.11", 53, 17, "mcp-internal", resolver=True, name="x.example"))
SOCKET = replace(CONNECT, attempt=NetAttempt("", 0, 1, socket="raw"), hook=Hook.SOCKET)
BLOCK = Notice(0, START, "block", "network n is blocked", fields={"network": "mcp-internal", "id": "ff" * 32})
ORDER = Notice(0, START, "quarantine", "mcp-01 is quarantined", fields={"container": "mcp-01", "id": "ab" * 32})
RECORDS = [WRITE, OTHER, NAME, SOCKET, BLOCK, ORDER, replace(WRITE, mechanism=Mechanism.TRACEPOINT)]


@pytest.fixture
def journal(tmp_path):
    """A directory with the records above."""
    with Journal(tmp_path / "log") as opened:
        opened.append(RECORDS)
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--mechanism", "cgroup"], [3, 4]),
        (["--mechanism", "lsm", "--mechanism", "tracepoint"], [1, 2, 7]),
        (["--hook", "socket"], [4]),
        (["--hook", "open"], [1, 2, 7]),
        (["--rule", "data.rules[0]"], [1, 2, 7]),
        (["--rule", "data.*"], [1, 2, 7]),
        (["--rule", "network.*"], []),
        (["--process", "c*at"], [1, 2, 3, 4, 7]),
        (["--process", "nc"], []),
        (["--object", "x.example"], [3]),
        (["--object", "raw"], [4]),
        (["--object", "mcp-internal"], [3, 5]),
        (["--container", "mcp-01"], [1, 6, 7]),
        (["--container", "09" * 32], [2]),
        (["--container", "ab" * 6], [1, 3, 4, 6, 7]),
        (["--container", "*"], [1, 2, 3, 4, 6, 7]),
        (["--container", "ff" * 32], []),
        (["--kind", "notice", "--verdict", "denied"], []),
        (["--kind", "notice", "--container", "mcp-01"], [6]),
    ],
)
def test_each_filter_holds(journal, options, numbers):
    """Of notices those are found that name the container or the network; they have no verdict, process or rule."""
    assert found(journal, *options) == numbers


def test_an_attempt_by_nobody_known_is_found_by_any_name(tmp_path):
    """A container without a name must not hide from ``--container '*'``."""
    with Journal(tmp_path) as opened:
        opened.append([replace(WRITE, who=replace(WRITE.who, name="", id=""))])
    assert found(tmp_path, "--container", "*") == [1]


def test_count_says_what_the_records_come_to(journal):
    """Attempts, not records; as JSON, too."""
    _, text = run(log_group, "--journal", journal, "--count", "--container", "mcp-01")
    assert text.splitlines()[2].split()[:3] == ["mcp-01", "denied", "6"]
    _, text = run(log_group, "--journal", journal, "--count", "--format", "json", "--container", "mcp-09")
    (total,) = json.loads(text)
    assert (total["container"], total["attempts"]) == ("mcp-09", 3)
    assert run(log_group, "--journal", journal, "--count", "--kind", "notice") == (0, "no attempt is recorded\n")


def test_count_and_follow_exclude_each_other(journal):
    """There would never be an answer."""
    code, text = run(log_group, "--journal", journal, "--count", "--follow")
    assert code == 2
    assert "no end" in text


@pytest.mark.parametrize("command", ["show", "timeline", "matrix"])
def test_an_option_before_the_commands_name_is_refused(journal, command):
    """It would be lost silently, and the answer be of the wrong journal or of all containers."""
    words = [command, "1"] if command == "show" else [command]
    code, text = run(log_group, "--journal", journal, "--container", "mcp-01", *words)
    assert code == 2
    assert "--journal, --container" in text
    assert "stand behind its name" in text


def test_show_says_everything(journal):
    """The record in words, its place, and what the same container did around it."""
    code, text = run(log_group, "show", "7", "--journal", journal)
    assert code == 0
    head, before, after = text.split("\n\n", 1)[1].split("\n\n")
    said = dict(line.split(None, 1) for line in head.splitlines())
    assert said["container"] == "mcp-01"
    assert said["effect"].startswith("prevented")
    path, _, line = said["journal"].rpartition(":")
    with open(path, "rb") as segment:
        assert decode(segment.read().splitlines()[int(line) - 1]).sequence == 7
    rows = before.splitlines()
    assert rows[0] == "before of this container"
    assert [row.split()[1] for row in rows[2:]] == ["mcp-02", "mcp-02", "mcp-01"]
    assert after.splitlines() == ["after of this container", "nothing"]


def test_show_as_json_is_the_line_itself(journal):
    """To the byte, with whatever else is in it than the record; it can be shown and hashed."""
    (segment,) = journal.glob("*.jsonl")
    lines = segment.read_text().splitlines()
    for number in (2, len(RECORDS)):
        code, text = run(log_group, "show", str(number), "--journal", journal, "--format", "json")
        assert (code, text) == (0, f"{lines[number - 1]}\n")
    assert "chain" in json.loads(text)["enforcer"]


def test_the_neighbours_are_of_the_same_container(tmp_path):
    """By its id: another container that had the name before is another."""
    successor = replace(WRITE, who=replace(WRITE.who, id="cc" * 32))
    with Journal(tmp_path) as opened:
        opened.append([WRITE, successor, OTHER, *[WRITE] * 5, OTHER])
    _, text = run(log_group, "show", "1", "--journal", tmp_path)
    assert "before of this container\nnothing\n" in text
    assert text.count("mcp-01   ") == 3
    _, text = run(log_group, "show", "2", "--journal", tmp_path)
    assert text.count("\nnothing\n") == 2


def test_a_journal_of_many_segments(tmp_path):
    """The record is found in its segment, its neighbours over the borders, wherever they are."""
    for first in range(1, 40, 4):
        lines = [encode(WRITE if n in (2, 5, 30, 38) else OTHER, n) for n in range(first, first + 4)]
        (tmp_path / segment_name(first)).write_bytes(b"".join(lines))
    place = find(tmp_path, 30)
    assert (place.segment.name, place.line) == (segment_name(29), 2)
    before, after = neighbours(tmp_path, place)
    assert ([i.sequence for i in before], [i.sequence for i in after]) == ([2, 5], [38])
    before, after = neighbours(tmp_path, find(tmp_path, 3))
    assert ([i.sequence for i in before], [i.sequence for i in after]) == ([1], [4, 6, 7])
    before, after = neighbours(tmp_path, find(tmp_path, 40))
    assert ([i.sequence for i in before], after) == ([36, 37, 39], [])
    (tmp_path / segment_name(1)).write_bytes(b"rubbish\n")
    assert find(tmp_path, 40).line == 4


@pytest.fixture
def sealed_journal(tmp_path):
    """Each record in a segment of its own, all but the last compressed and indexed."""
    with Journal(tmp_path / "sealed", Limits(segment_size=1)) as opened:
        for item in RECORDS:
            opened.append([item])
        opened.close(settle=True)
    return tmp_path / "sealed"


def test_sealed_segments_are_asked_too(sealed_journal):
    """The place is the file that a responder has before him; the line is what ``zstdcat`` shows of it."""
    _, text = run(log_group, "show", "2", "--journal", sealed_journal)
    assert text.split("\n\n")[1].endswith(".jsonl.zst:1")
    code, text = run(log_group, "show", "2", "--journal", sealed_journal, "--format", "json")
    assert (code, decode(text.encode()).who.name) == (0, "mcp-09")


@pytest.mark.parametrize("asked", ["09" * 32, "09" * 6, "mcp-09", "0*"])
def test_an_index_hides_nothing(sealed_journal, asked):
    """It knows names only: who asks by an id, or by what may be one, is answered all the same."""
    assert found(sealed_journal, "--container", asked) == [2]


def test_segments_that_hold_nothing_of_it_are_passed_over(sealed_journal):
    """By name: what is damaged elsewhere is not even opened; by an id it must be."""
    (other,) = (s for s in segments_of(sealed_journal) if first_sequence(s) == 2)
    other.write_bytes(other.read_bytes()[:-8] + b"\0" * 8)
    assert found(sealed_journal, "--container", "mcp-02") == [3, 4]
    for asked in ("mcp-09", "ab" * 32):
        with pytest.raises(EdgeError):
            found(sealed_journal, "--container", asked)


def test_a_segment_of_any_name_can_be_shown(tmp_path):
    """A copy that a responder has taken away."""
    (tmp_path / "evidence").write_bytes(encode(WRITE, 7))
    assert find(tmp_path / "evidence", 7).line == 1


def test_a_notice_about_nobody_has_the_records_around_it(tmp_path):
    """What came before the policy was loaded, whoever did it."""
    with Journal(tmp_path) as opened:
        opened.append([WRITE, replace(NOTICE, fields={}), OTHER])
    _, text = run(log_group, "show", "2", "--journal", tmp_path)
    assert "\nbefore\n" in text
    assert "\nafter\n" in text
    assert "nothing" not in text


def test_show_moves_no_cursor(journal):
    """A file name that holds an escape sequence."""
    _, text = run(log_group, "show", "1", "--journal", journal)
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_number_that_is_not_there_is_the_callers_mistake(journal, tmp_path):
    """So is a journal that is not there; a damaged one is a neighbour's failure."""
    with pytest.raises(UsageError, match="has no record 99"):
        run(log_group, "show", "99", "--journal", journal)
    with pytest.raises(UsageError, match="no journal at"):
        run(log_group, "show", "1", "--journal", tmp_path / "x")
    next(journal.glob("*.jsonl")).write_bytes(b"rubbish\n")
    with pytest.raises(EdgeError, match="not JSON"):
        run(log_group, "show", "1", "--journal", journal)


def test_the_help_lists_what_log_can_do():
    """``enforcer log --help`` and ``enforcer --help`` name the commands."""
    assert all(word in run(cli, "log", "--help")[1] for word in ("show", "timeline", "matrix", "--mechanism"))
    assert "export" in run(cli, "--help")[1]


def test_a_segment_that_is_sealed_or_removed_meanwhile(tmp_path):
    """Between finding the record and looking around it: sealed it is found on; removed, that is said."""
    with Journal(tmp_path, Limits(segment_size=1)) as opened:
        for _ in range(3):
            opened.append([WRITE])
        opened.close()
    place = replace(find(tmp_path, 2), segment=tmp_path / segment_name(2))
    with Journal(tmp_path) as opened:
        opened.close(settle=True)
    assert not place.segment.exists()
    before, after = neighbours(tmp_path, place)
    assert ([i.sequence for i in before], [i.sequence for i in after]) == ([1], [3])
    assert json.loads(line_of(place))["event"]["sequence"] == 2
    sealed(place.segment).unlink()
    with pytest.raises(UsageError, match="record 2 was just removed"):
        neighbours(tmp_path, place)
