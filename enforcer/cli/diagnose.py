"""``diagnose``: the guide's common issues, found from facts, with the command that mends each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from enforcer.cli.host import run_option
from enforcer.cli.policy import docker_address, policy_option
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.cli.verify import quarantined
from enforcer.core.model import Policy
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.policyfile import load
from enforcer.edges.writes import Writes
from enforcer.posture.diagnosis import Issue
from enforcer.runtime.diagnosis import Patient, Scene, diagnose, remedy
from enforcer.runtime.facts import collect, paths_of


@click.command("diagnose")
@click.argument("container")
@click.option("--to", "other", default="", metavar="OTHER", help="Another container that CONTAINER cannot reach.")
@click.option(
    "--fix", is_flag=True, help="Do what is safe: connect to a network that the policy wants; own its own volume."
)
@policy_option
@run_option
@format_option
def diagnose_command(  # noqa: PLR0913 -- its options
    *, container: str, other: str, fix: bool, policy_path: Path, run_: Path, format_: str
) -> int:
    """What is wrong with CONTAINER? Volume permissions, volumes shared with another, and with --to why OTHER is not reached.

    Each issue comes with the command that mends it. Exits 1 if an issue is left.
    """
    policy, address = load(policy_path), docker_address()
    dockerd = Dockerd(address)
    try:
        look = _Look(policy, dockerd, address, Patient(container, other), run_)
        found = look.issues()
        done = {issue: remedy(issue, dockerd) for issue in found} if fix else {}
        left = look.issues() if any(done.values()) else found
    finally:
        dockerd.close()
    emit([_json(done, left)] if format_ == "json" else _text(done, left))
    return 1 if left else 0


class _Look:
    """One look after the other at the same container."""

    def __init__(self, policy: Policy, dockerd: Dockerd, address: str, patient: Patient, run_: Path) -> None:
        self._policy, self._dockerd, self._address, self._patient, self._run = policy, dockerd, address, patient, run_

    def issues(self) -> tuple[Issue, ...]:
        facts = collect(self._dockerd, Cgroups(), paths_of(self._policy))
        facts = replace(facts, quarantined=quarantined(self._run))
        scene = Scene(self._policy, facts, self._dockerd, self._address)
        return diagnose(scene, self._patient, Writes(Cgroups()))


def _json(done: dict[Issue, str], left: Sequence[Issue]) -> str:
    fixed = [{"name": i.name, "container": i.container, "done": said} for i, said in done.items() if said]
    return json_text({"fixed": fixed, "issues": [{**asdict(i), "safe": i.remedy is not None} for i in left]})


def _text(done: dict[Issue, str], left: Sequence[Issue]) -> list[str]:
    lines = [f"fixed: {said}" for said in done.values() if said]
    rows = [(i.name, i.container, i.evidence, i.command, "yes" if i.remedy else "no") for i in left]
    if rows:
        lines += [table(["ISSUE", "CONTAINER", "SEEN", "MENDED BY", "--fix DOES IT"], rows)]
    return lines or ["nothing is found wrong"]
