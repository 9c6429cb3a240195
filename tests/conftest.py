"""What all tests share: nothing is skipped where it counts, and one Docker engine for those that need one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enforcer.edges import ecs
from tests.hanging import host_state
from tests.lines import check_line

ALL_OR_NOTHING = any(os.environ.get(name, "") not in ("", "0", "false") for name in ("CI", "ENFORCER_NO_SKIP"))
_FIRST_FAILURES = iter([True] * 3)
_SAID_AT_FAILURES: list[str] = []
_LAST_WORDS = 3000  # characters: what a CI that shows only the end of its log shows
REFUSAL = "skipped where nothing may be skipped (make test, CI): give it what it needs: "


os.environ.setdefault("CACHE_DIRECTORY", str(Path(__file__).parents[1] / ".cache/programs"))  # the probes compile once


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Turn a skipped test into a failed one; say how the host was when one failed."""
    report = _counted((yield))
    if report.failed and next(_FIRST_FAILURES, False):
        _SAID_AT_FAILURES.append(state := host_state())
        report.sections.append(("the host", state))
    return report


def pytest_unconfigure():
    """Say last how the host was when the first test failed."""
    for state in _SAID_AT_FAILURES[:1]:
        print(f"\nthe host when the first test failed:\n{state[:_LAST_WORDS]}")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """Turn a module that skips itself into a failed one."""
    return _counted((yield))


def _counted(report):
    if ALL_OR_NOTHING and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{REFUSAL}{why}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _every_line_is_held_to_the_schema():
    """Whatever this process writes into a journal, or prints as it stands there; an agent's are held to it by its own helper."""
    written = ecs._text_of

    def text_of(item, sequence):
        text = written(item, sequence)
        check_line(text)
        return text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ecs, "_text_of", text_of)
        yield


@pytest.fixture(scope="session")
def engine():
    """A Docker engine of its own in a network namespace without a way out (``deploy.demo.engine.Engine``)."""
    from deploy.demo.engine import private_engine  # noqa: PLC0415  docker-py is not for tests that need no engine

    with private_engine() as started:
        yield started
