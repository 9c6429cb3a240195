"""How a journal is cut into segments, sealed, indexed and kept within its limits, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace

import pytest
import zstandard

from enforcer.core.event import Event, Notice
from enforcer.edges import appending
from enforcer.edges.chained import verify
from enforcer.edges.index import index_of, index_path, may_hold
from enforcer.edges.journal import Journal
from enforcer.edges.segments import blocks, follow, plain, read, sealed, segments_of
from enforcer.errors import EdgeError, HostError
from enforcer.settings import Limits
from enforcer.sinks.journal import JournalSink
from tests.edges.test_journal import EVENT, NOTICE, NOW, sequences

EACH = Limits(segment_size=1)
HOUR_NS = 3600 * 10**9


class Clock:
    """A clock that stands until it is set, or until time passes."""

    def __init__(self):
        self.now, self.booted = NOW, 0

    def __call__(self):
        """Now."""
        return self.now

    def boot(self):
        """Since the machine's start."""
        return self.booted

    def passes(self, ns):
        """Time passes."""
        self.now += ns
        self.booted += ns


def names(directory):
    """The segments, without what their names have in common."""
    return [path.name.removeprefix("events-").lstrip("0") for path in segments_of(directory)]


def filled(directory, *batches, limits=EACH):
    """A journal with each batch in a segment of its own, the complete ones sealed."""
    with Journal(directory, limits) as journal:
        for batch in batches:
            journal.append(batch)
        journal.close(settle=True)
    return directory


def test_a_segment_that_is_large_enough_is_complete(tmp_path):
    """The next batch goes to a new one, named by its first number; the complete one is sealed, and nothing is lost."""
    with Journal(tmp_path / "log", Limits(segment_size=4000)) as journal:
        for _ in range(8):
            journal.append([EVENT])
        journal.close(settle=True)
    assert names(tmp_path / "log") == ["1.jsonl.zst", "5.jsonl"] or len(names(tmp_path / "log")) > 1
    assert sequences(tmp_path / "log") == list(range(1, 9))
    assert verify(tmp_path / "log").faults == []


def test_a_segment_that_is_old_enough_is_complete(tmp_path):
    """Also across a restart, and also if its first record is from the future of a wrong clock."""
    clock = Clock()
    with Journal(tmp_path / "log", Limits(segment_age=3600), clock=clock, boot=clock.boot) as journal:
        journal.append([replace(EVENT, time_ns=clock.now)])
        clock.passes(HOUR_NS - 1)
        journal.append([EVENT])
    clock.now += 1
    with Journal(tmp_path / "log", Limits(segment_age=3600), clock=clock, boot=clock.boot) as journal:
        journal.append([EVENT])
        clock.now -= 2 * HOUR_NS
        journal.append([EVENT])
        journal.close(settle=True)
    assert names(tmp_path / "log") == ["1.jsonl.zst", "3.jsonl.zst", "4.jsonl"]
    assert sequences(tmp_path / "log") == [1, 2, 3, 4, 5]


def test_a_clock_that_goes_back_is_on_record(tmp_path):
    """Once, with how far; the numbers go on, and what is written has no gap."""
    clock = Clock()
    with Journal(tmp_path / "log", clock=clock, boot=clock.boot) as journal:
        journal.append([EVENT])
        clock.now -= HOUR_NS
        assert journal.append([EVENT]) == 3
        clock.now -= 10**8  # an adjustment, not a jump
        journal.append([EVENT])
    records = list(read([tmp_path / "log"]))
    assert [item.action for item in records if isinstance(item, Notice)] == ["clock-set-back"]
    assert records[1].fields == {"milliseconds": 3_600_000}
    assert [item.sequence for item in records] == [1, 2, 3, 4]


def test_a_sealed_segment_is_a_plain_frame_of_the_same_bytes(tmp_path):
    """Any zstd reads it; only its owner may; it is as old as its last record."""
    with Journal(tmp_path / "log", EACH) as journal:
        journal.append([EVENT] * 100)
        [segment] = segments_of(tmp_path / "log")
        content, modified = segment.read_bytes(), segment.stat().st_mtime_ns
        journal.append([EVENT])
        journal.close(settle=True)
    target = sealed(segment)
    assert zstandard.ZstdDecompressor().decompress(target.read_bytes()) == content
    assert (target.stat().st_mode & 0o777, target.stat().st_mtime_ns) == (0o600, modified)
    assert target.stat().st_size < len(content) / 5
    assert not segment.exists()


def states(directory):
    """What a crash while sealing can leave behind, in a directory that holds a complete segment in both forms."""
    plain = next(directory.glob("*01.jsonl"))
    whole = sealed(plain).read_bytes()
    yield "nothing yet", lambda: sealed(plain).unlink()
    yield "half a copy", lambda: sealed(plain).rename(f"{sealed(plain)}.tmp")
    yield "not removed", lambda: None
    yield "renamed, and not on the disk", lambda: sealed(plain).write_bytes(whole[: len(whole) // 2])
    yield "renamed, and zeros", lambda: sealed(plain).write_bytes(bytes(len(whole)))
    yield "renamed, and nothing", lambda: sealed(plain).write_bytes(b"")
    yield "no index", lambda: (plain.unlink(), index_path(plain).unlink())
    yield "half an index", lambda: (plain.unlink(), index_path(plain).write_bytes(b'{"schema":1,'))
    yield (
        "an index of another file",
        lambda: (plain.unlink(), sealed(plain).write_bytes(whole + whole[:0] + _skippable())),
    )


def _skippable():
    """A frame that every zstd passes over."""
    return b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


@pytest.mark.parametrize(
    "change", [(b'"since": "2', b'"since": "x'), (b'"mcp-01"', b'"mcp\\\\q"'), (b'"schema": 1', b'"schema": 2')]
)
def test_an_index_that_somebody_edited_is_none(tmp_path, change):
    """A time that is none, a name that we never write, another format: the segment is read as if it had no index."""
    segment = segments_of(filled(tmp_path / "log", [EVENT], [EVENT]))[0]
    content = index_path(segment).read_bytes()
    assert change[0] in content
    index_path(segment).write_bytes(content.replace(*change))
    assert index_of(segment) is None


def test_a_segment_that_is_damaged_stops_nothing(tmp_path):
    """A sealed one that cannot be read has no index; the others are sealed all the same, and retention goes on past it."""
    directory = filled(tmp_path / "log", *[[EVENT] * 50] * 4)
    broken = segments_of(directory)[1]
    broken.write_bytes(broken.read_bytes()[:-40])
    filled(directory, [EVENT])
    assert {path.suffix for path in segments_of(directory)[:-1]} == {".zst"}
    assert index_of(broken) is None
    two = sum(path.stat().st_size for path in directory.iterdir()) - segments_of(directory)[0].stat().st_size
    filled(directory, [EVENT], limits=Limits(retain_size=two))
    assert segments_of(directory)[0] == broken
    filled(directory, [EVENT], limits=Limits(retain_size=1))
    assert len(segments_of(directory)) == 1
    assert verify(directory).faults == []


def test_a_newest_segment_that_is_damaged_is_refused(tmp_path):
    """Which number comes next cannot be known: the agent says so before it is in force, rather than give one twice."""
    directory = filled(tmp_path / "log", [EVENT] * 50, [EVENT])
    first, last = segments_of(directory)
    last.unlink()
    first.write_bytes(first.read_bytes()[:-40])
    with pytest.raises(HostError, match="move the file away"):
        Journal(directory)


@pytest.mark.parametrize("number", range(9))
def test_a_crash_while_sealing_is_put_right(tmp_path, number):
    """Whatever the crash left, the next run reads every record once, seals it, and removes what is left over."""
    with Journal(tmp_path / "log", EACH) as journal:
        journal.append([EVENT] * 50)
        [plain] = segments_of(tmp_path / "log")
        content = plain.read_bytes()
        journal.append([EVENT])
        journal.close(settle=True)
    plain.write_bytes(content)
    _, crash = list(states(tmp_path / "log"))[number]
    crash()
    with Journal(tmp_path / "log") as journal:
        journal.append([EVENT])
        journal.close(settle=True)
    assert sorted(path.suffix for path in (tmp_path / "log").iterdir()) == [".json", ".jsonl", ".zst"]
    assert sequences(tmp_path / "log") == list(range(1, 53))
    assert verify(tmp_path / "log").faults == []
    assert index_of(sealed(plain)).last == 50


def test_an_index_tells_what_a_segment_holds(tmp_path):
    """Numbers, times, the digest of the last batch, and who tried what how often, from when to when."""
    later = replace(EVENT, time_ns=NOW + 5 * 10**9, count=4)
    about = replace(NOTICE, fields={"container": "mcp-09"})
    directory = filled(tmp_path / "log", [EVENT, about, later], [NOTICE])
    index = index_of(segments_of(directory)[0])
    assert (index.first, index.last, index.rest) == (1, 3, 0)
    assert [(c.container, c.object, c.verdict, c.records, c.attempts) for c in index.counts] == [
        ("mcp-01", "volume:mcp-02-data", "denied", 2, 7),
        ("mcp-09", "", "", 1, 0),
    ]
    assert index.counts[0].until == index.until > index.since
    last = segments_of(directory)[1].read_bytes().splitlines()[0]
    assert json.loads(last)["enforcer"]["chain"]["previous"] == index.sha256


@pytest.mark.parametrize(
    ("since", "until", "containers", "may"),
    [
        (None, None, (), True),
        (NOW, NOW + 1, ("mcp-*",), True),
        (NOW + 1, None, (), False),
        (None, NOW, (), False),
        (None, None, ("other", "mcp-02"), False),
        (None, None, ("other", "*-01"), True),
    ],
)
def test_a_reader_passes_over_what_cannot_be_asked_for(tmp_path, since, until, containers, may):
    """By time and container; where there is no index, nothing is passed over."""
    segment = segments_of(filled(tmp_path / "log", [EVENT], [EVENT]))[0]
    assert may_hold(segment, since=since, until=until, containers=containers) is may
    index_path(segment).unlink()
    assert may_hold(segment, since=since, until=until, containers=containers)


def test_a_segment_with_lines_that_no_index_counts_is_always_read(tmp_path):
    """Rubbish in a segment must be met, not passed over: the segment is sealed as it is."""
    with Journal(tmp_path / "log", EACH) as journal:
        journal.append([EVENT])
    [plain] = segments_of(tmp_path / "log")
    plain.write_bytes(b"rubbish\n" + plain.read_bytes())
    filled(tmp_path / "log", [EVENT])
    assert may_hold(sealed(plain), since=NOW + HOUR_NS, until=None, containers=())
    with pytest.raises(EdgeError, match=r"zst:1: not JSON"):
        sequences(tmp_path / "log")


def test_the_oldest_goes_when_there_is_too_much(tmp_path):
    """First the notice, which says up to which record, then the files and their indices; what is written to stays."""
    limits = Limits(segment_size=1, retain_size=20_000)
    directory = filled(tmp_path / "log", *[[EVENT] * 3] * 30, limits=limits)
    records = list(read([directory]))
    gone = [item for item in records if isinstance(item, Notice)]
    assert {item.action for item in gone} == {"journal-removed"}
    assert records[0].sequence == gone[-1].fields["through"] + 1
    assert [item.sequence for item in records] == list(range(records[0].sequence, records[-1].sequence + 1))
    assert len(list(directory.glob("*.json"))) == len(segments_of(directory)) - 1
    assert verify(directory).faults == []


def test_the_oldest_goes_when_it_is_too_old(tmp_path):
    """Counted from its last record; the restart does not make it younger."""
    clock, limits = Clock(), Limits(segment_size=1, retain_age=3600)
    with Journal(tmp_path / "log", limits, clock=clock, boot=clock.boot) as journal:
        journal.append([EVENT])
        journal.append([EVENT])
    clock.passes(HOUR_NS * 2)
    with Journal(tmp_path / "log", limits, clock=clock, boot=clock.boot) as journal:
        assert journal.append([EVENT]) == 3  # by a clock that is just met nothing is removed yet
        clock.passes(HOUR_NS)
        assert journal.append([EVENT]) == 5
        journal.close(settle=True)
    assert [type(item) for item in read([tmp_path / "log"])] == [Notice, Event]
    assert verify(tmp_path / "log").faults == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_is_ahead_for_a_while_removes_nothing(tmp_path, restart):
    """Set ahead by 91 days and back, also across restarts; only what has stood for an hour is believed."""
    clock, directory = Clock(), tmp_path / "log"
    clock.passes(2 * HOUR_NS)
    journal = Journal(directory, EACH, clock=clock, boot=clock.boot)
    for days in (0, 91, -91, 91, -91, 91):
        if restart:
            journal.close(settle=True)
            journal = Journal(directory, EACH, clock=clock, boot=clock.boot)
        clock.now += days * 24 * HOUR_NS
        journal.append([EVENT])
        clock.passes(HOUR_NS - 1)
        journal.append([EVENT])
    assert names(directory)[0].startswith("1.jsonl")
    actions = [item.action for item in read([directory]) if isinstance(item, Notice)]
    assert actions.count("clock-set-forward") == 3
    clock.passes(1)
    journal.append([EVENT])
    journal.close(settle=True)
    assert len(names(directory)) == 1
    assert verify(directory).faults == []


def test_what_a_notice_said_is_removed_even_after_a_crash(tmp_path):
    """If the agent dies between the notice and the removal, the next run removes it, with a notice of its own."""
    directory = filled(tmp_path / "log", [EVENT], [EVENT], [EVENT])
    kept = {path: path.read_bytes() for path in directory.iterdir()}
    filled(directory, [EVENT], limits=Limits(segment_size=1, retain_size=1))
    for first in (1, 2):
        for path, content in kept.items():
            path.write_bytes(content) if not path.exists() else None
        for path in segments_of(directory)[: first - 1]:
            path.unlink()
        assert verify(directory).faults == []
    filled(directory, [EVENT], limits=Limits(segment_size=1, retain_size=1))
    assert len(segments_of(directory)) == 1
    assert verify(directory).faults == []


def test_the_directory_that_cannot_be_sealed_is_told_once(tmp_path):
    """A name that is taken stops the sealing and not the log; it is on record, and once the name is free it goes on."""
    with Journal(tmp_path / "log", EACH) as journal:
        journal.append([EVENT])
        [first] = segments_of(tmp_path / "log")
        obstacle = tmp_path / "log" / f"{first.name}.zst.tmp"
        obstacle.mkdir()
        for _ in range(400):
            journal.append([EVENT])
            time.sleep(0.005)
            if told(tmp_path / "log"):
                break
        for _ in range(20):
            journal.append([EVENT])
        obstacle.rmdir()
        last = journal.append([EVENT])
        journal.close(settle=True)
    assert told(tmp_path / "log") == ["journal-not-sealed"]
    assert sequences(tmp_path / "log") == list(range(1, last + 1))
    assert {path.suffix for path in segments_of(tmp_path / "log")[:-1]} == {".zst"}


def told(directory):
    """The actions of all notices."""
    return [item.action for item in read([directory]) if isinstance(item, Notice)]


def test_a_batch_is_torn_at_every_byte(tmp_path):
    """Wherever a batch of several records was torn, all of it goes and nothing before it, half a chain included."""
    directory = tmp_path / "log"
    with Journal(directory) as journal:
        journal.append([EVENT, NOTICE], mark="here")
        size = segments_of(directory)[0].stat().st_size
        journal.append([NOTICE, NOTICE, EVENT], mark="there")
    [segment] = segments_of(directory)
    content = segment.read_bytes()
    for length in range(size, len(content)):
        segment.write_bytes(content[:length])
        with Journal(directory) as journal:
            assert (journal.recovered, journal.mark) == (length - size, "here")
        assert segment.stat().st_size == size


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9])
def test_blocks_that_never_reached_the_disk_are_a_torn_batch(tmp_path, where):
    """After a power failure the end may be there and the middle be zeros: such a batch goes, what was committed before stays."""
    directory = tmp_path / "log"
    with Journal(directory) as journal:
        journal.append([EVENT])
        size = segments_of(directory)[0].stat().st_size
        journal.append([EVENT] * 40)
    [segment] = segments_of(directory)
    content = bytearray(segment.read_bytes())
    start = size + int((len(content) - size) * where)
    content[start : start + 2000] = bytes(2000)
    segment.write_bytes(content)
    with Journal(directory) as journal:
        assert journal.recovered == len(content) - size
        assert journal.append([EVENT]) == 2
    assert verify(directory).faults == []


def test_a_last_batch_that_somebody_changed_is_no_torn_one(tmp_path):
    """What is all JSON was not torn by a crash: it stays, the agent goes on after it, and verify tells."""
    directory = filled(tmp_path / "log", [EVENT], [EVENT, EVENT])
    [*_, segment] = segments_of(directory)
    segment.write_bytes(segment.read_bytes().replace(b'"pid":31', b'"pid":32'))
    with Journal(directory) as journal:
        assert journal.recovered == 0
        assert journal.append([EVENT]) == 4
    assert [fault.kind for fault in verify(directory).faults] == ["changed"]


def test_an_empty_newest_segment_goes_on_with_the_chain(tmp_path):
    """A crash between the new file and its first batch: number, mark and digest are those of the one before, in either form."""
    with Journal(tmp_path / "log") as journal:
        journal.append([EVENT, EVENT], mark="here")
    (tmp_path / "log" / "events-00000000000000000003.jsonl").touch(0o600)
    for number in (3, 4):
        with Journal(tmp_path / "log") as journal:
            assert journal.mark == "here"
            assert journal.append([EVENT]) == number
            journal.close(settle=True)
    assert verify(tmp_path / "log").faults == []


def test_a_replaced_directory_is_noticed(tmp_path):
    """Another directory in the place of the one that is held: the batch is refused, and then goes where readers look."""
    directory = tmp_path / "log"
    with Journal(directory) as journal:
        journal.append([EVENT])
        directory.rename(tmp_path / "old")
        directory.mkdir(mode=0o700)
        with pytest.raises(EdgeError):
            journal.append([EVENT])
        assert journal.append([EVENT]) == 2
    assert (sequences(tmp_path / "old"), sequences(directory)) == ([1], [2])


@pytest.fixture
def disk(tmp_path):
    """A real filesystem of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_fills_up_with_segments_is_survived(disk):
    """What does not fit is counted; what was committed is whole; once there is room, writing and sealing go on."""
    sink = JournalSink(Journal(disk / "log", Limits(segment_size=100_000)))
    for _ in range(60):
        sink.write([EVENT] * 40)
        (disk / "filler").write_bytes(bytes(700_000)) if not (disk / "filler").exists() else None
    assert sink.lost["journal"] > 0
    (disk / "filler").unlink()
    for _ in range(10):
        sink.write([EVENT] * 40)
    sink.close()
    records = list(read([disk / "log"]))
    events = sum(item.count for item in records if isinstance(item, Event))
    assert events + sink.lost["journal"] == 70 * 40 * EVENT.count
    assert verify(disk / "log").faults == []


def test_a_disk_that_turns_read_only_between_segments_is_survived(disk):
    """Neither rotation nor sealing brings the sink down; after a remount all goes on."""
    sink = JournalSink(Journal(disk / "log", EACH))
    sink.write([EVENT])
    sink.close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    sink.write([EVENT])
    assert sink.lost["journal"] == 3
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    sink.write([EVENT])
    sink.write([EVENT])
    sink.close()
    assert sequences(disk / "log") == [1, 2, 3, 4]
    assert verify(disk / "log").faults == []


def test_a_killed_agent_leaves_a_sound_journal_while_it_seals(tmp_path):
    """SIGKILL in the middle of writing, sealing and removing: what is left is one chain, and goes on."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from enforcer.edges.journal import Journal
        from enforcer.settings import Limits
        from tests.edges.test_journal import EVENT
        journal = Journal(Path(sys.argv[1]), Limits(segment_size=50_000, retain_size=200_000))
        while True:
            print(journal.append([EVENT] * 20), flush=True)
    """)
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", program, tmp_path / "log"], stdout=subprocess.PIPE)
        acknowledged = 0
        while acknowledged < (round_ + 1) * 700:
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        writer.stdout.close()
        writer.wait()
        found = verify(tmp_path / "log")
        assert {fault.kind for fault in found.faults} <= {"cut", "damaged"}
        assert found.last >= acknowledged
    filled(tmp_path / "log", [EVENT], limits=Limits())
    assert verify(tmp_path / "log").faults == []


def test_follow_sees_each_record_once_while_segments_are_sealed(tmp_path):
    """What was plain at one look is sealed at the next, begun and unread segments alike: every record comes, once."""
    journal = Journal(tmp_path / "log", Limits(segment_size=3000))
    journal.append([EVENT])
    looks = iter(range(12))

    def wait():
        look = next(looks, None)
        if look is None:
            return False
        for _ in range(look % 5):
            journal.append([EVENT])
        journal.close(settle=True)  # the next append opens it again
        return True

    found = [item.sequence for item in follow(tmp_path / "log", wait=wait)]
    journal.close()
    assert found == list(range(1, found[-1] + 1))
    assert len(segments_of(tmp_path / "log")) > 3


def test_follow_and_verify_beside_a_writer_that_rotates(tmp_path):
    """A copy of the directory taken at any moment between two batches is sound."""
    with Journal(tmp_path / "log", Limits(segment_size=3000)) as journal:
        for number in range(30):
            journal.append([EVENT])
            if number % 10 == 9:
                assert sequences(tmp_path / "log") == list(range(1, number + 2))
                assert verify(tmp_path / "log").faults == []
        journal.close(settle=True)
        shutil.copytree(tmp_path / "log", tmp_path / "copy")
    assert sequences(tmp_path / "copy") == list(range(1, 31))
    assert os.listdir(tmp_path / "copy")


@pytest.mark.parametrize("twin", [b"", bytes(3000), b"half"])
def test_a_damaged_plain_one_does_not_take_a_sound_sealed_ones_place(tmp_path, twin):
    """A power failure kept the removal from the disk, and the plain one's blocks: both stay, it is said, nothing is lost."""
    directory = filled(tmp_path / "log", *[[EVENT] * 3] * 4)
    segment = segments_of(directory)[1]
    content, beside = segment.read_bytes(), plain(segment)
    whole = b"".join(blocks(segment))
    beside.write_bytes(whole[: len(whole) // 2] if twin == b"half" else twin)
    assert [(fault.kind, fault.sequence) for fault in verify(directory).faults] == [("changed", 4)]
    with Journal(directory, EACH) as journal:
        for _ in range(400):
            journal.append([EVENT])
            time.sleep(0.005)
            if told(directory):
                break
        journal.close(settle=True)
    assert segment.read_bytes() == content
    assert beside.exists()
    said = [item.message for item in read([directory]) if isinstance(item, Notice)]
    assert "is there sealed, too, and the two differ: neither was touched" in said[0]
    beside.unlink()
    assert verify(directory).faults == []


def test_a_segment_that_hides_behind_a_sealed_one_is_found(tmp_path):
    """The newest, renamed to the number of a sealed one: no reader looks at it, so verify must."""
    directory = filled(tmp_path / "log", *[[EVENT] * 3] * 4)
    segments_of(directory)[-1].rename(plain(segments_of(directory)[0]))
    assert [(fault.kind, fault.segment[-11:]) for fault in verify(directory).faults] == [("changed", "1.jsonl.zst")]


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_newest_segment_that_is_sealed_and_emptied_is_refused(tmp_path, left):
    """Its number must not be given a second time, to a file that readers would not look at."""
    directory = filled(tmp_path / "log", [EVENT], [EVENT])
    first, last = segments_of(directory)
    last.unlink()
    first.write_bytes(first.read_bytes()[:left])
    with pytest.raises(HostError, match="move the file away"):
        Journal(directory)
    first.write_bytes(zstandard.ZstdCompressor().compress(b""))
    with pytest.raises(HostError, match="holds no record; move the file away"):
        Journal(directory)


def test_a_batch_that_is_taken_back_is_shown_to_nobody(tmp_path, monkeypatch):
    """The disk fills up in the middle of a batch, whose first lines can be read by then: neither a reader nor a follower shows
    any of it, and the records that get its numbers come, each once.
    """
    directory, write_all, pieces, got = tmp_path / "log", appending._write_all, [], []
    journal = Journal(directory)
    journal.append([EVENT])
    turns = iter([lambda: journal.append([NOTICE] * 600), lambda: journal.append([EVENT] * 1000)])
    following = follow(directory, wait=lambda: turn(next(turns, None)))

    def full(fd, data):
        if pieces:
            got.extend(follow(directory, wait=lambda: False))
            got.extend(read([directory]))
            monkeypatch.setattr(appending, "_write_all", write_all)
            raise OSError(28, "No space left on device")
        pieces.append(write_all(fd, data))

    def turn(step):
        if step:
            with suppress(EdgeError):
                step()
        return step is not None

    monkeypatch.setattr(appending, "_write_all", full)
    found = list(following)
    journal.close()
    assert [type(item) for item in got] == [Event, Event]
    assert [type(item) for item in found] == [Event] * 1001
    assert [item.sequence for item in found] == list(range(1, 1002))


def test_a_batch_without_its_end_is_shown_once_another_segment_follows(tmp_path):
    """Somebody removed its last line: what is left of it is evidence, and ``verify`` tells."""
    directory = filled(tmp_path / "log", [EVENT], [EVENT] * 3)
    [*_, last] = segments_of(directory)
    last.write_bytes(b"".join(last.read_bytes().splitlines(keepends=True)[:-1]))
    assert sequences(directory) == [1]
    assert sequences(last) == [2, 3]
    (directory / "events-00000000000000000009.jsonl").touch()
    assert sequences(directory) == [1, 2, 3]
    assert [item.sequence for item in follow(directory, wait=lambda: False)] == [1, 2, 3]


def test_what_somebody_else_appended_costs_no_committed_batch(tmp_path, monkeypatch):
    """A foreign line, and then a disk that is full: what is taken back is not what was committed before."""
    directory = tmp_path / "log"
    with Journal(directory) as journal:
        journal.append([EVENT] * 3)
        [segment] = segments_of(directory)
        committed = segment.read_bytes()
        with segment.open("ab") as file:
            file.write(b"x" * 100)
        with pytest.raises(EdgeError, match="has another length than was written"):
            journal.append([EVENT])
        assert journal.append([EVENT]) == 4
        assert journal.recovered == 100
    assert segment.read_bytes().startswith(committed)
    assert sequences(directory) == [1, 2, 3, 4]
    assert verify(directory).faults == []


def test_one_segment_that_cannot_be_removed_keeps_no_other(tmp_path):
    """The others are removed and sealed; it is told, and tried again."""
    directory = filled(tmp_path / "log", *[[EVENT] * 50] * 4)
    stuck = segments_of(directory)[0]
    index_path(stuck).unlink()
    index_path(stuck).mkdir()
    with Journal(directory, Limits(segment_size=1, retain_size=1)) as journal:
        for _ in range(3):
            journal.append([EVENT])
        journal.close(settle=True)
        assert "Is a directory" in journal._keeper.trouble
    assert segments_of(directory)[0] == stuck
    assert len(segments_of(directory)) == 2
    index_path(stuck).rmdir()
    filled(directory, [EVENT], limits=Limits(segment_size=1, retain_size=1))
    assert len(segments_of(directory)) == 1
