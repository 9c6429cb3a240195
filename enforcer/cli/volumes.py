"""``volumes``: the guide's data, logs and config volumes of the containers that the policy names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from enforcer.cli.policy import docker_address, policy_option
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.cli.verify_report import fixes
from enforcer.core.inspection import Inspection, Owner
from enforcer.core.model import Policy
from enforcer.core.volume import StoredVolume
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.inspections import Inspections
from enforcer.edges.policyfile import load
from enforcer.edges.volumes import Volumes
from enforcer.errors import UsageError
from enforcer.posture.finding import Result, failed, totals
from enforcer.posture.volumes import Declared, Todo, declared, described, plan, shown, verify_volumes
from enforcer.runtime.volumes import carry_out

MODE = 0o750
"""Of a volume's directory: its owner writes, its group reads, nobody else enters."""

base_option = click.option(
    "--base",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="The directory below which data lies, one directory for each container.",
)
owner_option = click.option(
    "--owner",
    default="1001:1001",
    show_default=True,
    metavar="UID:GID",
    help="Whose the volumes' directories are.",
)


@click.group("volumes")
def volumes_group() -> None:
    """The volumes of the containers that the policy names: made, verified, listed."""


@volumes_group.command("create")
@policy_option
@base_option
@owner_option
@format_option
def create_command(policy_path: Path, base: Path, owner: str, format_: str) -> int:
    """Make what is missing: data on a directory of the host, logs and config as plain volumes.

    Idempotent. A volume that exists with other options is not touched: it is said, and the exit status is 1.
    """
    policy, whose = load(policy_path), owner_of_text(owner)
    with engine() as dockerd:
        volumes = Volumes(dockerd.sdk)
        steps = plan(_declared(policy), volumes.all(), base=os.path.realpath(base), owner=whose)
        done = carry_out(steps, volumes, whose)
    if format_ == "json":
        rows = [{"volume": s.volume, "container": s.container, "done": d, "why": s.why} for s, d in done]
        emit([json_text(rows)])
    else:
        emit([table(["VOLUME", "CONTAINER", "", "BECAUSE"], [(s.volume, s.container, d, s.why) for s, d in done])])
    return 1 if any(s.todo is Todo.REFUSE for s in steps) else 0


@volumes_group.command("verify")
@policy_option
@owner_option
@format_option
def verify_command(policy_path: Path, owner: str, format_: str) -> int:
    """Are the volumes there, of the right kind, owner and name, and is none the directory of another? Exits 1 if one fails."""
    policy = load(policy_path)
    _declared(policy)
    with engine() as dockerd:
        stored, inspections = _read(dockerd)
    found = verify_volumes(policy, stored, inspections, owner_of_text(owner))
    if format_ == "json":
        emit([json_text({"policy": policy.hash, "findings": [asdict(f) for f in found]})])
        return 1 if failed(found) else 0
    troubles = [f for f in found if f.result is not Result.PASS]
    rows = [(f.result, f.check, f.container or "-", f.evidence) for f in troubles]
    counted = ", ".join(f"{result} {n}" for result, n in totals(found).items())
    lines = [table(["", "CHECK", "CONTAINER", "SEEN"], rows), "", fixes(troubles), ""] if rows else []
    emit([*lines, f"volume verification {'FAILED' if failed(found) else 'PASSED'}: {counted}"])
    return 1 if failed(found) else 0


@volumes_group.command("list")
@policy_option
@format_option
def list_command(policy_path: Path, format_: str) -> None:
    """Every volume of this host: which container's it is by the policy, what it is, whose it is, and who has it mounted."""
    wanted = {d.volume.name: d for d in declared(load(policy_path))}
    with engine() as dockerd:
        stored, inspections = _read(dockerd)
    rows = []
    for volume in stored:
        known = wanted.get(volume.name)
        users = sorted({i.name for i in inspections for m in i.mounts if m.name == volume.name})
        rows.append(
            {
                "volume": volume.name,
                "container": known.container if known else "",
                "purpose": known.volume.purpose if known else "",
                "kind": described(volume.driver, volume.options),
                "path": volume.path,
                "owner": shown(volume.owner) if volume.owner else "",
                "mounted": users,
            }
        )
    if format_ == "json":
        emit([json_text(rows)])
    else:
        head = ["VOLUME", "CONTAINER", "PURPOSE", "KIND", "OWNER", "MOUNTED IN"]
        keys = ("volume", "container", "purpose", "kind", "owner")
        emit([table(head, [[*(r[k] or "-" for k in keys), ", ".join(r["mounted"]) or "-"] for r in rows])])


@contextmanager
def engine() -> Iterator[Dockerd]:
    """The engine, for the length of a ``with``."""
    dockerd = Dockerd(docker_address())
    try:
        yield dockerd
    finally:
        dockerd.close()


def _read(dockerd: Dockerd) -> tuple[tuple[StoredVolume, ...], tuple[Inspection, ...]]:
    stored = Volumes(dockerd.sdk).all()
    return stored, Inspections(dockerd.api, {v.name: v.path for v in stored}).all()


def _declared(policy: Policy) -> tuple[Declared, ...]:
    if not (found := declared(policy)):
        raise UsageError(
            "the policy names no container exactly, or none with volumes: list them under posture.rules[…].names"
        )
    return found


def owner_of_text(text: str) -> Owner:
    """``1001:1001``. Raises ``UsageError``."""
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if not match:
        raise UsageError(f"--owner {text}: write UID:GID, such as 1001:1001")
    return Owner(int(match[1]), int(match[2]), MODE)
