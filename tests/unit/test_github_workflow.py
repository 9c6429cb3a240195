"""The guide's workflow as it is shipped: its shape is the guide's, and every command that it calls exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import yaml

from enforcer.cli import COMMANDS
from enforcer.cli.verify import verify_group
from tests.arch.tree import ROOT

SHIPPED = ROOT / "deploy" / "github" / "mcp-verification.yml"
WORKFLOW = yaml.load(SHIPPED.read_text(), yaml.BaseLoader)  # noqa: S506 -- no types: in YAML 1.1 the key "on" is a boolean
STEPS = WORKFLOW["jobs"]["verify-mcp"]["steps"]
ENFORCER = ".enforcer/.venv/bin/enforcer"

RUNNERS = {"cat", "docker", "python3", "sudo"}
"""What is called and comes with GitHub's ubuntu-latest."""


def commands():
    """The words of every command of every step."""
    for step in STEPS:
        for line in step.get("run", "").splitlines():
            yield shlex.split(line)


def step_called(name):
    """The step of that name."""
    [found] = [step for step in STEPS if step["name"] == name]
    return found


def test_it_runs_when_the_guides_does():
    """Daily at two, and by hand."""
    assert WORKFLOW["name"] == "MCP Containerization Verification"
    assert WORKFLOW["on"] == {"schedule": [{"cron": "0 2 * * *"}], "workflow_dispatch": ""}
    assert WORKFLOW["jobs"]["verify-mcp"]["runs-on"] == "ubuntu-latest"


def test_it_has_the_guides_steps_in_the_guides_order():
    """One is gone, since the report is what `verify` writes; those added are the enforcer's own and the report's showing."""
    guides = [
        "Checkout",
        "Set up Docker",
        "Start MCP containers",
        "Wait for containers to be healthy",
        "Run MCP verification",
        "Upload report",
    ]
    assert [step["name"] for step in STEPS if step["name"] in guides] == guides


def test_every_command_exists():
    """Programs of the runner, or what an earlier step has installed; no script that is nowhere."""
    for words in commands():
        program = words[1] if words[0] == "sudo" else words[0]
        assert words[0] in RUNNERS or words[0].startswith(".enforcer/.venv/bin/"), words
        assert program in RUNNERS or Path(program).name in {"pip", "enforcer"}, words


def test_every_command_of_ours_takes_its_words():
    """`enforcer verify` with options that it has, as root, and its report goes where the next steps look for it."""
    [words] = [words for words in commands() if ENFORCER in words]
    assert words[:3] == ["sudo", ENFORCER, "verify"]
    assert words[2] in COMMANDS
    *options, redirection, report = words[3:]
    context = verify_group.make_context("enforcer verify", options)
    assert context.params["format_"] == "markdown"
    assert (redirection, report) == (">", step_called("Upload report")["with"]["path"])


def test_what_is_installed_is_in_the_tree():
    """The enforcer is checked out where it is installed from, with its constraints, and brings the command."""
    checkout = step_called("Checkout of the enforcer")["with"]
    [install] = [words for words in commands() if Path(words[0]).name == "pip"]
    assert install[1:] == ["install", "-c", f"{checkout['path']}/constraints.txt", f"./{checkout['path']}"]
    assert (ROOT / "constraints.txt").exists()
    assert 'enforcer = "enforcer.cli:main"' in (ROOT / "pyproject.toml").read_text()


def test_the_report_is_uploaded_whatever_came_before():
    """A failed verification above all; a missing report fails the step rather than passing in silence."""
    upload = step_called("Upload report")
    assert upload["if"] == step_called("Show report")["if"] == "always()"
    assert upload["with"]["if-no-files-found"] == "error"
    assert "continue-on-error" not in step_called("Run MCP verification")


def test_a_failed_verification_fails_its_step(tmp_path):
    """GitHub runs a step by `bash -e`: the status of the verification is the step's, and the report is written."""
    script = step_called("Run MCP verification")["run"].replace("sudo ", "")
    program = tmp_path / ENFORCER
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho report\nexit 1\n")
    program.chmod(0o755)
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, check=False, timeout=30)
    assert done.returncode == 1
    assert (tmp_path / "report.md").read_text() == "report\n"


def test_actions_are_of_versions_that_github_still_runs():
    """The guide's upload-artifact@v3 is refused since January 2025; each action stands with one version."""
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert {re.sub("@.*", "", u) for u in used} == {
        "actions/checkout",
        "actions/upload-artifact",
        "docker/setup-buildx-action",
    }
    majors = {name: int(version) for name, version in (u.split("@v") for u in used)}
    assert majors["actions/upload-artifact"] >= 4
    assert len(set(used)) == len(majors)


def test_the_workflow_may_do_no_more_than_read():
    """No token with rights is left where containers of the repository are built and run."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    checkouts = [step["with"] for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert [c["persist-credentials"] for c in checkouts] == ["false", "false"]
