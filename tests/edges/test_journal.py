"""The journal on a real disk: what is promised is there, what is torn is cut, what is refused is refused whole."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

from enforcer.core.event import Event, FileAttempt, Notice, Process, Who
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.edges.journal import Journal
from enforcer.edges.segments import follow, read
from enforcer.errors import EdgeError, HostError, UsageError
from enforcer.sinks.journal import JournalSink

NOW = time.time_ns()  # a segment whose first record is older than a day gets no more
EVENT = Event(
    sequence=0,
    time_ns=NOW,
    who=Who(id="ab" * 32, name="mcp-01"),
    process=Process(pid=31, tid=32, uid=1001, name="cat"),
    attempt=FileAttempt(ObjectId(Kind.VOLUME, "mcp-02-data"), "a", inode=5, device=6),
    asked=Access.WRITE,
    granted=Access.NONE,
    mode=Mode.ENFORCE,
    verdict=Verdict.DENIED,
    mechanism=Mechanism.LSM,
    hook=Hook.OPEN,
    generation=3,
    policy="cd" * 32,
    count=3,
)
NOTICE = Notice(sequence=0, time_ns=NOW, action="started", message="the agent started")


def written(directory, *batches):
    """A journal in ``directory`` that was written and closed."""
    with Journal(directory) as journal:
        for batch in batches:
            journal.append(batch)
    return next(directory.iterdir())


def sequences(directory):
    """The numbers of all records in it."""
    return [item.sequence for item in read([directory])]


def test_what_was_appended_is_read_back_numbered(tmp_path):
    """Records come back in order, complete, numbered from 1; append tells the last number given."""
    with Journal(tmp_path / "log") as journal:
        assert journal.append([NOTICE, EVENT]) == 2
        assert journal.append([]) == 2
        assert journal.append([EVENT]) == 3
    assert list(read([tmp_path / "log"])) == [replace(i, sequence=n) for n, i in enumerate([NOTICE, EVENT, EVENT], 1)]


def test_numbers_go_on_after_a_restart(tmp_path):
    """A second agent run continues the numbers and the file."""
    written(tmp_path / "log", [EVENT, EVENT])
    written(tmp_path / "log", [EVENT])
    assert sequences(tmp_path / "log") == [1, 2, 3]


def test_a_mark_is_committed_with_its_batch(tmp_path):
    """The next run finds the mark of the last committed batch; a batch without one leaves it, a torn one has none."""
    with Journal(tmp_path / "log") as journal:
        assert journal.mark == ""
        journal.append([EVENT], mark="ring 17")
        journal.append([NOTICE])
        assert journal.mark == "ring 17"
        journal.append([EVENT], mark='ring "18"')
        assert journal.mark == 'ring "18"'
    segment = next((tmp_path / "log").iterdir())
    with Journal(tmp_path / "log") as journal:
        assert journal.mark == 'ring "18"'
    segment.write_bytes(segment.read_bytes()[:-1])
    with Journal(tmp_path / "log") as journal:
        assert journal.mark == "ring 17"


def test_the_sink_commits_the_mark_or_nothing(tmp_path, file_limit):
    """What the disk refuses leaves the mark where it was, so that whoever set it starts again from there."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    sink = JournalSink(Journal(tmp_path / "log"))
    sink.write([EVENT], "ring 17")
    file_limit(next((tmp_path / "log").iterdir()).stat().st_size + 100)
    sink.write([EVENT], "ring 18")
    file_limit(unlimited)
    assert (sink.mark, sink.lost["journal"]) == ("ring 17", 3)
    sink.write([EVENT], "ring 19")
    assert sink.mark == "ring 19"
    sink.close()


def test_a_batch_that_cannot_be_encoded_leaves_nothing(tmp_path):
    """A defect of the caller's, met after the first pieces are written: they are taken back, and the journal goes on."""
    with Journal(tmp_path / "log") as journal:
        journal.append([EVENT])
        size = next((tmp_path / "log").iterdir()).stat().st_size
        with pytest.raises(ValueError, match="calendar"):
            journal.append([*[EVENT] * 2000, replace(EVENT, time_ns=10**30)])
        assert next((tmp_path / "log").iterdir()).stat().st_size == size
        assert journal.append([EVENT]) == 2
    assert sequences(tmp_path / "log") == [1, 2]


def test_only_the_owner_may_read_it(tmp_path):
    """The directory is made 0700 and its files 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        segment = written(tmp_path / "deep" / "log", [EVENT])
    finally:
        os.umask(before)
    assert segment.name == "events-00000000000000000001.jsonl"
    assert (stat.S_IMODE(segment.stat().st_mode), stat.S_IMODE(segment.parent.stat().st_mode)) == (0o600, 0o700)


def test_a_torn_write_is_cut_at_every_byte(tmp_path):
    """Wherever the last batch was torn, the whole lines before it survive, the rest is cut and counted."""
    source = written(tmp_path / "log", [EVENT], [NOTICE]).read_bytes()
    first = source.index(b"\n") + 1
    for length in range(first, len(source)):
        directory = tmp_path / f"torn-{length}"
        directory.mkdir(mode=0o700)
        (directory / "events-00000000000000000001.jsonl").write_bytes(source[:length])
        with Journal(directory) as journal:
            assert journal.recovered == length - first
            assert journal.append([EVENT]) == 2
        assert sequences(directory) == [1, 2]


@pytest.mark.parametrize("tail", [b"\0" * 4096 + b"\n", b"{half\n", b"{half\nworse\n{", b"x" * 300_000])
def test_a_tail_that_is_no_json_is_cut(tmp_path, tail):
    """Zeroes and garbage that a crash left behind the last record go, however long, with or without newlines."""
    segment = written(tmp_path / "log", [EVENT])
    with segment.open("ab") as file:
        file.write(tail)
    with Journal(tmp_path / "log") as journal:
        assert journal.recovered == len(tail)
        assert journal.append([EVENT]) == 2
    assert sequences(tmp_path / "log") == [1, 2]


def test_a_first_batch_that_was_torn_leaves_the_number_of_the_name(tmp_path):
    """A segment without one whole line starts again at the number that its name promises."""
    (tmp_path / "log").mkdir(mode=0o700)
    (tmp_path / "log" / "events-00000000000000000041.jsonl").write_bytes(b"{")
    with Journal(tmp_path / "log") as journal:
        assert (journal.recovered, journal.append([EVENT])) == (1, 41)


def test_a_journal_of_somebody_else_is_not_cut(tmp_path):
    """Whole JSON lines of another program or schema are never removed: the agent refuses the directory instead."""
    segment = written(tmp_path / "log", [EVENT])
    foreign = json.loads(segment.read_bytes())
    foreign["enforcer"]["schema"] = 9
    segment.write_text(json.dumps(foreign) + "\n")
    with pytest.raises(HostError, match=r"schema 9 is unknown.*move the file away"):
        Journal(tmp_path / "log")
    assert json.loads(segment.read_bytes()) == foreign


def test_a_second_agent_is_refused(tmp_path):
    """Two writers would interleave: the second one gets ``HostError``, and may come after the first."""
    with Journal(tmp_path / "log"), pytest.raises(HostError, match="another agent"):
        Journal(tmp_path / "log")
    Journal(tmp_path / "log").close()


def test_a_directory_that_others_may_write_is_refused(tmp_path):
    """Evidence that anybody may change is none."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log").chmod(0o777)
    with pytest.raises(HostError, match="chmod 0700"):
        Journal(tmp_path / "log")


def test_a_symbolic_link_is_not_followed(tmp_path):
    """A segment that is a link to another file is not written through."""
    (tmp_path / "log").mkdir(mode=0o700)
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "log" / "events-00000000000000000001.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(HostError):
        Journal(tmp_path / "log")
    assert (tmp_path / "victim").read_bytes() == b""


def test_an_unwritable_journal_says_what_to_do(tmp_path):
    """A path that cannot become a directory is a ``HostError`` of one line that names the option."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="--journal") as caught:
        Journal(tmp_path / "file" / "log")
    assert "\n" not in str(caught.value)


@pytest.fixture
def file_limit():
    """Sets how many bytes a file of this process may have: the kernel then writes the half that fits, and refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path, file_limit):
    """A short write is taken back at once, and the numbers of the refused batch are given to the next one."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    with Journal(tmp_path / "log") as journal:
        journal.append([EVENT])
        segment = next((tmp_path / "log").iterdir())
        size = segment.stat().st_size
        file_limit(size + 100)
        with pytest.raises(EdgeError, match="cannot be written: File too large"):
            journal.append([EVENT, EVENT])
        assert segment.stat().st_size == size
        file_limit(unlimited)
        assert journal.append([EVENT]) == 2
    assert sequences(tmp_path / "log") == [1, 2]


def test_what_could_not_be_taken_back_is_cut_at_the_next_append(tmp_path, monkeypatch):
    """Even where the disk refuses the truncation too, no record of a refused batch stays in the journal."""
    with Journal(tmp_path / "log") as journal, monkeypatch.context() as disk:
        journal.append([EVENT])

        def refuse(*_):
            raise OSError(5, "Input/output error")

        disk.setattr(os, "fdatasync", refuse)
        disk.setattr(os, "ftruncate", refuse)
        with pytest.raises(EdgeError, match="Input/output error"):
            journal.append([EVENT, EVENT])
        disk.undo()
        assert journal.append([NOTICE]) == 2
        assert journal.recovered > 0
    assert list(read([tmp_path / "log"])) == [replace(EVENT, sequence=1), replace(NOTICE, sequence=2)]


@pytest.fixture
def small_disk(tmp_path):
    """A real filesystem of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_stops_the_log_and_not_the_sink(small_disk):
    """Batches that do not fit are counted by their violations; once there is room, the log goes on and says so."""
    sink = JournalSink(Journal(small_disk / "log"))
    sink.write([EVENT])
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(1024))
    sink.write([EVENT] * 20)
    sink.write([EVENT] * 20 + [NOTICE])
    assert sink.lost == {"journal": 120, "journal-notice": 1}
    filler.unlink()
    sink.write([EVENT])
    sink.close()
    first, notice, last = read([small_disk / "log"])
    assert (first.sequence, notice.sequence, last.sequence) == (1, 2, 3)
    assert notice.action == "journal-resumed"
    assert notice.fields == {"violations": 120, "notices": 1}


def test_a_read_only_disk_is_survived(small_disk):
    """After a remount read-only the sink counts; after a remount writable it writes."""
    sink = JournalSink(Journal(small_disk / "log"))
    sink.close()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    sink.write([EVENT])
    assert sink.lost["journal"] == 3
    with pytest.raises(HostError, match="Read-only file system"):
        Journal(small_disk / "log")
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    sink.write([EVENT])
    sink.close()
    assert sequences(small_disk / "log") == [1, 2]


def test_a_removed_directory_is_noticed_and_made_again(tmp_path):
    """Writing to a file that has no name any more would lose everything silently: the batch is refused instead."""
    with Journal(tmp_path / "log") as journal:
        journal.append([EVENT])
        shutil.rmtree(tmp_path / "log")
        with pytest.raises(EdgeError, match="No such file"):
            journal.append([EVENT])
        assert journal.append([EVENT]) == 2
    assert sequences(tmp_path / "log") == [2]


def test_a_killed_writer_leaves_whole_batches(tmp_path):
    """After SIGKILL in the middle of writing, every batch that append acknowledged is there."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from enforcer.core.event import Notice
        from enforcer.edges.journal import Journal
        journal = Journal(Path(sys.argv[1]))
        while True:
            print(journal.append([Notice(0, 1, "tick", "x" * 200)] * 7), flush=True)
    """)
    writer = subprocess.Popen([sys.executable, "-c", program, tmp_path / "log"], stdout=subprocess.PIPE)
    acknowledged = [int(line) for line in itertools.islice(writer.stdout, 50)]
    writer.kill()
    acknowledged += [int(line) for line in writer.stdout if line.endswith(b"\n")]
    writer.stdout.close()
    writer.wait()
    with Journal(tmp_path / "log"):
        found = sequences(tmp_path / "log")
    assert found == list(range(1, len(found) + 1))
    assert len(found) >= acknowledged[-1]


def test_a_damaged_line_is_named(tmp_path):
    """A line in the middle that is none of ours stops the reading, with file and line."""
    segment = written(tmp_path / "log", [EVENT, EVENT])
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0] + b"rubbish\n" + lines[1])
    records = read([segment])
    assert next(records).sequence == 1
    with pytest.raises(EdgeError, match=r"events-0{19}1\.jsonl:2: not JSON"):
        next(records)


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path):
    """A reader beside a writer never sees half a record, and no error either."""
    segment = written(tmp_path / "log", [EVENT], [EVENT])
    segment.write_bytes(segment.read_bytes()[:-10])
    assert sequences(tmp_path / "log") == [1]


def test_an_endless_line_does_not_fill_the_memory(tmp_path):
    """A big file without newlines is refused, not read whole."""
    with (tmp_path / "zeroes").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(EdgeError, match="no journal"):
        list(read([tmp_path / "zeroes"]))


def test_reading_needs_something_to_read(tmp_path):
    """A path that does not exist is the caller's mistake, an empty directory is an empty journal."""
    with pytest.raises(UsageError, match="no journal at"):
        list(read([tmp_path / "nothing"]))
    assert list(read([tmp_path])) == []


def test_follow_sees_each_record_once_whatever_happens_to_the_directory(tmp_path):
    """What is appended between two looks comes once and in order, also after the directory went away and came back."""
    journal = Journal(tmp_path / "log")
    journal.append([EVENT])

    def away():
        shutil.rmtree(tmp_path / "log")
        with pytest.raises(EdgeError):
            journal.append([EVENT])

    steps = iter([lambda: journal.append([NOTICE]), away, lambda: journal.append([EVENT]), lambda: None])

    def wait():
        step = next(steps, None)
        if step:
            step()
        return step is not None

    assert [item.sequence for item in follow(tmp_path / "log", wait=wait)] == [1, 2, 3]
    journal.close()


def test_follow_waits_for_the_end_of_a_line(tmp_path):
    """Half a record is not shown; once its other half is written, it comes, once."""
    segment = written(tmp_path / "log", [EVENT, NOTICE])
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-10])
    looks = iter([lambda: segment.write_bytes(whole)])

    def wait():
        look = next(looks, None)
        if look:
            look()
        return look is not None

    assert [item.sequence for item in follow(segment, wait=wait)] == [1, 2]
