"""``export``: every row is compared with the journal; files are whole or not there; no spreadsheet is given a formula."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from dataclasses import fields, replace
from datetime import datetime

import duckdb
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from enforcer.cli import cli
from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.flat import COLUMNS, Type, row
from enforcer.core.model import Kind, ObjectId, Verdict
from enforcer.core.spreadsheet import cells, guarded
from enforcer.core.timestamp import from_rfc3339, to_rfc3339
from enforcer.core.words import escape, unescape
from enforcer.edges import parquet as edge
from enforcer.edges.csvfile import write_csv
from enforcer.edges.index import index_path
from enforcer.edges.journal import Journal
from enforcer.edges.segments import read, segment_name
from enforcer.edges.timesketch import timesketch, write_timesketch
from enforcer.errors import EdgeError, HostError, UsageError
from tests.edges.test_ecs import EVENTS, NOTICES, TEXT
from tests.unit.test_cli_log import CONNECT, NOTICE, RECORDS, START, WRITE, run

HOSTILE = [
    '=HYPERLINK("http://x.example","y")',
    *("+1", "-2", "@SUM(A1)", "\t=1", "a;=1", 'a";"=1', "a\n=1", "\uff1d1", "'=1", "\\x3d1"),
]
NAMES = [column.name for column in COLUMNS]


def hostile():
    """Attempts that carry what a spreadsheet would calculate wherever a container can put a text."""
    for n, text in enumerate(HOSTILE):
        who = replace(WRITE.who, name=text, image=text, labels={text: text, "a=b": "c"}, networks=(text, "n"))
        attempt = FileAttempt(ObjectId(Kind.VOLUME, text), text, inode=2**64 - 1, device=6, cut=True)
        yield replace(
            WRITE, who=who, attempt=attempt, process=replace(WRITE.process, name=text), time_ns=START + n, rule=(text,)
        )
        yield replace(
            CONNECT, attempt=replace(CONNECT.attempt, address="2001:db8::1", peer=text, network=text, name=text)
        )
        yield Notice(0, START, text, text, fields={text: text, "n": 2**63})


@pytest.fixture
def journal(tmp_path):
    """The three records of ``test_cli_log``, and hostile ones."""
    with Journal(tmp_path / "log") as opened:
        opened.append([*RECORDS, *hostile()])
    return tmp_path / "log"


def exported(journal, form, out, *options):
    """Export to ``out``; the records that should be in it."""
    code, text = run(cli, "export", "--journal", journal, "--format", form, out, *options)
    assert code == 0
    assert text.endswith(f"records to {out}\n")
    return list(read([journal]))


def plain(values):
    """A row of ``core.flat`` as readers give it back: lists, and times in ns."""
    return [list(v) if isinstance(v, tuple) else v for v in values]


def test_parquet_holds_every_record(journal, tmp_path):
    """Read back by pyarrow: the same rows, typed; times to the nanosecond."""
    items = exported(journal, "parquet", tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == NAMES
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert str(table.schema.field("rules").type).startswith("list<")
    columns = [
        (c.cast(pyarrow.int64()) if pyarrow.types.is_timestamp(c.type) else c).to_pylist() for c in table.itercolumns()
    ]
    assert [list(values) for values in zip(*columns, strict=True)] == [plain(row(item)) for item in items]


def test_parquet_is_read_by_duckdb(journal, tmp_path):
    """Another reader than the writer's: the same rows, and questions in SQL."""
    items = exported(journal, "parquet", tmp_path / "out.parquet")
    with duckdb.connect() as db:
        asked = ", ".join(f"epoch_ns({c.name})" if c.type is Type.TIME else f'"{c.name}"' for c in COLUMNS)
        found = db.execute(f"SELECT {asked} FROM '{tmp_path}/out.parquet' ORDER BY sequence").fetchall()  # noqa: S608
        assert [list(values) for values in found] == [plain(row(item)) for item in items]
        question = f"SELECT container, sum(count) FROM '{tmp_path}/out.parquet' WHERE verdict = 'denied' AND container = 'mcp-01' GROUP BY 1"  # noqa: E501, S608
        assert db.execute(question).fetchall() == [("mcp-01", 3)]


def test_parquet_is_written_in_groups(tmp_path, monkeypatch):
    """Memory holds a group of rows, not the journal."""
    monkeypatch.setattr(edge, "GROUP", 10)
    with Journal(tmp_path / "log") as opened:
        opened.append([WRITE] * 35)
    exported(tmp_path / "log", "parquet", tmp_path / "out")
    file = parquet.ParquetFile(tmp_path / "out")
    assert [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)] == [10, 10, 10, 5]


@settings(deadline=None, max_examples=50)
@given(items=st.lists(EVENTS | NOTICES, max_size=5))
def test_parquet_takes_whatever_a_journal_holds(items):
    """Any text, any number of a journal; a time that 64 bits of nanoseconds do not reach is the nearest that they do."""
    file = io.BytesIO()
    assert edge.write_parquet(items, file) == len(items)
    found = parquet.read_table(io.BytesIO(file.getvalue()))
    times = [time.value for time in found["time"]]
    assert times == [min(item.time_ns, 2**63 - 1) for item in items]


@pytest.mark.parametrize(("year", "wanted"), [("0001", -(2**63)), ("9999", 2**63 - 1)])
def test_one_wrong_clock_keeps_no_record_from_parquet(journal, tmp_path, year, wanted):
    """A record of the year 1 or 9999 among the others: all are there."""
    with Journal(journal) as opened:
        opened.append([replace(WRITE, time_ns=from_rfc3339(f"{year}-01-01T00:00:00.000000000Z"))])
    items = exported(journal, "parquet", tmp_path / "out")
    found = parquet.read_table(tmp_path / "out")
    assert found.num_rows == len(items)
    assert found["time"][len(items) - 1].value == wanted


def test_without_pyarrow_it_says_what_to_install(journal, tmp_path, monkeypatch):
    """A host without the extra: exit status 3, and no file."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HostError, match=r"pip install 'enforcer\[export\]'"):
        run(cli, "export", "--journal", journal, "--format", "parquet", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_csv_holds_every_record(journal, tmp_path):
    """Read back by the csv module: each cell gives back what the journal holds, hostile texts included."""
    items = exported(journal, "csv", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == NAMES
    assert [uncelled(values) for values in rows] == [plain_csv(row(item)) for item in items]
    assert (tmp_path / "out.csv").read_bytes().count(b"\r\n") == len(items) + 1


def uncelled(values):
    """What ``core.spreadsheet`` made the cells of, by its documentation."""
    return [_uncelled(column, value) for column, value in zip(COLUMNS, values, strict=True)]


def _uncelled(column, text):
    if column.type is Type.TEXTS:
        return [unescape(t) for t in json.loads(text)] if text else None
    if not text and column.type is not Type.TEXT:
        return None
    kinds = {Type.TIME: from_rfc3339, Type.FLAG: {"true": True, "false": False}.get, Type.TEXT: unescape}
    return kinds.get(column.type, int)(text)


def plain_csv(values):
    """A row as the journal means it: unescaped; an empty text and none are one in CSV."""
    found = []
    for column, value in zip(COLUMNS, values, strict=True):
        if column.type is Type.TEXTS:
            found.append(None if value is None else [unescape(t) for t in value])
        else:
            found.append(unescape(value or "") if column.type is Type.TEXT else value)
    return found


STARTS = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"


@given(text=TEXT | st.text("=+-@;,|\"' \t\na\\x3d\uff1d", max_size=12))
def test_no_cell_begins_a_formula(text):
    """Wherever a program may think that a cell begins; and the text comes back."""
    safe = guarded(escape(text))
    assert unescape(safe) == text
    for separator in ";,| \"'":
        assert not any(part[:1] and part[0] in STARTS for part in safe.split(separator))


@given(item=EVENTS | NOTICES)
def test_no_cell_of_any_record_begins_a_formula(item):
    """Numbers, times and lists as well: none is negative, and a list begins with a bracket."""
    assert not any(cell[:1] and cell[0] in STARTS for cell in cells(row(item)))


@settings(deadline=None)
@given(items=st.lists(EVENTS | NOTICES, max_size=4))
def test_csv_takes_whatever_a_journal_holds(items):
    """Every line is one record, whatever characters a name has."""
    file = io.BytesIO()
    assert write_csv(items, file) == len(items)
    assert not file.closed
    rows = list(csv.reader(io.StringIO(file.getvalue().decode(), newline="")))
    assert [uncelled(values) for values in rows[1:]] == [plain_csv(row(item)) for item in items]


def test_timesketch_has_what_timesketch_asks_for(journal, tmp_path):
    """Each line: ``message``, ``datetime`` in ISO 8601 with its zone, ``timestamp_desc``, ``timestamp`` in microseconds."""
    items = exported(journal, "timesketch", tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == len(items)
    for line, item in zip(lines, items, strict=True):
        assert line["message"]
        moment = datetime.fromisoformat(line["datetime"])
        assert moment.utcoffset().total_seconds() == 0
        assert round(moment.timestamp() * 10**6) == line["timestamp"] == item.time_ns // 1000
        assert line["@timestamp"] == to_rfc3339(item.time_ns)
        assert line["timestamp_desc"] == ("Access attempt" if isinstance(item, Event) else "Enforcer notice")
        assert line["event.sequence"] == item.sequence
    assert lines[0]["container.name"] == "mcp-01"
    assert lines[0]["enforcer.verdict"] == "denied"
    assert lines[0]["rule.id"] == ["data.rules[0]"]
    assert lines[2]["enforcer.fields"] == ["container=mcp-03"]


@settings(deadline=None)
@given(item=EVENTS | NOTICES)
def test_no_name_becomes_a_field(item):
    """Lines are flat; whatever labels are called, the names of the fields are ours, and no reserved one is among them."""
    line = timesketch(item)
    assert not any(isinstance(value, dict) for value in line.values())
    assert all(name.replace(".", "").replace("_", "").removeprefix("@").isalnum() for name in line)
    assert not {"tag", "_id", "_type", "_index", "_source", "__ts_timeline_id"} & set(line)
    file = io.BytesIO()
    write_timesketch([item], file)
    assert file.getvalue().count(b"\n") == 1


def test_timesketch_takes_only_jsonl(journal, tmp_path):
    """Its importer looks at the name: one that it would refuse is refused here."""
    with pytest.raises(UsageError, match=r"names end in \.jsonl"):
        run(cli, "export", "--journal", journal, "--format", "timesketch", tmp_path / "out.json")
    with pytest.raises(UsageError, match=r"names end in \.jsonl"):
        run(cli, "export", "--journal", journal, "--format", "timesketch", "/")


def test_every_fact_has_its_column():
    """A field that is added to an event must be exported, too, or be named here with its reason."""
    told = {
        *("who", "process", "attempt"),  # taken apart below
        *("id", "name"),  # container, container_id, process, name_asked
        *(
            "labels",
            "labels_cut",
            "networks",
            "image",
            "path",
            "inode",
            "device",
            "address",
            "port",
            "protocol",
            "network",
            "external",
        ),
        *(
            "peer",
            "host",
            "socket",
            "resolver",
            "mode",
            "verdict",
            "mechanism",
            "hook",
            "generation",
            "policy",
            "count",
        ),
        *("errno", "sequence", "action", "message", "outcome", "fields", "pid", "tid", "uid", "granted"),
        *("internal", "object", "cut", "time_ns", "asked", "rule", "first_ns"),  # by longer names
    }
    known = {f.name for kind in (Event, Notice, Who, Process, FileAttempt, NetAttempt) for f in fields(kind)}
    assert known == told


@pytest.mark.parametrize("form", ["parquet", "csv", "timesketch"])
def test_the_same_filters_as_log(journal, tmp_path, form):
    """Only what is asked for is written; nothing found is a file without rows, and no error."""
    out = tmp_path / "out.jsonl"
    code, text = run(
        cli, "export", "--journal", journal, "--format", form, out, "--container", "mcp-02", "--verdict", "observed"
    )
    assert (code, text) == (0, f"{1 + len(HOSTILE)} records to {out}\n")
    code, text = run(cli, "export", "--journal", journal, "--format", form, out, "--since", "1s")
    assert (code, text) == (0, f"0 records to {out}\n")


@pytest.mark.parametrize("form", ["parquet", "csv", "timesketch"])
def test_a_file_is_whole_or_not_there(journal, tmp_path, form):
    """A journal that turns out to be damaged leaves what was there before, and nothing beside it; a good one mode 0600."""
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    out.chmod(0o644)
    (segment,) = journal.glob("*.jsonl")
    good = segment.read_bytes()
    segment.write_bytes(good + b"rubbish\n")
    with pytest.raises(EdgeError, match="not JSON"):
        run(cli, "export", "--journal", journal, "--format", form, out)
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "out.jsonl"]
    segment.write_bytes(good)
    exported(journal, form, out)
    assert out.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "out.jsonl"]


def test_nothing_but_a_file_is_replaced(journal, tmp_path):
    """A device, a pipe or a directory stays what it is; the journal that is read is not written over."""
    os.mkfifo(tmp_path / "pipe")
    for out in (tmp_path, tmp_path / "pipe", "/dev/null"):
        with pytest.raises(UsageError, match="no regular file"):
            run(cli, "export", "--journal", journal, "--format", "csv", out)
    (segment,) = journal.glob("*.jsonl")
    link = tmp_path / "link.jsonl"
    link.symlink_to(segment)
    for out in (segment, link, journal / "out.csv"):
        with pytest.raises(UsageError, match="lies in the journal"):
            run(cli, "export", "--journal", journal, "--format", "csv", out)
    with pytest.raises(UsageError, match="lies in the journal"):
        run(cli, "export", "--journal", segment, "--format", "csv", segment)
    for other in (segment_name(7), f"{segment_name(7)}.zst"):
        with pytest.raises(UsageError, match="named like a segment"):
            run(cli, "export", "--journal", segment, "--format", "csv", journal / other)
    with pytest.raises(UsageError, match="lies in the journal"):
        run(cli, "export", "--journal", segment, "--format", "csv", index_path(segment))
    with pytest.raises(UsageError, match="there is no directory"):
        run(cli, "export", "--journal", journal, "--format", "csv", tmp_path / "x" / "out.csv")
    assert len(list(read([journal]))) == len(RECORDS) + 3 * len(HOSTILE)


def enforcer(*arguments, **options):
    """The command as a program of its own."""
    argv = [sys.executable, "-c", "from enforcer.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("form", ["parquet", "csv", "timesketch"])
def test_standard_output_gets_the_same(journal, tmp_path, form):
    """``-`` may be a pipe; nothing but the export is in it."""
    exported(journal, form, tmp_path / "out.jsonl")
    with enforcer("export", "--journal", journal, "--format", form, "-", stdout=subprocess.PIPE) as program:
        output, errors = program.communicate()
    assert (program.returncode, errors) == (0, b"")
    assert output == (tmp_path / "out.jsonl").read_bytes()


def test_no_terminal_gets_parquet(journal):
    """Bytes that a terminal would obey."""
    master, slave = pty.openpty()
    with enforcer("export", "--journal", journal, "--format", "parquet", "-", stdout=slave) as program:
        assert (
            program.stderr.read()
            == b"enforcer: Parquet is no text for a terminal: name a file, or send it through a pipe\n"
        )
    os.close(master)
    os.close(slave)
    assert program.returncode == 2


@pytest.mark.parametrize("form", ["parquet", "csv", "timesketch"])
def test_standard_output_that_fails(tmp_path, form):
    """A full disk is one line and exit status 4; a reader that goes away ends it quietly."""
    with Journal(tmp_path / "log") as opened:
        opened.append([replace(WRITE, who=replace(WRITE.who, name=os.urandom(32).hex())) for _ in range(3000)])
    arguments = ("export", "--journal", tmp_path / "log", "--format", form, "-")
    with open("/dev/full", "wb") as full, enforcer(*arguments, stdout=full) as program:
        assert program.stderr.read() == b"enforcer: standard output cannot be written: No space left on device\n"
    assert program.returncode == 4
    with enforcer(*arguments, stdout=subprocess.PIPE) as program:
        program.stdout.read(10)
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 0


def test_a_journal_that_is_not_there(tmp_path):
    """The caller's mistake; no file is made."""
    with pytest.raises(UsageError, match="no journal at"):
        run(cli, "export", "--journal", tmp_path / "x", "--format", "csv", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_verdicts_are_words():
    """Not numbers that only we know."""
    column = next(c for c in COLUMNS if c.name == "verdict")
    assert [column.event(replace(WRITE, verdict=v)) for v in Verdict] == ["allowed", "observed", "denied", "killed"]
    assert column.notice(NOTICE) is None
