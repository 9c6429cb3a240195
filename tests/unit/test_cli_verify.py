"""``verify network``: how an address outside is written, and how findings are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from enforcer.cli import verify
from enforcer.errors import UsageError
from enforcer.posture.finding import Finding, Result
from tests.unit.worlds import GUIDE_FACTS

PASSED = Finding("network.external", Result.PASS, "a", "seen", "section", peer="x")
FAILED = Finding("network.external", Result.FAIL, "b", "seen\x1b[31m", "section", "mend it", peer="x")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.10", ("203.0.113.10", verify.PORT)),
        ("203.0.113.10:80", ("203.0.113.10", 80)),
        ("2001:db8::10", ("2001:db8::10", verify.PORT)),
        ("[2001:db8::10]", ("2001:db8::10", verify.PORT)),
        ("[2001:db8::10]:80", ("2001:db8::10", 80)),
    ],
)
def test_an_address_outside(text: str, address: tuple[str, int]) -> None:
    """Both families, with a port or without."""
    assert verify.address_of(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "203.0.113.10:",
        "203.0.113.10:0",
        "203.0.113.10:65536",
        "203.0.113.10:²",
        "[2001:db8::10]80x",
        "[2001:db8::10",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """A name least of all: who answers for it would be somebody else's choice."""
    with pytest.raises(UsageError, match="--outside"):
        verify.address_of(text)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "172.21.0.5", "172.20.0.1"])  # noqa: S104
def test_what_is_not_outside(address: str) -> None:
    """Loopback, multicast, and every network of the engine."""
    with pytest.raises(UsageError, match="outside"):
        verify.refuse_inside(GUIDE_FACTS, address)


def shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *findings: Finding, format_: str = "table"
) -> tuple[int, str]:
    """What the command prints for these findings, and what it returns."""
    (tmp_path / "policy.yaml").write_text("version: 1\nmode: enforce\n")
    monkeypatch.setattr(verify, "host", lambda _policy: GUIDE_FACTS)
    monkeypatch.setattr(verify, "verify_network", lambda *_arguments: findings)
    words = ["network", "--policy", str(tmp_path / "policy.yaml"), "--format", format_]
    done = CliRunner().invoke(verify.verify_group, words, catch_exceptions=False, standalone_mode=False)
    return done.return_value, done.stdout


def test_the_exit_status_is_that_of_the_worst(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """1 if something failed; a warning fails nothing."""
    warned = Finding("c", Result.WARN, "a", "e", "s", "look")
    assert shown(monkeypatch, tmp_path, PASSED, warned)[0] == 0
    assert shown(monkeypatch, tmp_path, PASSED, FAILED)[0] == 1


def test_the_table_folds_what_passed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line for each check and container that passed, one for each trouble, the fixes, the totals; no control character."""
    _, text = shown(monkeypatch, tmp_path, PASSED, FAILED, PASSED)
    rows = [line for line in text.splitlines() if "network.external" in line]
    assert [row.split()[0] for row in rows] == ["PASS", "FAIL"]
    assert "2 as the policy says" in rows[0]
    assert "mend it" in text
    assert "\x1b" not in text
    assert text.splitlines()[-1] == "network verification FAILED: PASS 2, WARN 0, FAIL 1"


def test_json_has_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each finding with its section and its fix, and the totals."""
    _, text = shown(monkeypatch, tmp_path, PASSED, FAILED, format_="json")
    found = json.loads(text)
    assert found["totals"] == {"pass": 1, "warn": 0, "fail": 1}
    assert found["findings"][1] == {
        "check": "network.external",
        "result": "FAIL",
        "container": "b",
        "evidence": "seen\x1b[31m",
        "section": "section",
        "fix": "mend it",
        "peer": "x",
    }
