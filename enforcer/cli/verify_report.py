"""The report of ``verify``: as a table, as JSON, as Markdown (what the guide's workflow uploads), and as JUnit XML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from xml.etree import ElementTree

from enforcer.cli.render import json_text, safe, table
from enforcer.core.inspection import Inspection
from enforcer.posture.finding import Finding, Result, failed, totals

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~])")


@dataclass(frozen=True)
class Report:
    """All findings of one verification. ``date`` is UTC, as in ISO 8601; ``policy`` the policy's hash."""

    date: str
    policy: str
    containers: tuple[Inspection, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """As the guide's script says it at its end."""
        counted = ", ".join(f"{result} {n}" for result, n in totals(self.findings).items())
        return f"MCP containerization verification {'FAILED' if failed(self.findings) else 'PASSED'}: {counted}"


def as_table(report: Report) -> list[str]:
    """For a terminal: every trouble, what passed in one line for each check, and how to mend each kind of trouble."""
    rows = [(f.result, f.check, f.container or "-", f.evidence) for f in _troubles(report.findings)]
    rows += [
        (Result.PASS, check, _count(who), who[0].evidence if len(who) == 1 else "") for check, who in _passes(report)
    ]
    lines = [table(["", "CHECK", "CONTAINER", "SEEN"], rows)]
    if troubles := _troubles(report.findings):
        lines += ["", fixes(troubles)]
    return [*lines, "", report.verdict]


def fixes(troubles: Sequence[Finding]) -> str:
    """One line for each check: the fix of its first finding, and how many others it has. The other formats have all."""
    found = {c: [f for f in each if f.fix] for c, each in _by_check(troubles).items()}
    rows = [
        (c, f[0].container or "-", f[0].fix, f"and {len(f) - 1} more" if f[1:] else "") for c, f in found.items() if f
    ]
    return table(["CHECK", "FOR", "FIX", ""], rows)


def as_json(report: Report) -> list[str]:
    """For programs: every finding with its section and its fix."""
    counted = {result.value.lower(): n for result, n in totals(report.findings).items()}
    rows = [{k: getattr(i, k) for k in ("id", "name", "image", "status", "health")} for i in report.containers]
    found = {"date": report.date, "policy": report.policy, "totals": counted, "containers": rows}
    return [json_text({**found, "findings": [asdict(f) for f in report.findings]})]


def as_markdown(report: Report) -> list[str]:
    """The guide's report ("Automated Daily Verification"), with what was found."""
    lines = ["# MCP Verification Report", "", f"Date: {report.date}", "", f"Policy: {report.policy[:12]}", ""]
    lines += [f"**{_escaped(report.verdict)}**", "", "## Containers", ""]
    lines += _rows(("Name", "Status", "Health", "Ports"), [_ports_of(i) for i in report.containers])
    for result in (Result.FAIL, Result.WARN):
        found = [f for f in report.findings if f.result is result]
        rows = [(f.container or "-", f.check, f.evidence, f.fix, f.section) for f in found]
        if rows:
            lines += ["", f"## {result}", "", *_rows(("Container", "Check", "Seen", "Fix", "Section"), rows)]
    passes = [(check, _count(who), who[0].section) for check, who in _passes(report)]
    return [*lines, "", "## PASS", "", *_rows(("Check", "Containers", "Section"), passes)]


def as_junit(report: Report) -> list[str]:
    """For a build server: a suite for each check, a case for each finding. A warning is a case that was skipped, with its text."""
    counted = totals(report.findings)
    root = ElementTree.Element("testsuites", _counts(counted, name="enforcer verify"))
    for check, found in _by_check(report.findings).items():
        attributes = _counts(totals(found), name=check, timestamp=report.date.removesuffix("Z"))
        suite = ElementTree.SubElement(root, "testsuite", attributes)
        for finding in found:
            name = f"{finding.container or 'host'}{f' to {finding.peer}' if finding.peer else ''}"
            case = ElementTree.SubElement(suite, "testcase", {"classname": safe(check), "name": safe(name)})
            _result(case, finding)
    ElementTree.indent(root)
    return ['<?xml version="1.0" encoding="UTF-8"?>', ElementTree.tostring(root, encoding="unicode")]


FORMATS: Mapping[str, Callable[[Report], list[str]]] = MappingProxyType(
    {"table": as_table, "json": as_json, "markdown": as_markdown, "junit": as_junit}
)
"""What ``--format`` takes."""


def _troubles(findings: Sequence[Finding]) -> list[Finding]:
    found = [f for f in findings if f.result is not Result.PASS]
    return sorted(found, key=lambda f: f.result is not Result.FAIL)


def _passes(report: Report) -> list[tuple[str, list[Finding]]]:
    passed = [f for f in report.findings if f.result is Result.PASS]
    return list(_by_check(passed).items())


def _by_check(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.check, []).append(finding)
    return found


def _count(found: Sequence[Finding]) -> str:
    names = {f.container for f in found}
    return found[0].container or "-" if len(names) == 1 else f"{len(names)} containers"


def _ports_of(inspected: Inspection) -> tuple[str, str, str, str]:
    ports = ", ".join(f"{port} at {' and '.join(where)}" for port, where in sorted(inspected.published.items()))
    return inspected.name, inspected.status, inspected.health, ports or "-"


def _rows(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; no cell can end its row or begin markup of its own."""
    lines = [headers, ["---"] * len(headers), *([_escaped(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", safe(text))


def _counts(counted: Mapping[Result, int], **more: str) -> dict[str, str]:
    numbers = {"tests": sum(counted.values()), "failures": counted[Result.FAIL], "skipped": counted[Result.WARN]}
    return {**more, **{key: str(n) for key, n in numbers.items()}, "errors": "0"}


def _result(case: ElementTree.Element, finding: Finding) -> None:
    text = f"{finding.evidence}\n{finding.section}" + (f"\nfix: {finding.fix}" if finding.fix else "")
    lines = "\n".join(safe(line) for line in text.split("\n"))
    if finding.result is Result.PASS:
        ElementTree.SubElement(case, "system-out").text = lines
        return
    kind = "failure" if finding.result is Result.FAIL else "skipped"
    said = ElementTree.SubElement(case, kind, {"message": f"{finding.result}: {safe(finding.evidence)}"})
    said.text = lines
