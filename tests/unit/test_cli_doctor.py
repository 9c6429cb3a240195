"""``doctor`` tells what the agent cannot run without from what it then lacks."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from enforcer.cli.host import doctor_command
from enforcer.runtime import doctor
from enforcer.runtime.doctor import Check


@pytest.mark.parametrize(
    ("found", "status", "word", "tried"),
    [
        (Check("nftables", True, "fine"), 0, "ok", 1),
        (Check("nftables", False, "modprobe nf_tables", vital=False), 0, "LACKS", 1),
        (Check("docker", False, "nobody answers"), 3, "FAIL", 0),
    ],
)
def test_what_is_lacking_and_what_fails(
    monkeypatch: pytest.MonkeyPatch, found: Check, status: int, word: str, tried: int
) -> None:
    """A lesser lack is said and the hooks are tried all the same; what is vital ends it there."""
    trials: list[str] = []
    monkeypatch.setattr(doctor, "checks", lambda *_: [Check("kernel", True, "6.1"), found])
    monkeypatch.setattr(doctor, "holds", lambda parent: trials.append(parent) or ())
    done = CliRunner().invoke(doctor_command, ["--cgroup", "/docker"], standalone_mode=False)
    assert (done.return_value, len(trials)) == (status, tried), done.output
    assert f"{found.what} {word} {found.seen}" in " ".join(done.output.split())
