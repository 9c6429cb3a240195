"""Every way to another's data, tried by real containers on this machine, under the mechanism that it has."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from deploy.demo.engine import Engine
from enforcer.core.model import Mechanism
from tests.attacks.ground import HERE, Ground, compile_attacker
from tests.attacks.judge import word
from tests.attacks.play import Play, possible
from tests.attacks.told import Played
from tests.attacks.ways import WAYS, Way
from tests.e2e.agent import Agent

pytestmark = pytest.mark.timeout(900)

STARTS = 100
ROUNDS = 10_000
HERE_BY = Mechanism.TRACEPOINT


@pytest.fixture(scope="module")
def played(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """All ways, before the enforcer and under it, once for all tests."""
    tools = tmp_path_factory.mktemp("attacker")
    compile_attacker(tools)
    client = engine.client(timeout=180)
    socket = engine.url.removeprefix("unix://")
    ground = Ground(client, tools, socket, privileged=False, labels=engine.labels)
    agent = Agent(engine, engine.directory / "attacks")
    try:
        ground.make()
        yield Play(ground, HERE_BY, STARTS, ROUNDS, possible(HERE_BY)).run(agent)
    finally:
        if agent.pins.exists():
            agent.close()
        ground.unmake()
        client.close()


@pytest.mark.parametrize("way", possible(HERE_BY), ids=lambda w: w.key)
def test_way_ends_as_declared(played: Played, way: Way) -> None:
    """It leads to the secret without the enforcer; under it, it ends as the README says, is counted and on record."""
    assert word(way, played) is way.expected(HERE_BY)


def test_every_count_has_its_record(played: Played) -> None:
    """What was counted is recorded, suppressed by the budget, or lost for a cause; nothing else was counted."""
    counts = played.counts
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())
    assert played.strays == []


def test_hostile_names_are_escaped_in_the_journal(played: Played) -> None:
    """One event stands on one line, without a control character, whatever the file is called."""
    assert len(played.journal) == 3
    assert [line for line in played.journal if re.search(r"[\x00-\x1f\x7f]", line)] == []
    assert Counter(json.loads(line)["event"]["kind"] for line in played.journal) == {"alert": 3}


def test_every_way_of_the_program_is_declared() -> None:
    """No way of the attacker is left untried, and none is declared that it does not know."""
    known = {
        name for c in HERE.glob("ways_*.c") for name in re.findall(r'^\t\{"([^"]+)", way_', c.read_text(), re.MULTILINE)
    }
    assert known == {way.name for way in WAYS}


def test_names_fit_the_comm() -> None:
    """A way's name is how its events are known: 15 bytes, and no two of one container are alike."""
    assert [w.name for w in WAYS if len(w.name) > 15] == []
    assert [key for key, n in Counter(w.key for w in WAYS).items() if n > 1] == []


def test_sources_are_short() -> None:
    """As everything in this tree."""
    lengths = {p.name: len(p.read_text().splitlines()) for p in (*HERE.glob("*.[ch]"), *HERE.glob("*.py"))}
    assert {name: n for name, n in lengths.items() if n > 300} == {}
