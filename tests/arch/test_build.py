"""The Makefile, the CI's entry and the unit file: each does what its one line says."""

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from enforcer import settings
from enforcer.cli.run import run_command
from tests.arch.tree import ROOT

TARGETS = {"install", "demo", "demo-down", "test", "test-vm", "lint", "bench", "clean"}


def make(*words, **environment):
    """What make prints; it is told to do nothing unless the words say more."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}  # not the make that runs this test
    return subprocess.run(
        ["make", "--no-print-directory", *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        env=clean | environment,
    )


def test_a_bare_make_lists_every_target_with_a_line():
    """What one can do here, without reading the Makefile."""
    listed = dict(line.split(maxsplit=1) for line in make().stdout.splitlines())
    assert set(listed) >= TARGETS
    assert all(listed.values())


def test_packages_are_installed_only_by_root_and_only_if_missing(tmp_path):
    """Another user learns which packages are missing; nobody waits for apt where nothing is."""
    apt = tmp_path / "apt-get"
    apt.write_text('#!/bin/sh\necho apt-get "$@" >> $APT_LOG\n')
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    fakes = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "APT_LOG": str(tmp_path / "log")}
    refused = make("packages", "MISSING=no-such-package", **fakes)
    assert refused.returncode != 0
    assert "run as root" in refused.stderr
    assert "no-such-package" in refused.stderr
    (tmp_path / "id").unlink()
    assert make("packages", "MISSING=", **fakes).returncode == 0
    assert not (tmp_path / "log").exists()
    assert make("packages", "MISSING=no-such-package", **fakes).returncode == 0
    calls = (tmp_path / "log").read_text().splitlines()
    assert "update" in calls[0]
    assert "install" in calls[1]
    assert "--no-install-recommends no-such-package" in calls[1]


def test_ci_runs_make_test():
    """Nothing else stands between a fresh clone and the tests."""
    entry = ROOT / ".ci" / "run"
    assert os.access(entry, os.X_OK)
    assert "exec make test" in entry.read_text().splitlines()


SKIPPING = {
    "test_by_call.py": "import pytest\n\ndef test_it():\n    pytest.skip('no root')\n",
    "test_by_mark.py": "import pytest\n\n@pytest.mark.skip(reason='no root')\ndef test_it():\n    pass\n",
    "test_whole.py": "import pytest\n\npytest.skip('no root', allow_module_level=True)\n",
}


@pytest.mark.parametrize("variable", ["ENFORCER_NO_SKIP", "CI", None])
def test_a_skip_is_a_failure_where_it_counts(tmp_path, variable):
    """A test that cannot run fails in `make test` and in CI, with its reason; elsewhere it may be skipped."""
    for name, text in SKIPPING.items():
        (tmp_path / name).write_text(text)
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "ENFORCER_NO_SKIP")}
    environment |= {variable: "1"} if variable else {}
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null", "--rootdir", tmp_path]
    argv += ["--continue-on-collection-errors", tmp_path]
    found = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    if variable:
        assert found.returncode == 1, found.stdout
        assert found.stdout.count("nothing may be skipped (make test, CI): give it what it needs: ") >= len(SKIPPING)
        assert found.stdout.count("no root") >= len(SKIPPING)
    else:
        assert found.returncode == 0, found.stdout
        assert "3 skipped" in found.stdout


def test_systemd_understands_the_unit(tmp_path):
    """No unknown directive and no bad value, by systemd's own judgement."""
    unit = (ROOT / "deploy" / "systemd" / "enforcer.service").read_text()
    program = re.search(r"^ExecStart=(\S+)", unit, re.MULTILINE)[1]
    copy = tmp_path / "enforcer.service"
    copy.write_text(unit.replace(program, "/bin/true"))  # the program is installed elsewhere than where tests run
    argv = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", copy]
    found = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def unit():
    """The unit file's settings: each name with its values, in order."""
    found = {}
    for line in (ROOT / "deploy" / "systemd" / "enforcer.service").read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_what_make_install_installs():
    """The command is the one in the virtual environment of a clone at /opt/enforcer, and it takes the words it is given."""
    venv = re.search(r"^VENV := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [command] = unit()["ExecStart"]
    program, *words = command.split()
    assert program == f"/opt/enforcer/{venv}/bin/enforcer"
    assert Path(program).name in project["scripts"]
    context = run_command.make_context("enforcer run", words[1:])
    assert words[0] == run_command.name
    assert context.params["policy"] == settings.POLICY


def test_the_units_directories_are_those_the_agent_uses(monkeypatch):
    """systemd makes the directories, with their modes, that the agent writes to by default."""
    monkeypatch.delenv("CACHE_DIRECTORY")
    made = unit()
    assert [Path("/var/lib", d) for d in made["StateDirectory"]] == [settings.STATE]
    assert [Path("/var/cache", d) for d in made["CacheDirectory"]] == [settings.cache()]
    assert [Path("/var/log", d) for d in made["LogsDirectory"]] == [settings.JOURNAL]
    assert [Path("/run", d) for d in made["RuntimeDirectory"]] == [settings.RUN]


def test_the_unit_starts_after_docker_and_again_without_end():
    """The agent asks Docker at once and ends where it does not answer: systemd orders the two, and tries again."""
    said = unit()
    assert said["After"] == said["Wants"] == ["docker.service"]
    assert "Before" not in said
    assert said["Restart"] == ["always"]
    assert said["StartLimitIntervalSec"] == ["0"]
    assert int(said["RestartSec"][0]) > 0


def test_every_setting_of_the_unit_has_its_reason():
    """A comment stands above each group of settings that takes something away or keeps something."""
    lines = (ROOT / "deploy" / "systemd" / "enforcer.service").read_text().splitlines()
    service = lines[lines.index("[Service]") : lines.index("[Install]")]
    bare = [
        line
        for above, line in itertools.pairwise(service)
        if line and not line.startswith(("#", "[")) and (not above or above.startswith("["))
    ]
    assert bare == []
