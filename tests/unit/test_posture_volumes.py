"""Which volumes a policy declares, what is done about each, and what is said of those that are there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcer.core.inspection import Inspection, Mounted, Owner
from enforcer.core.model import Mode, Policy, Selector
from enforcer.core.posture import PostureRule, PurposeVolume
from enforcer.core.volume import StoredVolume
from enforcer.posture.finding import Result
from enforcer.posture.volumes import Todo, declared, plan, verify_volumes
from tests.unit.worlds import GUIDE, container_id

OURS = Owner(1001, 1001, 0o750)
ROOTS = Owner(0, 0, 0o755)
VOLUMES = (PurposeVolume("data", "/app/data"), PurposeVolume("logs", "/app/logs"))
POLICY = Policy(
    Mode.ENFORCE,
    {"agents": Selector(name="mcp-*"), "labelled": Selector(label={"a": "b"})},
    posture=(
        PostureRule("p0", ("agents",), names=("mcp-1", "mcp-2")),
        PostureRule("p1", ("agents", "labelled"), volumes=VOLUMES),
        PostureRule("p2", ("labelled",), names=("web",)),
    ),
)
DEVICE = {"type": "none", "o": "bind", "device": "/base/mcp-1"}
DATA = StoredVolume("mcp-1-data", "local", DEVICE, "/base/mcp-1", OURS)
LOGS = StoredVolume("mcp-1-logs", "local", {}, "/docker/mcp-1-logs", OURS)


def test_who_is_declared() -> None:
    """By name, in a posture rule or as a plain selector; a kind that is known by its label has the volumes of its rule."""
    assert [d.volume.name for d in declared(POLICY)] == [
        *("mcp-1-data", "mcp-1-logs", "mcp-2-data", "mcp-2-logs", "web-data", "web-logs"),
    ]
    assert [d.volume.name for d in declared(GUIDE)] == [
        *("database-data", "mcp-20-orchestrator-data"),
    ]
    assert declared(Policy(Mode.ENFORCE)) == ()


def test_data_is_bind_backed_and_the_rest_plain() -> None:
    """As in the guide's script."""
    found = {d.volume.name: d.options("/base") for d in declared(POLICY)}
    assert found["mcp-1-data"] == DEVICE
    assert found["mcp-1-logs"] == {}


@pytest.mark.parametrize(
    ("stored", "todo"),
    [
        (None, Todo.CREATE),
        (DATA, Todo.KEEP),
        (replace(DATA, owner=ROOTS), Todo.KEEP),
        (replace(DATA, owner=ROOTS, empty=True), Todo.OWN),
        (replace(DATA, owner=None), Todo.CREATE),
        (replace(DATA, options={}), Todo.REFUSE),
        (replace(DATA, options={**DEVICE, "device": "/other"}), Todo.REFUSE),
        (replace(DATA, driver="nfs"), Todo.REFUSE),
    ],
)
def test_what_is_done(stored: StoredVolume | None, todo: Todo) -> None:
    """What is there with other options is never touched; what holds something keeps its owner."""
    wanted = declared(POLICY)[:1]
    [step] = plan(wanted, [stored] if stored else [], base="/base", owner=OURS)
    assert step.todo is todo
    assert step.why


def verified(*stored: StoredVolume, inspections: tuple[Inspection, ...] = ()) -> set[tuple[str, Result]]:
    """What is said of mcp-1's volumes that does not pass, and of all together."""
    policy = replace(POLICY, posture=(PostureRule("p", ("agents",), names=("mcp-1",), volumes=VOLUMES),))
    return {
        (f.check, f.result) for f in verify_volumes(policy, stored, inspections, OURS) if f.result is not Result.PASS
    }


def test_good_volumes() -> None:
    """Nothing to say."""
    assert verified(DATA, LOGS) == set()


@pytest.mark.parametrize(
    ("stored", "check", "result"),
    [
        ((LOGS,), "volume-existence", Result.FAIL),
        ((replace(DATA, options={}), LOGS), "volume-options", Result.WARN),
        ((DATA, replace(LOGS, options={"type": "tmpfs"})), "volume-options", Result.WARN),
        ((replace(DATA, owner=None), LOGS), "volume-owner", Result.FAIL),
        ((replace(DATA, owner=ROOTS), LOGS), "volume-owner", Result.WARN),
        ((replace(DATA, owner=replace(OURS, mode=0o752)), LOGS), "volume-owner", Result.WARN),
        ((DATA, replace(LOGS, path="/base/mcp-1")), "volume-shared", Result.FAIL),
        ((DATA, replace(LOGS, path="/base/mcp-1/logs")), "volume-shared", Result.FAIL),
    ],
)
def test_a_bad_volume(stored: tuple[StoredVolume, ...], check: str, result: Result) -> None:
    """One thing is wrong, and one thing is said."""
    assert verified(*stored) == {(check, result)}


def test_directories_beside_each_other_are_not_shared() -> None:
    """/base/mcp-1 does not hold /base/mcp-10."""
    assert verified(DATA, replace(LOGS, path="/base/mcp-10")) == set()


def test_a_volume_of_another_name() -> None:
    """What a declared container writes to is called by its name and a purpose."""
    odd = Mounted("volume", "/app/data", "data", "/x")
    own = Mounted("volume", "/app/cache", "mcp-1-cache", "/y")
    for mount, said in ((odd, {("volume-name", Result.WARN)}), (own, set()), (replace(odd, writable=False), set())):
        inspected = Inspection(container_id(1), "mcp-1", mounts=(mount,))
        assert verified(DATA, LOGS, inspections=(inspected,)) == said
