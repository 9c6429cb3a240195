"""The agent does not believe itself: what is broken on purpose is found, said, and put right."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agent import Agent
from tests.e2e.world import World

FILE = "/beta-data/f"
OUTSIDE = ("203.0.113.10", "80")
SUCCESS = ("enforcer_selftest_success", ())


def selftest(agent: Agent, *, status: int = 0) -> dict[str, Any]:
    """What `enforcer selftest` finds, when it ends with this status."""
    done = agent.ask("selftest", "--run", str(agent.directory / "run"), "--format", "json")
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pins_of(agent: Agent, *names: str) -> list[Path]:
    """The pinned links whose program's name has one of these words in it."""
    return [link for link in agent.pins.glob("*/links/*") if any(name in link.name for name in names)]


def holders(agent: Agent, group: str) -> tuple[str, ...]:
    """Words of the names of the programs that hold a group on this host."""
    by = {"lsm": "lsm__file_open", "fmod_ret": "fmod_ret__file_open", "tracepoint": "sys_exit"}
    life = {"birth": "cgroup_mkdir", "death": "cgroup_rmdir", "arm": "sched_process_exec"}
    return (life.get(group) or (by[agent.status()["mechanisms"]["open"]] if group == "open" else group),)


def test_everything_that_is_claimed_is_proved(agent: Agent) -> None:
    """Each group that something holds is stopped, counted and recorded, or is said not to have been tried, with the reason."""
    held = agent.status()["mechanisms"]
    found = selftest(agent)
    groups = {g["group"]: g for g in found["groups"]}
    assert (found["success"], found["failures"], found["reattached"]) == (True, {}, {})
    assert {name: g["mechanism"] for name, g in groups.items()} == held
    proved = {name for name, g in groups.items() if g["stopped"]}
    assert proved >= {
        "birth",
        "arm",
        "death",
        "open",
        "unix",
        "refused",
        "connect4",
        "connect6",
        "sendmsg4",
        "sendmsg6",
    }
    assert [name for name in proved if False in (groups[name]["counted"], groups[name]["recorded"])] == []
    assert [name for name in groups.keys() - proved if not groups[name]["why"]] == []


def test_the_canary_is_nobodys_violation(agent: Agent) -> None:
    """What the canary does is in no metric, no count and no journal; and nothing of it stays."""
    before, counts = agent.mark(), agent.status()["counts"]
    selftest(agent)
    assert agent.rise(before) == {}
    assert agent.status()["counts"] == counts
    assert agent.events(before.sequence) == []
    assert list(Path("/sys/fs/cgroup").glob(f"**/{agent.engine.name}/enforcer-canary-*")) == []


@pytest.mark.parametrize("group", ["open", "connect4", "birth", "arm", "death"])
def test_what_is_detached_behind_the_agents_back(agent: Agent, world: World, group: str) -> None:
    """A link is unpinned: the self-test fails loudly and by name, the metric shows it, and the program is attached again."""
    _, code = agent.stopped
    links, logged, mark = pins_of(agent, *holders(agent, group)), agent.log.stat().st_size, agent.mark()
    assert links
    for link in links:
        link.unlink()
    found = selftest(agent, status=1)
    assert group in found["failures"]
    assert found["reattached"][group] is True
    assert agent.metrics()[SUCCESS] == 0
    assert agent.status()["selftest"]["success"] is False
    assert f"critical enforcer.runtime.selftest: the self-test failed: {group}: " in agent.log.read_text()[logged:]
    agent.await_that("it to be on record", lambda: bool(agent.notices("probe-reattached", mark.sequence)))
    [failed] = agent.notices("selftest-failed", mark.sequence)
    assert group in failed.message
    assert sorted(pins_of(agent, *holders(agent, group))) == sorted(links)
    assert world.do("stranger", "read", FILE).status == code
    assert world.do("alpha", "tcp", *OUTSIDE).status == 77
    assert selftest(agent)["success"] is True
    assert agent.metrics()[SUCCESS] == 1
    agent.await_that("the end to be on record", lambda: bool(agent.notices("selftest-passed", mark.sequence)))


def test_selftest_for_people(agent: Agent) -> None:
    """A table: what, by what, and that it was stopped, counted and recorded; a last line with the result."""
    done = agent.ask("selftest", "--run", str(agent.directory / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[2:-2]}
    assert rows["connect4"] == ["cgroup", "yes", "yes", "yes"]
    assert rows["birth"] == ["tracepoint", "yes", "-", "-"]
    assert done.stdout.splitlines()[-1].startswith("self-test passed")


def test_nobody_to_ask(agent: Agent) -> None:
    """Without an agent: one line, status 4."""
    done = agent.ask("selftest", "--run", str(agent.directory / "nowhere"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (4, "", 1)
    assert "is `enforcer run` running" in done.stderr


IMPATIENT = """#!{python}
import enforcer.settings
enforcer.settings.CANARY_S = 1.0
from enforcer.cli import main
main()
"""


def test_nobody_has_to_ask(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent finds by itself what was detached, at the next round of its canary; here it goes round each second."""
    program = tmp_path / "enforcer"
    program.write_text(IMPATIENT.format(python=sys.executable))
    program.chmod(0o755)
    agent.stop()
    with monkeypatch.context() as patch:
        patch.setattr("tests.e2e.agent.ENFORCER", str(program))
        agent.start()
    mark = agent.mark()
    for link in pins_of(agent, "connect4"):
        link.unlink()
    agent.await_that("the metric to fall", lambda: agent.metrics()[SUCCESS] == 0)
    agent.await_that("the metric to be back", lambda: agent.metrics()[SUCCESS] == 1)
    told = ("selftest-failed", "probe-reattached", "selftest-passed")
    agent.await_that("the journal to tell", lambda: all(agent.notices(what, mark.sequence) for what in told))
    agent.stop()
