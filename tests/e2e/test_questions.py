"""What a real agent has recorded, asked for in every way: one record, the pictures, the exports."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from enforcer.core.event import Event
from tests.e2e.agent import Agent, Mark
from tests.e2e.world import NETWORK, World


def journal_option(agent: Agent) -> tuple[str, str]:
    """Where the agent records."""
    return "--journal", str(agent.journal)


@pytest.fixture
def attempts(agent: Agent, world: World) -> tuple[Mark, Event, Event]:
    """A stranger has read another's data, and somebody has called outside: a mark before it, and both records."""
    mark = agent.mark()
    world.do("stranger", "read", "/beta-data/f")
    world.do("alpha", "tcp", "198.51.100.1", "443")
    read, call = sorted(agent.await_events(mark, 2), key=lambda event: event.sequence)
    return mark, read, call


def test_one_record_is_told(agent: Agent, attempts: tuple[Mark, Event, Event]) -> None:
    """Who, what, where and what the mechanism means, and that the record stands in the line that is named."""
    _, read, _ = attempts
    done = agent.ask("log", "show", str(read.sequence), *journal_option(agent))
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(line.split(None, 1) for line in done.stdout.split("\n\n")[1].splitlines())
    assert (said["container"], said["id"]) == ("stranger", read.who.id)
    assert said["target"] == "volume beta-data"
    prevented = read.mechanism.name in ("LSM", "FMOD_RET")
    assert said["effect"].startswith("prevented" if prevented else "killed after the fact")
    place, _, line = said["journal"].rpartition(":")
    written = json.loads(Path(place).read_text().splitlines()[int(line) - 1])
    assert written["event"]["sequence"] == read.sequence


def test_both_are_in_the_pictures(agent: Agent, attempts: tuple[Mark, Event, Event], tmp_path: Path) -> None:
    """As text, and as files to attach."""
    for kind in ("timeline", "matrix"):
        files = ("--svg", str(tmp_path / f"{kind}.svg"), "--html", str(tmp_path / f"{kind}.html"))
        text = agent.ask("log", kind, *journal_option(agent)).stdout
        assert agent.ask("log", kind, *journal_option(agent), *files).returncode == 0
        for picture in (text, *(file.read_text() for file in tmp_path.glob(f"{kind}.*"))):
            assert "stranger" in picture
            assert "alpha" in picture
            assert kind == "timeline" or ("volume beta-data" in picture and "198.51.100.1:443/tcp" in picture)


def test_both_are_exported(agent: Agent, attempts: tuple[Mark, Event, Event], tmp_path: Path) -> None:
    """In each format, under the numbers that they have in the journal; nobody else attempts anything meanwhile."""
    _, read, call = attempts
    asked = (*journal_option(agent), "--kind", "file", "--kind", "network")
    for form in ("parquet", "csv", "timesketch"):
        done = agent.ask("export", *asked, "--format", form, str(tmp_path / f"{form}.jsonl"))
        assert done.returncode == 0, done.stderr
    rows = {r["sequence"]: r for r in _rows(tmp_path / "parquet.jsonl")}
    assert (rows[read.sequence]["object_name"], rows[call.sequence]["network"]) == ("beta-data", NETWORK)
    with (tmp_path / "csv.jsonl").open(newline="") as file:
        numbers = [int(r["sequence"]) for r in csv.DictReader(file)]
    lines = [json.loads(line) for line in (tmp_path / "timesketch.jsonl").read_text().splitlines()]
    assert [line["event.sequence"] for line in lines] == numbers == sorted(rows)
    assert {read.sequence, call.sequence} <= set(numbers)


def _rows(path: Path) -> list[dict[str, object]]:
    """Without the times, which Python's own type would have to round."""
    return parquet.read_table(path, columns=["sequence", "object_name", "network"]).to_pylist()
