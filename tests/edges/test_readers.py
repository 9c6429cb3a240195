"""The journal as it is, read by what responders have: jq, zstd, DuckDB; and what shippers and Timesketch ask of a file."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime

import duckdb
import pytest

from enforcer.core.event import NetAttempt
from enforcer.core.model import Access, Hook, Mechanism, Verdict
from enforcer.edges.journal import Journal
from enforcer.edges.segments import segments_of
from enforcer.settings import Limits
from tests.edges.test_journal import EVENT, NOTICE, replace

CONNECT = replace(
    EVENT,
    who=replace(EVENT.who, name="mcp-02", labels={"a.b/c": "1"}),
    attempt=NetAttempt("203.0.113.10", 443, 6, "mcp-internal", external=True),
    asked=Access.CONNECT,
    verdict=Verdict.OBSERVED,
    mechanism=Mechanism.CGROUP,
    hook=Hook.CONNECT4,
    count=1,
)


@pytest.fixture
def journal(tmp_path):
    """Two sealed segments and one that is written to."""
    with Journal(tmp_path / "log", Limits(segment_size=1)) as opened:
        opened.append([NOTICE, EVENT])
        opened.append([CONNECT, EVENT])
        opened.append([EVENT])
        opened.close(settle=True)
    assert [path.suffix for path in segments_of(tmp_path / "log")] == [".zst", ".zst", ".jsonl"]
    return tmp_path / "log"


def output(command, **options):
    """What a shell command prints."""
    return subprocess.run(["sh", "-ec", command], check=True, capture_output=True, text=True, **options).stdout


def test_jq_reads_it(journal):
    """A question as a responder would write it, over sealed and plain segments alike."""
    question = 'select(.enforcer.verdict == "denied") | [.container.name, .enforcer.count] | @tsv'
    found = output(f"zstdcat -f events-*.jsonl* | jq -r '{question}'", cwd=journal)
    assert found == "mcp-01\t3\n" * 3


def test_duckdb_reads_it(journal):
    """Plain and compressed files in one query; nested fields and time are there by their names."""
    question = """
        SELECT container.name, enforcer.verdict, sum(enforcer.count)::INT, max("@timestamp"::TIMESTAMP_NS) IS NOT NULL
        FROM read_json($files, format = 'newline_delimited', union_by_name = true)
        WHERE event.dataset = 'enforcer.attempt' GROUP BY ALL ORDER BY ALL
    """
    rows = duckdb.execute(question, {"files": f"{journal}/events-*.jsonl*"}).fetchall()
    assert rows == [("mcp-01", "denied", 9, True), ("mcp-02", "observed", 1, True)]


def test_timesketch_finds_its_fields(journal):
    """Its importer wants these three on every line, and a time that it can parse (JSONL import, Timesketch's documentation)."""
    for line in output("zstdcat -f events-*.jsonl*", cwd=journal).splitlines():
        row = json.loads(line)
        assert row["message"]
        assert row["timestamp_desc"]
        assert datetime.fromisoformat(row["datetime"][:26] + "+00:00").year >= 2025


def test_a_shipper_can_follow_it(tmp_path):
    """One object a line, each ended by a newline; what was written never changes; a new segment has a new name and inode.

    This is what Vector's file source and Filebeat's filestream build on: they remember a file by inode or by its first
    bytes, and a position in it.
    """
    seen: dict[str, tuple[int, bytes]] = {}
    with Journal(tmp_path / "log", Limits(segment_size=4000)) as journal:
        for number in range(30):
            journal.append([EVENT, NOTICE] if number % 3 else [NOTICE], mark=str(number))
            for segment in (tmp_path / "log").glob("*.jsonl"):
                try:
                    inode, content = segment.stat().st_ino, segment.read_bytes()
                except FileNotFoundError:  # complete, read before, and sealed since it was listed
                    assert segment.name in seen
                    continue
                before = seen.setdefault(segment.name, (inode, b""))
                assert before[0] == inode
                assert content.startswith(before[1])
                assert content.endswith(b"\n")
                seen[segment.name] = inode, content
    assert len(seen) > 3
    beginnings = {content[:1024] for _, content in seen.values()}
    assert len(beginnings) == len(seen)
    lines = b"".join(content for _, content in seen.values()).splitlines()
    assert [json.loads(line)["event"]["sequence"] for line in lines] == list(range(1, len(lines) + 1))
