"""``log timeline`` and ``log matrix``: on a terminal, as SVG, as HTML."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from enforcer.cli.drawing import STYLE
from enforcer.cli.log import log_group
from enforcer.core.event import FileAttempt, NetAttempt
from enforcer.core.model import Kind, ObjectId, Verdict
from enforcer.core.tally_words import VERDICTS
from enforcer.edges.journal import Journal
from enforcer.errors import EdgeError, UsageError
from tests.unit.test_cli_log import CONNECT, NOTICE, RECORDS, START, WRITE, run

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    "]]><b onload='x'>",
    "evil\x1b[2J\n\"&'",
    "\udcff\u202e&amp;",
    "a" * 300,
    "&#0;\ufffe",
]
PICTURES = ["timeline", "matrix"]
MINUTE = 60 * 10**9


def recorded(directory, events):
    """A journal of ``events``."""
    with Journal(directory) as opened:
        opened.append(events)
    return directory


@pytest.fixture
def journal(tmp_path):
    """The three records of ``test_cli_log``."""
    return recorded(tmp_path / "log", RECORDS)


def crowd(containers=25, objects=60):
    """Every container tried to reach every object, by hostile names where there are any."""
    names = [*HOSTILE, *(f"mcp-{n:02}" for n in range(containers))][:containers]
    things = [*HOSTILE, *(f"volume-{n:02}" for n in range(objects))][:objects]
    for n, name in enumerate(names):
        for m, thing in enumerate(things):
            attempt = FileAttempt(ObjectId(Kind.VOLUME, thing), "x", 5, 6)
            who = replace(WRITE.who, name=name, id=f"{n:064x}")
            yield replace(
                WRITE, who=who, attempt=attempt, time_ns=START + (n * objects + m) * MINUTE, policy=HOSTILE[n % 6]
            )


def picture(journal, kind, tmp_path, *options):
    """The root element of the SVG, and its text."""
    path = tmp_path / f"{kind}.svg"
    assert run(log_group, kind, "--journal", journal, "--svg", path, *options) == (0, "")
    text = path.read_text()
    return ElementTree.fromstring(text), text  # noqa: S314 -- we have just written it


def words(root):
    """All that is written in a picture, tooltips included."""
    return [piece for node in root.iter() if node.tag != f"{SVG}style" for piece in (node.text, node.tail) if piece]


def test_the_timeline_on_a_terminal(journal, monkeypatch):
    """A row for each container and verdict, blocks on one axis, peak and total behind."""
    monkeypatch.setenv("COLUMNS", "80")
    code, text = run(log_group, "timeline", "--journal", journal)
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == "Violations per container over time"
    assert lines[1] == "2025-11-18 02:00:00 to 2025-11-18 02:01:00 UTC"
    assert lines[2] == "4 attempts: 3 denied, 1 observed"
    head, first, second = lines[5:8]
    assert head.split() == ["CONTAINER", "VERDICT", "02:00:00", "02:00:20", "02:00:40", "PEAK", "TOTAL"]
    assert first.split() == ["mcp-01", "denied", "█", "3", "3"]
    assert second.split() == ["mcp-02", "observed", "█", "1", "1"]
    assert first.index("█") == head.index("02:00:00")
    assert second.index("█") == head.index("02:00:40") + 10
    assert "a column is 2 s" in lines[-1]


def test_the_matrix_on_a_terminal(journal, monkeypatch):
    """Attempts with the letter of the worst that became of them; columns are numbered and said beneath."""
    monkeypatch.setenv("COLUMNS", "80")
    code, text = run(log_group, "matrix", "--journal", journal)
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["CONTAINER", "1", "2"] in lines
    assert ["mcp-01", "3", "D", "."] in lines
    assert ["mcp-02", ".", "1", "O"] in lines
    assert ["1", "volume", "mcp-02-data"] in lines
    assert ["2", "203.0.113.10:443/tcp"] in lines


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_a_picture_fits_its_terminal(tmp_path, monkeypatch, kind, columns):
    """25 containers and 60 objects, some with names that mean harm; nothing but printable characters comes out."""
    monkeypatch.setenv("COLUMNS", columns)
    journal = recorded(tmp_path / "log", list(crowd()))
    _, text = run(log_group, kind, "--journal", journal)
    assert all(line.isprintable() for line in text.split("\n"))
    body = [line for line in text.splitlines() if re.match(r"mcp-\d\d", line)]
    assert body
    assert all(len(line) <= max(60, int(columns)) for line in body)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_terminal_that_is_not_utf8_gets_ascii(tmp_path, kind):
    """Blocks become ASCII characters, everything else escapes."""
    journal = recorded(tmp_path / "log", list(crowd(5, 5)))
    argv = [sys.executable, "-c", "from enforcer.cli import main; main()", "log", kind, "--journal", journal]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "COLUMNS": "100"}
    found = subprocess.run(argv, capture_output=True, check=True, env=environment)
    text = found.stdout.decode("ascii")
    assert "\\u2588" not in text
    if kind == "timeline":
        assert "@" in text


def on_a_terminal(journal, kind, **environment):
    """What a command writes to a terminal."""
    master, slave = pty.openpty()
    argv = [sys.executable, "-c", "from enforcer.cli import main; main()", "log", kind, "--journal", journal]
    clean = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    with subprocess.Popen(argv, stdout=slave, env={**clean, "TERM": "xterm", **environment}) as program:
        os.close(slave)
        output = b""
        while chunk := _chunk(master):
            output += chunk
    os.close(master)
    assert program.returncode == 0
    return output.decode()


def _chunk(master):
    try:
        return os.read(master, 65536)
    except OSError:  # how a terminal says that nobody writes any more
        return b""


@pytest.mark.parametrize("kind", PICTURES)
def test_colours_are_only_for_terminals_that_want_them(journal, kind):
    """NO_COLOR is honoured, and so is a dumb terminal; the only escape sequences are those of the colours."""
    text = on_a_terminal(journal, kind)
    assert "\x1b[" in text
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in on_a_terminal(journal, kind, NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(journal, kind, TERM="dumb")
    assert "\x1b" in on_a_terminal(journal, kind, NO_COLOR="")


@pytest.mark.parametrize("kind", PICTURES)
def test_the_same_filters_as_log(journal, tmp_path, monkeypatch, kind):
    """And the picture says that it shows a part."""
    monkeypatch.setenv("COLUMNS", "100")
    _, text = run(log_group, kind, "--journal", journal, "--container", "mcp-02", "--verdict", "observed")
    assert "mcp-01" not in text
    assert "only container mcp-02; verdict observed" in text
    root, _ = picture(journal, kind, tmp_path, "--kind", "network")
    assert "only kind network" in words(root)


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_needs_nothing_and_runs_nothing(tmp_path, kind):
    """Well-formed, self-contained, and whatever a container is called stays text: no element and no attribute comes of it."""
    journal = recorded(tmp_path / "log", list(crowd()))
    root, text = picture(journal, kind, tmp_path)
    ours = {"svg", "title", "desc", "style", "rect", "text", "line", "g"}
    assert {node.tag.removeprefix(SVG) for node in root.iter()} == ours
    attributes = {name for node in root.iter() for name in node.attrib}
    assert not {a for a in attributes if a.startswith("on") or "href" in a or a in ("src", "style")}
    assert "url(" not in text
    assert "@import" not in text
    assert all(piece.replace("\n", "").isprintable() for piece in words(root))
    assert any("<script>alert(1)</script>" in piece for piece in words(root))


@pytest.mark.parametrize("kind", PICTURES)
def test_the_page_runs_nothing(tmp_path, kind):
    """No script and no handler, names as text only, and a policy that would forbid what slipped through."""
    journal = recorded(tmp_path / "log", list(crowd()))
    page = tmp_path / "page.html"
    assert run(log_group, kind, "--journal", journal, "--html", page) == (0, "")
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search(r"<[^>]*\s(on\w+|src|href)=", re.sub(r">[^<]*<", "><", text))
    assert "default-src 'none'" in text
    assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("kind", PICTURES)
def test_everything_lies_within_the_picture(tmp_path, kind):
    """25 containers by 60 objects: no bar, cell or label is outside, and no two cells share their place."""
    journal = recorded(tmp_path / "log", list(crowd()))
    root, _ = picture(journal, kind, tmp_path)
    width, height = float(root.get("width")), float(root.get("height"))
    places = [(float(n.get("x")), float(n.get("y"))) for n in root.iter() if n.get("x") is not None]
    assert len(places) > 25
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    corners = [(n.get("x"), n.get("y")) for n in root.iter(f"{SVG}rect") if n.get("class") == "denied"]
    assert len(corners) == len(set(corners))


def test_the_timeline_has_a_bar_for_each_bucket_that_is_not_empty(journal, tmp_path):
    """Its tooltip says when, how many and with which verdict; even one attempt among thousands can be seen."""
    many = [replace(WRITE, count=100_000), replace(WRITE, time_ns=START + MINUTE, verdict=Verdict.KILLED, count=1)]
    root, _ = picture(recorded(tmp_path / "many", many), "timeline", tmp_path)
    titles = [group.find(f"{SVG}title").text for group in root.iter(f"{SVG}g")]
    assert titles == [
        "mcp-01, 2025-11-18 02:00:00 and 500 ms on: 100,000 denied",
        "mcp-01, 2025-11-18 02:01:00 and 500 ms on: 1 killed",
    ]
    (bar,) = [n for n in root.iter(f"{SVG}rect") if n.get("class") == "killed" and float(n.get("width")) != 12]
    assert float(bar.get("height")) >= 2


def test_the_matrix_has_a_cell_for_each_pair(journal, tmp_path):
    """Its number is the attempts, its class the worst verdict, its tooltip all verdicts."""
    both = [WRITE, replace(WRITE, verdict=Verdict.KILLED, count=2000), CONNECT]
    root, _ = picture(recorded(tmp_path / "both", both), "matrix", tmp_path)
    cells = [(g.find(f"{SVG}title").text, g.find(f"{SVG}rect").get("class"), g[2].text) for g in root.iter(f"{SVG}g")]
    assert cells == [
        ("mcp-01, volume mcp-02-data: 2,000 killed, 3 denied", "killed", "2k"),
        ("mcp-02, 203.0.113.10:443/tcp: 1 observed", "observed", "1"),
    ]


def luminance(colour):
    """Relative luminance (WCAG 2.1) of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    """Contrast ratio (WCAG 2.1) of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_told_apart_and_read(dark):
    """By lightness alone, in the order of the verdicts, on either ground; text on them has at least 4.5 to 1 (WCAG AA)."""
    light_rules, dark_rules = STYLE.split("@media")
    rules = {}
    for part in (light_rules, dark_rules if dark else ""):
        for selectors, colour in re.findall(r"([.\w,-]+)\{fill:(#\w{6})\}", part):
            rules |= dict.fromkeys(selectors.replace(".", "").split(","), colour)
    shades = [luminance(rules[v.name.lower()]) for v in VERDICTS]
    assert shades == sorted(shades, reverse=dark)
    assert all(abs(a - b) > 0.05 for a, b in pairwise(shades))
    for verdict in VERDICTS:
        word = verdict.name.lower()
        assert contrast(rules[word], rules[f"on-{word}"]) >= 4.5
    assert contrast(rules["ink"], rules["ground"]) >= 7
    assert contrast(rules["dim"], rules["stripe"]) >= 4.5


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize(
    "events",
    [
        [],
        [NOTICE],
        [WRITE],
        [replace(WRITE, time_ns=-62_135_596_800 * 10**9), replace(CONNECT, time_ns=253_402_300_799 * 10**9)],
        [replace(WRITE, verdict=Verdict.ALLOWED)],
        [replace(WRITE, who=replace(WRITE.who, name="", id=""))],
        [replace(CONNECT, attempt=NetAttempt("", 0, 0, socket="packet"))],
    ],
    ids=["empty", "a notice", "one", "all years", "allowed", "nobody", "socket"],
)
def test_any_journal_has_a_picture(tmp_path, monkeypatch, kind, events):
    """None at all, one record, the first and the last year: on the terminal, as JSON, SVG and HTML, with exit status 0."""
    monkeypatch.setenv("COLUMNS", "80")
    journal = recorded(tmp_path / "log", events)
    code, text = run(log_group, kind, "--journal", journal)
    assert code == 0
    violations = [e for e in events if e is not NOTICE and (kind == "matrix" or e.verdict is not Verdict.ALLOWED)]
    assert ("recorded" in text) is not bool(violations)
    assert json.loads(run(log_group, kind, "--journal", journal, "--format", "json")[1])["attempts"].keys() == {
        e.verdict.name.lower() for e in violations
    }
    picture(journal, kind, tmp_path)
    assert run(log_group, kind, "--journal", journal, "--html", tmp_path / "x.html") == (0, "")


def test_a_hundred_thousand_events(tmp_path, monkeypatch):
    """Both pictures hold every attempt."""
    monkeypatch.setenv("COLUMNS", "120")
    with Journal(tmp_path / "log") as opened:
        for n in range(100):
            who = replace(WRITE.who, name=f"mcp-{n % 20:02}")
            opened.append(
                [replace(WRITE, who=who, count=1, time_ns=START + (n * 1000 + m) * 10**9) for m in range(1000)]
            )
        opened.close(settle=True)
    for kind in PICTURES:
        code, text = run(log_group, kind, "--journal", tmp_path / "log")
        assert code == 0
        assert "100,000 attempts: 100,000 denied" in text
    root, _ = picture(tmp_path / "log", "timeline", tmp_path)
    bars = sum(int(t.text.rpartition(": ")[2].split()[0].replace(",", "")) for g in root.iter(f"{SVG}g") for t in g[:1])
    assert bars == 100_000


def test_json_holds_the_numbers(journal):
    """For programs: names as they are, attempts by verdict."""
    document = json.loads(run(log_group, "timeline", "--journal", journal, "--format", "json")[1])
    assert document["start"] == "2025-11-18T02:00:00.000000000Z"
    assert document["policies"] == ["cd" * 32]
    rows = {row["container"]: row["counts"] for row in document["rows"]}
    assert rows["mcp-01"]["denied"][0] == 3
    assert rows["mcp-02"]["observed"][-1] == 1
    document = json.loads(run(log_group, "matrix", "--journal", journal, "--format", "json")[1])
    assert document["cells"][0] == {
        "container": "mcp-01",
        "target": "volume mcp-02-data",
        "group": "data",
        "attempts": {"denied": 3},
        "worst": "denied",
    }


def test_a_picture_is_for_its_owner_alone(journal, tmp_path):
    """Mode 0600 whatever the umask, nothing beside it, and what was there is replaced."""
    before = os.umask(0)
    try:
        (tmp_path / "matrix.svg").write_text("old")
        picture(journal, "matrix", tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "matrix.svg").stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "matrix.svg"]


def test_a_picture_goes_to_standard_output_too(journal):
    """``--svg -``; but not two at once."""
    code, text = run(log_group, "timeline", "--journal", journal, "--svg", "-")
    assert code == 0
    assert text.startswith("<?xml")
    assert text.rstrip().endswith("</svg>")
    code, text = run(log_group, "timeline", "--journal", journal, "--svg", "-", "--html", "-")
    assert code == 2
    assert "cannot both" in text


def test_a_picture_that_cannot_be_written(journal, tmp_path):
    """No directory and no regular file there: usage; in the journal: usage; a journal that breaks leaves the old picture."""
    target = tmp_path / "m.svg"
    target.write_text("old")
    with pytest.raises(UsageError, match="there is no directory"):
        run(log_group, "matrix", "--journal", journal, "--svg", tmp_path / "x" / "m.svg")
    with pytest.raises(UsageError, match="lies in the journal"):
        run(log_group, "matrix", "--journal", journal, "--svg", next(journal.glob("*.jsonl")))
    result = CliRunner().invoke(log_group, ["matrix", "--journal", str(journal), "--svg", str(tmp_path)])
    assert result.exit_code == 2
    segment = next(journal.glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes() + b"rubbish\n")
    with pytest.raises(EdgeError, match="not JSON"):
        run(log_group, "matrix", "--journal", journal, "--svg", target)
    assert target.read_text() == "old"
