"""``log verify``: what was removed, changed or put elsewhere in a journal is found, with its place."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from click.testing import CliRunner

from enforcer.cli.log_verify import verify_command
from enforcer.core.verification import MOST_FAULTS
from enforcer.edges.chained import verify
from enforcer.edges.index import index_of, index_path
from enforcer.edges.journal import Journal
from enforcer.edges.segments import segment_name, segments_of
from enforcer.settings import LIMITS, Limits
from tests.edges.test_journal import EVENT, NOTICE
from tests.edges.test_segments import seal

SMALL = Limits(segment_size=1)  # each batch in a segment of its own


def journal_of(directory, *sizes, limits=LIMITS):
    """Batches of so many records; what is complete is sealed. The lines of its one segment, if it is one."""
    with Journal(directory, limits) as journal:
        for size in sizes:
            journal.append([EVENT] * size)
        journal.close(settle=True)
    return segments_of(directory)


def faults(path, **options):
    """Kind, line and record of what is wrong."""
    return [(fault.kind, fault.line, fault.sequence) for fault in verify(path, **options).faults]


@pytest.fixture
def segment(tmp_path):
    """One plain segment: records 1 to 3, 4 to 6 and 7 to 9 in three batches."""
    [found] = journal_of(tmp_path / "log", 3, 3, 3)
    return found


def edited(segment, edit):
    """The segment with its lines as ``edit`` gives them back."""
    segment.write_bytes(b"".join(edit(segment.read_bytes().splitlines(keepends=True))))
    return segment.parent


def test_a_journal_that_is_as_it_was_is_right(segment):
    """No fault; the head is the last digest, and the number of the last record is told."""
    found = verify(segment.parent)
    assert found.faults == []
    assert (found.records, found.last) == (9, 9)
    assert f'"sha256":"{found.head}"'.encode() in segment.read_bytes().splitlines()[-1]


@pytest.mark.parametrize("line", range(9))
@pytest.mark.parametrize("word", [b'"mcp-01"', b'"pid":31', b'"schema":2', b'"module":"enforcer"'])
def test_a_changed_line_is_found(segment, line, word):
    """Whatever is written over, the batch that holds it is named, and nothing else."""
    directory = edited(
        segment, lambda lines: [*lines[:line], lines[line].replace(word, word[:-1] + b"9"), *lines[line + 1 :]]
    )
    [(kind, where, _)] = faults(directory)
    assert kind == "changed"
    assert where == line // 3 * 3 + 1


@pytest.mark.parametrize("line", range(9))
def test_a_removed_line_is_found(segment, line):
    """The number that is missing is told; where nothing follows in the batch, the end of it is."""
    directory = edited(segment, lambda lines: lines[:line] + lines[line + 1 :])
    kind, _, sequence = faults(directory)[0]
    assert (kind, sequence) == (("missing", line + 1) if line < 8 else ("cut", 7))


@pytest.mark.parametrize("line", range(8))
def test_swapped_lines_are_found(segment, line):
    """Two neighbours in each other's place; where one of them ends a batch, the other is missing there and too late elsewhere."""
    directory = edited(segment, lambda lines: [*lines[:line], lines[line + 1], lines[line], *lines[line + 2 :]])
    kind, where, _ = faults(directory)[0]
    assert (kind, where) == ("missing" if line % 3 == 1 else "reordered", line + 1)


def test_a_doubled_line_is_found(segment):
    """The same record twice."""
    assert faults(edited(segment, lambda lines: [lines[0], *lines]))[0] == ("reordered", 2, 1)


def test_a_line_that_is_no_record_is_found(segment):
    """Put in, at its place."""
    assert faults(edited(segment, lambda lines: [lines[0], b"rubbish\n", *lines[1:]]))[0] == ("changed", 2, 2)


def test_a_removed_batch_is_found(segment):
    """The whole batch with its chain: the next one does not follow on the one before."""
    assert faults(edited(segment, lambda lines: lines[:3] + lines[6:])) == [("missing", 4, 4)]


def test_a_batch_of_another_journal_is_found(segment, tmp_path):
    """Right in itself, with the right numbers, but it follows on something else."""
    [other] = journal_of(tmp_path / "other", 2, 1, 3)
    theirs = other.read_bytes().splitlines(keepends=True)[3:]
    assert faults(edited(segment, lambda lines: lines[:3] + theirs + lines[6:])) == [
        ("changed", 4, 4),
        ("changed", 7, 7),
    ]


def test_a_torn_end_is_found(segment):
    """Half a batch and half a line, while no agent is there."""
    whole = segment.read_bytes()
    segment.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 20])
    found = verify(segment.parent).faults
    assert [fault.kind for fault in found] == ["damaged", "cut"] or [fault.kind for fault in found] == ["damaged"]


def test_a_batch_that_is_being_written_is_no_fault(segment):
    """While an agent holds the directory, what has no end yet will get one."""
    with Journal(segment.parent), segment.open("ab") as file:
        file.write(segment.read_bytes().splitlines(keepends=True)[0])
        file.flush()
        assert faults(segment.parent) == []
        file.truncate(segment.stat().st_size - 3)
        assert faults(segment.parent) == []


def test_a_clean_cut_at_the_end_needs_a_noted_digest(segment):
    """What no chain can show is found by a digest that was noted elsewhere."""
    head = verify(segment.parent).head
    assert verify(segment.parent, wanted=head).wanted_at == 9
    directory = edited(segment, lambda lines: lines[:6])
    assert faults(directory) == []
    assert faults(directory, wanted=head) == [("head", 6, 6)]


def test_sealed_segments_are_verified_alike(tmp_path):
    """Across segments, sealed and plain; each names what the one before ended with, and can be verified alone."""
    segments = journal_of(tmp_path / "log", 2, 2, 2, 2, limits=SMALL)
    assert [path.suffix for path in segments] == [".zst"] * 3 + [".jsonl"]
    assert faults(tmp_path / "log") == []
    assert [faults(path) for path in segments] == [[]] * 4


def test_a_missing_segment_is_found(tmp_path):
    """In the middle: which records no segment has; the oldest: no notice says that retention removed it."""
    segments = journal_of(tmp_path / "log", 2, 2, 2, limits=SMALL)
    shutil.copytree(tmp_path / "log", tmp_path / "first")
    segments[1].unlink()
    [fault] = verify(tmp_path / "log").faults
    assert (fault.kind, fault.sequence, fault.text) == ("missing", 3, "records 3 to 4 are missing before this segment")
    (tmp_path / "first" / segments[0].name).unlink()
    [fault] = verify(tmp_path / "first").faults
    assert (fault.kind, fault.segment) == ("missing", segments[1].name)
    assert "no notice says that retention removed them" in fault.text


def test_a_damaged_sealed_segment_is_found(tmp_path):
    """What cannot be decompressed is a fault with a place, and the rest is still verified."""
    segments = journal_of(tmp_path / "log", 200, 2, 2, limits=SMALL)
    segments[0].write_bytes(segments[0].read_bytes()[:-20])
    [fault] = verify(tmp_path / "log").faults
    assert (fault.kind, fault.segment) == ("damaged", segments[0].name)


def test_what_retention_removed_is_no_fault(tmp_path):
    """The notice says up to which record and with which digest; a digest noted from there is still known."""
    with Journal(tmp_path / "log", Limits(segment_size=1, retain_size=1)) as journal:
        journal.append([EVENT])
        first = re.search(rb'"sha256":"([0-9a-f]+)"', segments_of(tmp_path / "log")[0].read_bytes())[1].decode()
        journal.append([EVENT, EVENT])
        journal.close(settle=True)
    [left] = segments_of(tmp_path / "log")
    found = verify(tmp_path / "log", wanted=first)
    assert (found.faults, found.records, found.wanted_at) == ([], 3, 1)
    text = left.read_bytes()
    left.write_bytes(text.replace(b'"through":1', b'"through":0'))
    assert {fault.kind for fault in verify(tmp_path / "log").faults} == {"changed", "missing"}


def test_an_older_journal_is_not_called_wrong(tmp_path):
    """A version that wrote no chain: its records are counted as unknown, and the chain begins after them."""
    (tmp_path / "log").mkdir(mode=0o700)
    old = {"@timestamp": "2025-11-18T02:00:00.000000001Z", "message": "m", "ecs": {"version": "8.17.0"}}
    event = {"kind": "event", "category": ["host"], "type": ["info"], "action": "started", "outcome": "success"}
    old |= {
        "event": event | {"sequence": 1, "module": "enforcer", "dataset": "enforcer.notice"},
        "enforcer": {"schema": 1},
    }
    old["event"] = {"sequence": 1} | old["event"]
    line = json.dumps(old, separators=(",", ":")).encode() + b"\n"
    (tmp_path / "log" / "events-00000000000000000001.jsonl").write_bytes(line + b"{torn")
    with Journal(tmp_path / "log") as journal:
        assert journal.recovered == 5
        assert journal.append([NOTICE]) == 2
        journal.close(settle=True)
    found = verify(tmp_path / "log")
    assert (found.faults, found.unchained, found.records) == ([], 1, 2)


def test_faults_have_a_bound(segment):
    """A journal of nothing but rubbish does not fill the memory with what is said about it."""
    lines = segment.read_bytes().splitlines(keepends=True)[:3]
    segment.write_bytes(b"".join(lines * 300))
    found = verify(segment.parent)
    assert len(found.faults) == MOST_FAULTS
    assert found.more_faults > 100


def run(*arguments):
    """Exit code and output of the command."""
    result = CliRunner().invoke(verify_command, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_the_command_tells_a_person(segment):
    """The head to note, and 0; what is wrong, with its place, and 1."""
    code, output = run(segment.parent)
    assert code == 0
    assert "9 records up to number 9: nothing is wrong" in output
    head = re.search(r"^head ([0-9a-f]{64})$", output, re.MULTILINE)[1]
    assert "the noted digest is that of record 9" in run(segment.parent, "--head", head)[1]
    edited(segment, lambda lines: lines[:1] + lines[2:])
    code, output = run(segment.parent)
    assert code == 1
    assert re.search(rf"{segment.name}\s+2\s+2\s+missing\s+record 2 is missing before this line", output)


def test_the_command_tells_a_program(segment):
    """The same as JSON."""
    edited(segment, lambda lines: lines[:1] + lines[2:])
    code, output = run(segment.parent, "--format", "json")
    said = json.loads(output)
    assert code == 1
    assert (said["faults"][0]["kind"], said["faults"][0]["sequence"], said["records"]) == ("missing", 2, 8)


def test_a_digest_that_is_none_is_a_usage_error(segment):
    """Not a digest that is not found."""
    assert run(segment.parent, "--head", "abc")[0] == 2


def test_one_sealed_file_is_enough(tmp_path):
    """A responder gets one segment, under another name."""
    [segment] = journal_of(tmp_path / "log", 3)
    copy = tmp_path / "evidence.zst"
    copy.write_bytes(seal(segment).read_bytes())
    assert faults(copy) == []


def older(number):
    """A line that says it is of a version without a chain."""
    return (
        json.dumps({"event": {"sequence": number}, "enforcer": {"schema": 1}}, separators=(",", ":")).encode() + b"\n"
    )


@pytest.mark.parametrize("numbers", [[6], range(1, 7)])
def test_older_lines_excuse_no_missing_past(tmp_path, numbers):
    """Who puts them in the place of what he removed needs no hash for it: but the chain after them does not begin there."""
    segments = journal_of(tmp_path / "log", *[3] * 5, limits=SMALL)
    for segment in segments[:2]:
        segment.unlink()
    (tmp_path / "log" / segment_name(numbers[0])).write_bytes(b"".join(map(older, numbers)))
    [fault] = verify(tmp_path / "log").faults
    assert (fault.kind, fault.segment, fault.text) == ("missing", segments[2].name, "the chain does not begin here")


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [
        ((1, 2, 3), []),
        ((1, 3), [("missing", 2, 2)]),
        ((1, 2, 2), [("reordered", 3, 2)]),
        ((1, "x"), [("changed", 2, 2)]),
    ],
)
def test_older_lines_are_counted(tmp_path, numbers, wanted):
    """Their numbers rise one by one, although nothing else is known of them."""
    (tmp_path / segment_name(1)).write_bytes(b"".join(map(older, numbers)))
    assert faults(tmp_path) == wanted


def damage(segment):
    """Flip a bit of a sealed segment's checksum."""
    data = segment.read_bytes()
    segment.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_damage_does_not_hide_what_is_missing_after_it(tmp_path):
    """Where a segment is damaged and the next ones are gone, it is said of which records nothing is known."""
    segments = journal_of(tmp_path / "log", *[3] * 8, limits=SMALL)
    damage(segments[1])
    for segment in segments[2:5]:
        segment.unlink()
    [fault] = verify(tmp_path / "log").faults
    assert (fault.kind, fault.segment) == ("damaged", segments[1].name)
    assert re.search(r"; what of the records [4-7] to 15 was there is not known$", fault.text)


def test_damage_does_not_hide_what_is_missing_before_it(tmp_path):
    """The oldest segments are gone and the next one is damaged: both are told."""
    segments = journal_of(tmp_path / "log", *[3] * 8, limits=SMALL)
    damage(segments[3])
    for segment in segments[:3]:
        segment.unlink()
    assert {fault.kind: fault.text[:28] for fault in verify(tmp_path / "log").faults}["missing"] == (
        "records 1 to 9 are missing, "
    )


@pytest.mark.parametrize(
    "change", [(b'"mcp-01"', b'"mcp-09"'), (b'"since": "20', b'"since": "21'), (b'"until": "20', b'"until": "19')]
)
def test_an_index_that_says_something_else_is_found(tmp_path, change):
    """A reader would pass its segment over, and say nothing."""
    segments = journal_of(tmp_path / "log", 3, 3, 3, limits=SMALL)
    index = index_path(segments[1])
    assert change[0] in index.read_bytes()
    index.write_bytes(index.read_bytes().replace(*change))
    assert index_of(segments[1])
    assert [(fault.kind, fault.segment) for fault in verify(tmp_path / "log").faults] == [("index", segments[1].name)]
    assert faults(segments[1]) == [("index", 1, 4)]


def test_an_index_tells_of_a_removed_end(tmp_path):
    """What the chain cannot show: the last segments are gone, and their indices were forgotten; or all are."""
    segments = journal_of(tmp_path / "log", *[3] * 5, limits=SMALL)
    for segment in segments[2:]:
        segment.unlink()
    assert faults(tmp_path / "log") == [("missing", 1, 7), ("missing", 1, 10)]
    for segment in segments[:2]:
        segment.unlink()
    assert [sequence for _, _, sequence in faults(tmp_path / "log")] == [1, 4, 7, 10]
