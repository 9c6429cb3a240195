"""The commands ``log`` and ``replay`` on journals that a real ``Journal`` wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from enforcer.cli.log import log_group
from enforcer.cli.render import Columns, json_text, safe, table
from enforcer.cli.replay import replay_command
from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.timestamp import moment
from enforcer.edges.ecs import decode
from enforcer.edges.journal import Journal
from enforcer.errors import EdgeError, PolicyError, UsageError

START = 1_763_431_200_000_000_000  # 2025-11-18T02:00:00Z
WRITE = Event(
    sequence=1,
    time_ns=START,
    who=Who(id="ab" * 32, name="mcp-01", networks=("mcp-internal",), internal=("mcp-internal",)),
    process=Process(pid=31, tid=31, uid=1001, name="c\x1b[2Jat"),
    attempt=FileAttempt(ObjectId(Kind.VOLUME, "mcp-02-data"), "evil\nname", inode=5, device=6),
    asked=Access.WRITE,
    granted=Access.NONE,
    mode=Mode.ENFORCE,
    verdict=Verdict.DENIED,
    mechanism=Mechanism.LSM,
    hook=Hook.OPEN,
    generation=3,
    policy="cd" * 32,
    rule=("data.rules[0]",),
    count=3,
)
CONNECT = replace(
    WRITE,
    sequence=2,
    time_ns=START + 60_000_000_000,
    who=replace(WRITE.who, name="mcp-02"),
    attempt=NetAttempt("203.0.113.10", 443, 6, "mcp-internal", external=True),
    asked=Access.CONNECT,
    verdict=Verdict.OBSERVED,
    mode=Mode.MONITOR,
    mechanism=Mechanism.CGROUP,
    hook=Hook.CONNECT4,
    rule=(),
    count=1,
)
NOTICE = Notice(3, START + 120_000_000_000, "policy-loaded", "policy cd is in force", fields={"container": "mcp-03"})
RECORDS = [WRITE, CONNECT, NOTICE]
POLICY = """\
version: 1
mode: enforce
containers:
  agents: {name: "mcp-*"}
data:
  protected:
    - volume: "mcp-*"
  rules:
    - {who: agents, read-write: [GRANT]}
network:
  internal: [mcp-internal]
"""


@pytest.fixture
def journal(tmp_path):
    """A directory with the three records above."""
    with Journal(tmp_path / "log") as opened:
        opened.append(RECORDS)
    return tmp_path / "log"


def run(command, *arguments):
    """What a command prints, and its exit code; errors of ours come out as they are."""
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def found(journal, *options):
    """The numbers of the records that ``log`` finds."""
    code, output = run(log_group, "--journal", journal, "--format", "json", *options)
    assert code == 0
    return [decode(line.encode()).sequence for line in output.splitlines()]


def test_json_is_the_journal_itself(journal):
    """Every line that ``log`` prints is the record, as it was written."""
    _, output = run(log_group, "--journal", journal, "--format", "json")
    assert [decode(line.encode()) for line in output.splitlines()] == RECORDS


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ([], [1, 2, 3]),
        (["--since", "2025-11-18T02:01:00Z"], [2, 3]),
        (["--until", "2025-11-18T02:01:00"], [1]),
        (["--since", "2025-11-18T04:01:00+02:00", "--until", "2025-11-18T02:02"], [2]),
        (["--since", "1s"], []),
        (["--container", "mcp-01"], [1]),
        (["--container", "mcp-01", "--container", "mcp-03"], [1, 3]),
        (["--container", "mcp-*"], [1, 2, 3]),
        (["--object", "mcp-02-*"], [1]),
        (["--object", "volume:mcp-02-data"], [1]),
        (["--object", "path:mcp-02-data"], []),
        (["--object", "203.0.113.10"], [2]),
        (["--object", "mcp-internal"], [2]),
        (["--verdict", "denied"], [1]),
        (["--verdict", "denied", "--verdict", "observed"], [1, 2]),
        (["--kind", "file"], [1]),
        (["--kind", "network", "--kind", "notice"], [2, 3]),
        (["--kind", "file", "--container", "mcp-02"], []),
    ],
)
def test_each_filter_holds(journal, options, numbers):
    """Different criteria must all hold; values of one criterion are alternatives."""
    assert found(journal, *options) == numbers


def test_the_table_says_what_happened(journal):
    """One row a record: when, who, what became of it, by what and which rule, what was tried."""
    _, output = run(log_group, "--journal", journal)
    head, write, connect, notice = output.splitlines()
    assert head.split() == ["TIME", "CONTAINER", "VERDICT", "BY", "RULE", "WHAT"]
    assert write.split()[:5] == ["2025-11-18T02:00:00.000Z", "mcp-01", "denied", "lsm", "data.rules[0]"]
    assert write.endswith("write volume mcp-02-data at evil\\x0aname with c\\x1b[2Jat, 3 times")
    assert "observed  cgroup" in connect
    assert "connect to 203.0.113.10:443/tcp outside mcp-internal" in connect
    assert notice.endswith("policy cd is in force")


@pytest.mark.parametrize("command", ["log", "replay"])
@pytest.mark.parametrize("format_", ["table", "json"])
def test_no_output_moves_a_cursor(journal, command, format_):
    """A file, a command or a label that contains an escape sequence never reaches the terminal raw."""
    arguments = ["--journal", journal] if command == "log" else [journal]
    _, output = run(log_group if command == "log" else replay_command, *arguments, "--format", format_)
    assert "evil" in output
    assert all(line.isprintable() for line in output.split("\n"))


def test_an_empty_journal_is_no_error(tmp_path):
    """No records: no rows, exit status 0."""
    assert run(log_group, "--journal", tmp_path) == (0, "")
    assert run(replay_command, tmp_path) == (0, "\nno attempt is recorded\n")


def test_a_journal_that_is_not_there_is_the_callers_mistake(tmp_path):
    """Both commands name the path."""
    for command, arguments in ((log_group, ["--journal", tmp_path / "x"]), (replay_command, [tmp_path / "x"])):
        with pytest.raises(UsageError, match="no journal at"):
            run(command, *arguments)


def test_a_time_that_is_none_is_refused_with_examples(journal):
    """The message shows how to write one; the exit status is that of bad usage."""
    code, output = run(log_group, "--journal", journal, "--since", "yesterday")
    assert code == 2
    assert "write 10m, 2h, 1d" in output


def test_times_before_now():
    """``90s`` and ``2d`` count back from now; our own form is exact to the nanosecond."""
    assert moment("90s", now_ns=START) == START - 90 * 10**9
    assert moment("2d", now_ns=START) == START - 2 * 86400 * 10**9
    assert moment("2025-11-18T02:00:00.000000001Z", now_ns=0) == START + 1
    assert moment("2025-11-18", now_ns=0) == START - 2 * 3600 * 10**9


def test_replay_tells_the_story_and_its_totals(journal):
    """Without a policy: the timeline, then attempts by container and verdict, counting repeats."""
    code, output = run(replay_command, journal)
    assert code == 0
    timeline, totals = output.split("\n\n")
    assert len(timeline.splitlines()) == 4
    rows = [line.split()[:3] for line in totals.splitlines()[2:]]
    assert rows == [["mcp-01", "denied", "3"], ["mcp-02", "observed", "1"]]


def test_the_story_as_json_is_one_object(journal):
    """Events as they were recorded, and totals, parsed by any JSON reader."""
    document = json.loads(run(replay_command, journal, "--format", "json")[1])
    assert [event["event"]["sequence"] for event in document["events"]] == [1, 2, 3]
    assert document["totals"][0] == {
        "container": "mcp-01",
        "verdict": "denied",
        "attempts": 3,
        "first": "2025-11-18T02:00:00.000000000Z",
        "last": "2025-11-18T02:00:00.000000000Z",
    }


def policy_file(tmp_path, grant):
    """A policy that grants agents ``grant``."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("GRANT", json.dumps(grant)))
    return path


def test_a_policy_that_changes_something_is_shown_and_exits_1(journal, tmp_path):
    """The write would have been allowed, and the connection denied instead of observed: both are listed."""
    policy = policy_file(tmp_path, "mcp-02-data")
    code, output = run(replay_command, journal, "--policy", policy)
    assert code == 1
    assert "write volume mcp-02-data" in output
    assert "4 attempts judged again, 4 would go another way" in output
    code, output = run(replay_command, journal, "--policy", policy, "--format", "json")
    document = json.loads(output)
    write, connect = document["changes"]
    assert (code, document["attempts"], document["changed"]) == (1, 4, 4)
    assert (write["was"], write["now"], write["attempts"], write["rule"]) == ("denied", "allowed", 3, ["data.rules[0]"])
    assert (connect["was"], connect["now"], connect["container"]) == ("observed", "denied", "mcp-02")


def test_a_policy_that_changes_nothing_exits_0(journal, tmp_path):
    """The same decisions: nothing to list."""
    policy = policy_file(tmp_path, "{name}-data")
    with Journal(tmp_path / "other") as opened:
        opened.append([WRITE])
    assert run(replay_command, tmp_path / "other", "--policy", policy) == (
        0,
        "3 attempts judged again, 0 would go another way\n",
    )


def test_a_bad_policy_is_refused(journal, tmp_path):
    """A policy that does not load judges nothing."""
    (tmp_path / "policy.yaml").write_text("version: 1\nmode: perhaps\n")
    with pytest.raises(PolicyError):
        run(replay_command, journal, "--policy", tmp_path / "policy.yaml")


def test_a_damaged_journal_is_named_with_its_line(journal):
    """What was readable is shown, then the error says where reading ended."""
    segment = next(journal.iterdir())
    segment.write_bytes(segment.read_bytes() + b"rubbish\n")
    with pytest.raises(EdgeError, match=r"\.jsonl:4: not JSON"):
        run(log_group, "--journal", journal)


def enforcer(*arguments, **options):
    """The installed command's own entry point, as a program."""
    program = "from enforcer.cli import main; main()"
    argv = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, **options)


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path):
    """``enforcer log | head -1``: no traceback, no complaint, however much there was to print."""
    with Journal(tmp_path / "log") as opened:
        opened.append([WRITE] * 2000)
    for arguments in (["log", "--journal", tmp_path / "log"], ["replay", tmp_path / "log", "--format", "json"]):
        with enforcer(*arguments, stdout=subprocess.PIPE) as program:
            program.stdout.readline()
            program.stdout.close()
            assert program.stderr.read() == ""
        assert program.returncode == 0


def test_output_that_cannot_be_written_is_one_line(journal):
    """A full disk under standard output is an error of a neighbour: exit status 4, one line, no traceback."""
    with open("/dev/full", "w") as full, enforcer("log", "--journal", journal, stdout=full) as program:
        assert program.stderr.read() == "enforcer: standard output cannot be written: No space left on device\n"
    assert program.returncode == 4


def test_a_terminal_without_utf8_gets_escapes(tmp_path):
    """Characters that the terminal cannot show are escaped, not raised."""
    with Journal(tmp_path / "log") as opened:
        opened.append([replace(WRITE, process=replace(WRITE.process, name="🚀"))])
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    arguments = ["log", "--journal", tmp_path / "log"]
    with enforcer(*arguments, stdout=subprocess.PIPE, env=environment) as program:
        assert "with \\U0001f680" in program.stdout.read()
    assert program.returncode == 0


@pytest.mark.timeout(60)
def test_follow_shows_what_comes(journal):
    """A record that is appended while ``log --follow`` runs is printed, unbuffered; an interrupt ends it quietly."""
    arguments = ["log", "--journal", journal, "--follow", "--format", "json", "--kind", "file"]
    with enforcer(*arguments, stdout=subprocess.PIPE) as program:
        assert decode(program.stdout.readline().encode()).sequence == 1
        with Journal(journal) as opened:
            opened.append([CONNECT, WRITE])
        assert decode(program.stdout.readline().encode()).sequence == 5
        program.send_signal(2)
        assert program.stderr.read() == ""
    assert program.returncode == 0


def test_tables_keep_each_row_on_its_line():
    """A cell with a newline or an escape sequence cannot begin a row of its own; numbers stay as they are."""
    lines = table(("A", "B"), [("x\ny", 1), ("\x1b[2J", "007")]).splitlines()
    assert len(lines) == 4
    assert lines[2].split() == ["x\\x0ay", "1"]
    assert lines[3].split() == ["\\x1b[2J", "007"]


def test_what_is_safe_already_is_left_alone():
    """Escaping twice would make an escaped name unreadable."""
    assert safe("a\\x0ab") == "a\\x0ab"
    assert safe("a\nb\\") == "a\\x0ab\\"


def test_json_is_plain_ascii():
    """Any string, lone surrogates included, comes out as JSON that a terminal may see."""
    value = {"name": "\x7f\x85\udcff🚀", "set": {"b", "a"}}
    text = json_text(value)
    assert all(line.isascii() and line.isprintable() for line in text.split("\n"))
    assert json.loads(text) == {"name": "\x7f\x85\udcff🚀", "set": ["a", "b"]}


def test_a_cell_that_is_too_wide_pushes_only_its_own_row():
    """Nothing is cut off a name in a streamed table."""
    columns = Columns(("A", 3), ("B", 2), ("C", 0))
    assert columns.head == "A    B   C"
    assert columns.row(["long-name", "x", "y"]) == "long-name  x   y"
