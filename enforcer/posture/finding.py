"""What a check finds, and what all findings together come to."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Result(enum.StrEnum):
    """As in the guide's scripts: a warning is for a person to look at and fails nothing."""

    PASS = "PASS"  # noqa: S105 -- no password
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One result of one check. ``container`` is "" where it concerns none, ``peer`` the other container or address, if any.

    ``section``: the guide's section that asks for it. ``fix``: what to do about it, "" if nothing is to be done.
    """

    check: str
    result: Result
    container: str
    evidence: str
    section: str
    fix: str = ""
    peer: str = ""


def totals(findings: Iterable[Finding]) -> dict[Result, int]:
    """How many there are of each result."""
    found = dict.fromkeys(Result, 0)
    for finding in findings:
        found[finding.result] += 1
    return found


def failed(findings: Iterable[Finding]) -> bool:
    """Does the verification fail? As in the guide ("Complete MCP Containerization Check"): if one finding does."""
    return any(finding.result is Result.FAIL for finding in findings)
