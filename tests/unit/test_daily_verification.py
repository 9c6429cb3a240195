"""The daily verification of a host: the units as systemd sees them, and the script that keeps the reports."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from enforcer import settings
from enforcer.cli.verify import verify_group

SHIPPED = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICE, TIMER = SHIPPED / "enforcer-verify.service", SHIPPED / "enforcer-verify.timer"
KEEP_REPORT = SHIPPED / "keep-report"
NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z\.md")


def said(unit):
    """A unit file's settings: each name with its values, in order."""
    found = {}
    for line in unit.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_systemd_accepts_both_units():
    """No unknown directive and no bad value, and the timer finds what it starts."""
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", SERVICE, TIMER]
    found = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_timer_elapses_at_two_every_day_and_makes_up_for_a_missed_day():
    """By systemd's own reading of the calendar."""
    timer = said(TIMER)
    argv = [
        "systemd-analyze",
        "calendar",
        "--iterations=3",
        "--base-time=2026-01-01 12:00:00 UTC",
        *timer["OnCalendar"],
    ]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "TZ": "UTC"}).stdout
    assert re.findall(r"2026-\d\d-\d\d \d\d:\d\d:\d\d", told) == [f"2026-01-0{day} 02:00:00" for day in (2, 3, 4)]
    assert timer["Persistent"] == ["true"]
    assert timer["WantedBy"] == ["timers.target"]
    assert TIMER.stem == SERVICE.stem  # what a timer starts, unless it says otherwise
    assert "Unit" not in timer


def test_the_service_runs_what_is_shipped_and_keeps_reports_where_only_root_looks():
    """The script is in the clone that the unit names, the directory is one that the unit has made, below the agent's."""
    service = said(SERVICE)
    [command] = service["ExecStart"]
    shell, script, enforcer, directory, keep = command.split()
    assert shell == "/bin/sh"
    assert Path(script).relative_to("/opt/enforcer") == KEEP_REPORT.relative_to(SHIPPED.parents[1])
    assert said(SHIPPED / "enforcer.service")["ExecStart"][0].split()[0] == enforcer
    assert Path(directory) == settings.STATE / "reports"
    assert service["StateDirectory"] == ["enforcer enforcer/reports"]
    assert (service["StateDirectoryMode"], service["UMask"]) == (["0700"], ["0077"])
    assert int(keep) >= 7


def test_the_service_takes_nothing_away_that_a_trial_in_a_container_needs():
    """A container's capabilities, namespaces and cgroup, and the host's mounts as they are: without them trials would lie."""
    settings_ = said(SERVICE)
    assert settings_["NoNewPrivileges"] == ["yes"]
    mounts = {"ProtectSystem", "ProtectHome", "ProtectProc", "PrivateTmp", "PrivateDevices", "ReadOnlyPaths"}
    trials = {"CapabilityBoundingSet", "RestrictNamespaces", "ProtectControlGroups", "PrivateNetwork", "User"}
    assert not settings_.keys() & (mounts | trials)


def test_every_setting_of_the_service_has_its_reason():
    """A comment stands above each group of settings, as in the agent's unit."""
    lines = SERVICE.read_text().splitlines()
    bare = [
        line
        for above, line in itertools.pairwise(lines[lines.index("[Service]") + 1 :])
        if line and not line.startswith("#") and not above
    ]
    assert bare == []


def test_the_script_asks_for_what_verify_knows():
    """Its words are a command line that the command takes."""
    words = re.search(r'^"\$enforcer" (.+?) >', KEEP_REPORT.read_text(), re.MULTILINE)[1].split()
    assert words[0] == verify_group.name
    context = verify_group.make_context("enforcer verify", words[1:])
    assert (context.params["format_"], context.params["policy_path"]) == ("markdown", settings.POLICY)


@pytest.fixture
def keep_report(tmp_path):
    """Runs the script with a command in the enforcer's place that says its own words and ends with a status."""
    (tmp_path / "reports").mkdir()

    def run(status=0, keep=3, body='echo "$@"'):
        program = tmp_path / "enforcer"
        program.write_text(f"#!/bin/sh\n{body}\nexit {status}\n")
        program.chmod(0o755)
        argv = ["sh", KEEP_REPORT, program, tmp_path / "reports", str(keep)]
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)

    return run


def reports(tmp_path):
    """What is kept, oldest first."""
    return sorted((tmp_path / "reports").iterdir())


@pytest.mark.parametrize(("status", "level"), [(0, "<6>"), (1, "<3>")])
def test_a_verification_that_was_made_leaves_its_report_and_its_status(keep_report, tmp_path, status, level):
    """A failed one too: the report says what failed, the status makes the unit fail, the journal has a line of its level."""
    done = keep_report(status)
    [report] = reports(tmp_path)
    assert done.returncode == status
    assert NAME.fullmatch(report.name)
    assert report.read_text() == "verify --format markdown\n"
    assert report.stat().st_mode & 0o777 == 0o600
    [line] = (done.stdout + done.stderr).splitlines()
    assert line.startswith(level)
    assert str(report) in line


@pytest.mark.parametrize("status", [2, 3, 4, 70])
def test_a_verification_that_could_not_be_made_leaves_no_report(keep_report, tmp_path, status):
    """A bad policy, a host that cannot, an engine that is away: nothing that looks like a report, and the older ones stay."""
    older = [tmp_path / "reports" / f"2026-01-0{day}T020000Z.md" for day in (1, 2, 3, 4)]
    for path in older:
        path.touch()
    done = keep_report(status)
    assert done.returncode == status
    assert f"exit status {status}" in done.stderr
    assert reports(tmp_path) == older


@pytest.mark.parametrize("status", [0, 1])
def test_the_newest_reports_are_kept_and_nothing_else_is_touched(keep_report, tmp_path, status):
    """By count, not by age: a host that was off for a year still has its last ones."""
    directory = tmp_path / "reports"
    for day in (1, 2, 3, 4):
        (directory / f"2020-01-0{day}T020000Z.md").touch()
    (directory / "notes.md").touch()
    assert keep_report(status, keep=3).returncode == status
    *old, new = [p.name for p in reports(tmp_path) if p.name != "notes.md"]
    assert old == ["2020-01-03T020000Z.md", "2020-01-04T020000Z.md"]
    assert NAME.fullmatch(new)
    assert (directory / "notes.md").exists()


def test_an_interrupted_verification_leaves_nothing(tmp_path):
    """The unit is stopped in the middle: neither half a report nor its beginnings."""
    (tmp_path / "reports").mkdir()
    program = tmp_path / "enforcer"
    program.write_text("#!/bin/sh\necho half\nexec sleep 60\n")
    program.chmod(0o755)
    argv = ["sh", KEEP_REPORT, program, tmp_path / "reports", "3"]
    with subprocess.Popen(argv, start_new_session=True) as running:
        while not any(p.read_text() for p in reports(tmp_path)):
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGTERM)
        assert running.wait(timeout=30) == 143
    assert reports(tmp_path) == []
