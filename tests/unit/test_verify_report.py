"""The four formats of `enforcer verify`: what a name or a text from a container cannot do to them."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from enforcer.cli import verify
from enforcer.cli.verify_report import FORMATS, Report
from enforcer.core.inspection import Inspection
from enforcer.errors import UsageError
from enforcer.posture.finding import Finding, Result

NASTY = "a|b\n| c | `x` <b> \x1b[31m ]]> &amp;\x00"
CONTAINERS = (
    Inspection("1" * 64, "a|x", "image", "running", True, "healthy", published={"80/tcp": ("*:8080",)}),
    Inspection("2" * 64, "b", "image", "exited"),
)
FINDINGS = (
    Finding("user", Result.PASS, "a", "fine", "section"),
    Finding("user", Result.PASS, "b", "fine", "section"),
    Finding("health", Result.WARN, "a", NASTY, "section", "mend | it"),
    Finding("data-volume", Result.FAIL, "b", "none", "section", "make one", "peer"),
    Finding("apparmor", Result.WARN, "", "none", "section", "install it"),
)
REPORT = Report("2026-11-27T02:00:00Z", "ab" * 32, CONTAINERS, FINDINGS)


def shown(format_: str, report: Report = REPORT) -> str:
    """All lines."""
    return "\n".join(FORMATS[format_](report))


def test_the_table() -> None:
    """Failures first, what passed in a line for each check, fixes, totals; no control character."""
    lines = shown("table").splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["FAIL", "WARN", "WARN", "PASS"]
    assert "2 containers" in lines[5]
    assert lines[-1] == "MCP containerization verification FAILED: PASS 2, WARN 2, FAIL 1"
    assert "\x1b" not in shown("table")


def test_json() -> None:
    """Everything, with the date and the policy."""
    found = json.loads(shown("json"))
    assert found["totals"] == {"pass": 2, "warn": 2, "fail": 1}
    assert (found["date"], found["policy"], len(found["findings"])) == (REPORT.date, REPORT.policy, 5)
    assert found["findings"][2]["evidence"] == NASTY
    assert found["containers"][0]["name"] == "a|x"


def test_markdown_cells_stay_in_their_table() -> None:
    """A pipe, a line's end or a tag in a name begins nothing; every row has its header's number of cells."""
    text = shown("markdown")
    assert text.startswith("# MCP Verification Report\n\nDate: 2026-11-27T02:00:00Z\n")
    assert "\x1b" not in text
    assert "<b>" not in text.replace("\\<b\\>", "")
    width = 0
    for line in text.splitlines():
        cells = line.replace("\\|", "").count("|")
        if line.startswith("|") and width:
            assert cells == width, line
        width = cells if line.startswith("|") else 0
    assert "| a\\|x | running | healthy | 80/tcp at \\*:8080 |" in text


def test_junit_loads_whatever_a_container_says() -> None:
    """Failures are failures, warnings are skipped with their text; control characters are escaped, not written."""
    root = ElementTree.fromstring(shown("junit"))  # noqa: S314 -- our own
    assert root.attrib == {"name": "enforcer verify", "tests": "5", "failures": "1", "skipped": "2", "errors": "0"}
    assert [s.attrib["name"] for s in root] == ["user", "health", "data-volume", "apparmor"]
    [failure] = root.iter("failure")
    assert failure.attrib["message"] == "FAIL: none"
    assert "make one" in (failure.text or "")
    assert [c.attrib["name"] for c in root.iter("testcase")] == ["a", "b", "a", "b to peer", "host"]


def test_nothing_found_is_a_pass() -> None:
    """No row, and still a whole document."""
    empty = Report(REPORT.date, REPORT.policy, (), ())
    assert shown("table", empty).endswith("PASSED: PASS 0, WARN 0, FAIL 0")
    assert ElementTree.fromstring(shown("junit", empty)).attrib["tests"] == "0"  # noqa: S314 -- our own


def test_options_before_the_subcommand_are_refused() -> None:
    """They would be taken and say nothing."""
    words = ["--outside", "203.0.113.10", "network"]
    with pytest.raises(UsageError, match="go after the word network"):
        CliRunner().invoke(verify.verify_group, words, catch_exceptions=False, standalone_mode=False)
