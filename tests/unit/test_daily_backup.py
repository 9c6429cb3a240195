"""The daily backup of a host: the units as systemd sees them."""

from __future__ import annotations

import os
import subprocess

from enforcer import settings
from enforcer.cli.backup import backup_group
from tests.unit.test_daily_verification import SHIPPED, said

SERVICE, TIMER = SHIPPED / "enforcer-backup.service", SHIPPED / "enforcer-backup.timer"


def test_systemd_accepts_both_units(tmp_path):
    """No unknown directive and no bad value, and the timer finds what it starts."""
    [command] = said(SERVICE)["ExecStart"]
    for unit in (SERVICE, TIMER):  # the program is installed elsewhere than where tests run
        (tmp_path / unit.name).write_text(unit.read_text().replace(command.split()[0], "/bin/true"))
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *tmp_path.iterdir()]
    found = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_timer_elapses_once_a_day_and_makes_up_for_a_missed_day():
    """By systemd's own reading of the calendar."""
    timer = said(TIMER)
    argv = [
        "systemd-analyze",
        "calendar",
        "--iterations=2",
        "--base-time=2026-01-01 12:00:00 UTC",
        *timer["OnCalendar"],
    ]
    told = subprocess.run(argv, check=True, capture_output=True, text=True, env={**os.environ, "TZ": "UTC"}).stdout
    assert "2026-01-02 03:00:00" in told
    assert "2026-01-03 03:00:00" in told
    assert timer["Persistent"] == ["true"]
    assert timer["WantedBy"] == ["timers.target"]


def test_the_service_asks_for_what_backup_knows():
    """Its words are a command line that the command takes; the directory is the default one, and backups are not kept for ever."""
    service = said(SERVICE)
    program, *words = service["ExecStart"][0].split()
    assert said(SHIPPED / "enforcer.service")["ExecStart"][0].split()[0] == program
    assert words[0] == backup_group.name
    context = backup_group.make_context("enforcer backup", words[1:])
    assert context.params["directory"] == settings.BACKUPS
    assert context.params["keep"] >= 7
    assert (service["UMask"], service["NoNewPrivileges"]) == (["0077"], ["yes"])


def test_no_mount_namespace_is_made():
    """A volume's directory may lie anywhere, and is looked at by this command, too."""
    private = {
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ReadOnlyPaths",
        "User",
        "PrivateNetwork",
    }
    assert not said(SERVICE).keys() & private
