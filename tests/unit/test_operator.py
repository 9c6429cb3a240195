"""An operator's orders: idempotent, kept before they take effect, put on record, and never lost in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from enforcer.core.model import Facts, Network
from enforcer.errors import EdgeError, EnforcerError, HostError, UsageError
from enforcer.runtime.follow import Resync, Writer
from enforcer.runtime.operator import Operator
from enforcer.runtime.orders import Order, Orders, OrdersFile
from enforcer.runtime.reconcile import Reconcile
from tests.scenarios import policy
from tests.unit.test_runtime import ALPHA, BETA, GROWN, FakeMaps, reconcile_in

NETWORKS = {"inner": Network("n1", "inner", internal=True), "outer": Network("n2", "outer")}
HERE = Facts(GROWN.containers, NETWORKS, GROWN.objects)


class Desk:
    """An operator over fakes, whose writer works at once, and what it has told."""

    def __init__(self, directory: Path) -> None:
        self.maps = FakeMaps()
        self.reconcile: Reconcile = reconcile_in(directory, self.maps)
        self.reconcile.load(policy(), HERE)
        self.failures: list[tuple[str, object]] = []
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.file = OrdersFile(directory)
        self.writer = Writer(lambda e, again: self.failures.append((str(e), again)))
        self.operator = Operator(self.file, self.reconcile, self, self.tell)  # type: ignore[arg-type]

    def put(self, task: Any, again: object) -> None:
        """The writer's part: done before it returns."""
        self.writer.put(task, again)  # type: ignore[arg-type]
        self.writer.end()
        self.writer.run()

    def tell(self, action: str, message: str, **facts: Any) -> None:
        """The journal's part."""
        self.told.append((action, message, facts))

    def order(self, command: str, name: str, **more: Any) -> dict[str, Any]:
        """One order of alice's."""
        return self.operator.obey({"command": command, "name": name, "who": "alice", "uid": 0, "why": "odd", **more})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Where orders are given."""
    return Desk(tmp_path)


def test_quarantine_and_release(desk: Desk, tmp_path: Path) -> None:
    """The container is a quarantined one in the facts and in the file until it is released; each order is on record."""
    assert desk.order("quarantine", "alpha")["message"] == "container alpha is quarantined"
    assert desk.reconcile.snapshot.facts.quarantined == {ALPHA}
    assert OrdersFile(tmp_path).orders.quarantined.keys() == {ALPHA}
    assert (tmp_path / "orders.json").stat().st_mode & 0o777 == 0o600
    assert desk.order("release", ALPHA[:12])["message"] == "container alpha is released"
    assert desk.reconcile.snapshot.facts.quarantined == frozenset()
    assert OrdersFile(tmp_path).orders == Orders()
    who = {"container": "alpha", "id": ALPHA, "who": "alice", "uid": 0, "why": "odd", "changed": 1}
    assert desk.told == [
        ("quarantine", "container alpha is quarantined by alice: odd", who),
        ("release", "container alpha is released by alice: odd", who),
    ]


def test_block_and_unblock(desk: Desk, tmp_path: Path) -> None:
    """A network is blocked by its name; what is blocked stays so when it is gone, and can still be unblocked."""
    desk.order("block", "outer", why="")
    assert OrdersFile(tmp_path).orders.blocked["outer"].why == ""
    assert desk.told[0][1] == "network outer is blocked by alice"
    desk.reconcile.update(Facts(GROWN.containers, {}, GROWN.objects))
    [shown] = desk.operator.plain()["blocked"]
    assert (shown["network"], shown["there"], shown["who"]) == ("outer", False, "alice")
    desk.order("unblock", "outer")
    assert desk.operator.plain() == {"blocked": [], "quarantined": []}


def test_orders_are_idempotent(desk: Desk) -> None:
    """The second time nothing changes, the first one's reason stays, and the answer says so; it is on record all the same."""
    for command in ("quarantine", "release"):
        first, second = (desk.order(command, "alpha", why=why) for why in ("first", "second"))
        assert (first["changed"], second["changed"]) == (True, False)
        assert "was already" in second["message"]
        assert [order.why for order in desk.file.orders.quarantined.values()] == ["first"] * (command == "quarantine")
    assert [facts["changed"] for _, _, facts in desk.told] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("command", "name", "near"),
    [
        ("block", "iner", "did you mean: inner"),
        ("unblock", "zzz", "there are: inner, outer"),
        ("quarantine", "alfa", "did you mean: alpha"),
        ("release", ALPHA[:11], "there are: alpha, beta"),
        ("quarantine", "", "there are: alpha, beta"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(desk: Desk, command: str, name: str, near: str) -> None:
    """Nothing is written and nothing told; the message helps."""
    with pytest.raises(UsageError, match=near):
        desk.order(command, name)
    assert (desk.told, desk.failures, desk.file.orders) == ([], [], Orders())


def test_a_container_that_is_gone_can_be_released(desk: Desk) -> None:
    """By the name that it had, or its id; status says that it is gone."""
    desk.order("quarantine", "beta")
    desk.reconcile.update(Facts({ALPHA: GROWN.containers[ALPHA]}, NETWORKS, GROWN.objects))
    [shown] = desk.operator.plain()["quarantined"]
    assert (shown["container"], shown["id"], shown["there"]) == ("beta", BETA, False)
    desk.order("release", "beta")
    assert desk.file.orders == Orders()


def test_an_order_that_cannot_be_put_in_force_is_kept_and_tried_again(desk: Desk) -> None:
    """The operator hears the reason, the journal too, and the writer has everything looked at anew."""

    def refuse(orders: Orders) -> None:
        raise EdgeError("the kernel refuses")

    desk.reconcile.order = refuse  # type: ignore[method-assign]
    with pytest.raises(EdgeError, match="the kernel refuses"):
        desk.order("quarantine", "alpha")
    assert desk.failures == [("the kernel refuses", Resync())]
    assert desk.file.orders.quarantined.keys() == {ALPHA}
    assert [(action, facts["outcome"]) for action, _, facts in desk.told] == [("quarantine", "failure")]


def test_an_order_that_cannot_be_kept_is_none(desk: Desk, tmp_path: Path) -> None:
    """A state directory that takes no file: the error says so, and nothing has changed."""
    (tmp_path / "orders.new").mkdir()
    with pytest.raises(HostError, match=r"cannot write .*orders.json"):
        desk.order("block", "outer")
    assert (desk.file.orders, desk.reconcile.snapshot.facts.quarantined) == (Orders(), frozenset())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"blocked": {"a": 1}}', b'{"blocked": {"a": {"name": "a"}}}'])
def test_a_file_of_orders_that_makes_no_sense_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    """It may have held a quarantine: the agent refuses to start, and says what to do."""
    (tmp_path / "orders.json").write_bytes(content)
    with pytest.raises(HostError, match="mend it, or remove it"):
        OrdersFile(tmp_path)


def test_orders_outlive_a_boot(tmp_path: Path) -> None:
    """Unlike the numbers of the kernel's maps: the file names no boot."""
    OrdersFile(tmp_path).write(Orders(blocked={"outer": Order("outer", "alice", "odd", 1.5)}))
    assert "boot" not in json.loads((tmp_path / "orders.json").read_text())
    assert OrdersFile(tmp_path).orders.blocked == {"outer": Order("outer", "alice", "odd", 1.5)}


def test_an_agent_too_busy_to_obey_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order waits its turn; whoever gave it does not wait for ever."""
    waiting: list[Any] = []
    monkeypatch.setattr("enforcer.runtime.operator.SECONDS", 0.01)
    monkeypatch.setattr(desk, "put", lambda task, again: waiting.append(task))
    with pytest.raises(EnforcerError, match="busy"):
        desk.order("block", "outer")
    waiting[0]()
    assert desk.file.orders.blocked.keys() == {"outer"}
