"""The Vagrantfile is valid, and provisions by commands that exist. Nothing is downloaded or started."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .conftest import REPO
from .errors import require


def validate(place: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What Vagrant says to a Vagrantfile of that text."""
    require("vagrant")
    (place / "Vagrantfile").write_text(text)
    quiet = {"VAGRANT_HOME": str(place / "home"), "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_NO_PLUGINS": "1"}
    command = ["vagrant", "validate", "--ignore-provider"]
    return subprocess.run(command, cwd=place, env=os.environ | quiet, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def vagrantfile() -> str:
    """The repository's own."""
    return (REPO / "Vagrantfile").read_text()


def test_vagrantfile_is_valid(tmp_path: Path, vagrantfile: str) -> None:
    """Vagrant accepts every machine and every provisioner."""
    done = validate(tmp_path, vagrantfile)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_mistake_in_a_provisioner_is_found(tmp_path: Path, vagrantfile: str) -> None:
    """Validation reaches the machines: a provisioner without a command is refused."""
    broken = vagrantfile.replace('inline: "cd /srv/enforcer && make test"', "inline: nil")
    assert broken != vagrantfile
    assert validate(tmp_path, broken).returncode != 0


def test_provisioners_call_targets_of_the_makefile(vagrantfile: str) -> None:
    """The machines are set up by `make install` and `make test`, and both are targets."""
    targets = re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE)
    called = re.findall(r"&& make ([a-z-]+)", vagrantfile)
    assert called == ["install", "test"]
    assert set(called) <= set(targets)
