"""``backup`` and ``restore``: volumes and last log lines into a directory of backups, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from enforcer.cli.host import run_option
from enforcer.cli.policy import policy_option
from enforcer.cli.render import emit, format_option, json_text, safe, table
from enforcer.cli.verify import refuse_options
from enforcer.cli.volumes import engine
from enforcer.core.backup import Manifest, summary_of
from enforcer.core.select import named
from enforcer.edges.borg import Borg, object_of
from enforcer.edges.inspections import Inspections
from enforcer.edges.policyfile import load
from enforcer.edges.signals import interruptible
from enforcer.edges.vault import Vault, held
from enforcer.edges.volumes import Volumes
from enforcer.runtime.archives import Verified, find, listing, verify_all
from enforcer.runtime.backup import Backup, Order
from enforcer.runtime.restore import Refill, Restore
from enforcer.runtime.selection import Asked, select
from enforcer.runtime.vaults import free
from enforcer.settings import BACKUPS, Settings

LINES = 1000
"""Of a container's log that the guide's script keeps ("Volume Backup Strategy")."""

vault_option = click.option(
    "--backups",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=BACKUPS,
    show_default=True,
    help="The directory of backups, for root alone.",
)


def name_option(name: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """``--name``, with its default."""
    return click.option(
        "--name", default=name, show_default=True, help="The container's name, which the policy knows it by."
    )


@click.group("backup", invoke_without_command=True)
@vault_option
@click.option(
    "--container", "containers", multiple=True, help="Only this container's volumes and log. May be repeated."
)
@click.option("--volume", "volumes", multiple=True, help="Only this volume. May be repeated.")
@click.option("--log-lines", type=click.IntRange(0), default=LINES, show_default=True, help="Last lines of each log.")
@click.option("--pause", is_flag=True, help="Pause the containers that may write, while their volumes are read.")
@click.option("--keep", type=click.IntRange(0), default=0, show_default=True, help="Backups to keep; 0 keeps all.")
@name_option("enforcer-backup")
@policy_option
@run_option
@format_option
@click.pass_context
def backup_group(  # noqa: PLR0913 -- its options
    context: click.Context,
    *,
    directory: Path,
    containers: tuple[str, ...],
    volumes: tuple[str, ...],
    log_lines: int,
    pause: bool,
    keep: int,
    name: str,
    policy_path: Path,
    run_: Path,
    format_: str,
) -> int:
    """Save the volumes of the containers that the policy names, and their last log lines.

    They are read by a container of that name, to which the policy must grant them. Exits 1 if it refuses; then nothing is saved.
    """
    if context.invoked_subcommand:
        refuse_options(context)
        return 0
    policy, asked = load(policy_path), Asked(containers, volumes)
    with interruptible(), engine() as dockerd, held(directory, make=True) as vault, progress("read") as hear:
        stored = Volumes(dockerd.sdk).all()
        inspections = Inspections(dockerd.api, {v.name: v.path for v in stored}).all()
        governed = {c.id for c in dockerd.containers() if named(policy, c) and c.name != name}
        chosen = select(governed, [i for i in inspections if i.name != name], stored, asked)
        order = Order(policy, chosen, name, log_lines, pause, keep, hear, warn)
        made, manifest = Backup(dockerd, vault, Settings(run=run_), order).make()
    emit([json_text({"backup": made, **asdict(manifest)})] if format_ == "json" else _made(made, manifest))
    return 0


def _made(name: str, manifest: Manifest) -> list[str]:
    found = summary_of(manifest)
    rows = [(v.name, ", ".join(v.containers) or "-", v.files, v.bytes) for v in manifest.volumes]
    lines = [table(["VOLUME", "MOUNTED IN", "FILES", "BYTES"], rows), ""]
    lines += [f"{safe(said)}" for said in manifest.changed]
    lines += [f"no log of {log.container}: {safe(log.why)}" for log in manifest.logs if log.why]
    return [*lines, f"backup {name}: {found['files']} files, {found['bytes']} bytes, {len(manifest.logs)} logs"]


@backup_group.command("list")
@vault_option
@format_option
def list_command(directory: Path, format_: str) -> None:
    """The whole backups, oldest first. What an interrupted one has left is none."""
    with held(directory) as vault:
        found = listing(_borg(vault))
    if format_ == "json":
        emit([json_text(found)])
        return
    head = ["BACKUP", "VOLUMES", "FILES", "BYTES", "PAUSED", "CHANGED", "POLICY"]
    rows = [
        (f["backup"], len(f["volumes"]), f["files"], f["bytes"], f["paused"], f["changed"], f["policy"][:12])
        for f in found
    ]
    emit([table(head, rows)] if rows else ["there are no backups"])


@backup_group.command("verify")
@click.argument("name", metavar="[BACKUP]", default="")
@vault_option
@format_option
def verify_command(name: str, directory: Path, format_: str) -> int:
    """Is everything as it was saved? Checks the repository with all its data, and every file against its hash.

    BACKUP is a name of `backup list`, or latest; without one all are compared. Exits 1 if anything is damaged.
    """
    with interruptible(), held(directory) as vault:
        broken, found = verify_all(_borg(vault), name)
    failed = bool(broken) or any(v.wrong for v in found)
    if format_ == "json":
        emit([json_text({"repository": broken, "backups": [asdict(v) for v in found]})])
    else:
        emit(_verified(broken, found))
    return 1 if failed else 0


def _verified(broken: tuple[str, ...], found: tuple[Verified, ...]) -> list[str]:
    rows = [("repository", "", "DAMAGED" if broken else "ok", "; ".join(broken[:3]))]
    rows += [(v.name, str(v.files), "DAMAGED" if v.wrong else "ok", "; ".join(v.wrong)) for v in found]
    return [table(["", "FILES", "", "SEEN"], rows)]


def _borg(vault: Vault) -> Borg:
    borg = Borg(vault.repository, vault.base)
    if borg.is_locked:
        with engine() as dockerd:
            free(dockerd.sdk, vault)
    return borg


@click.command("restore")
@click.argument("backup")
@vault_option
@click.option("--volume", "volumes", multiple=True, help="Only this volume of the backup. May be repeated.")
@click.option("--into", default="", metavar="VOLUME", help="Restore one volume into this one, made if it is not there.")
@click.option("--replace", is_flag=True, help="Into a volume that is not empty: what is in it goes.")
@name_option("enforcer-restore")
@policy_option
@run_option
def restore_command(  # noqa: PLR0913 -- its options
    *,
    backup: str,
    directory: Path,
    volumes: tuple[str, ...],
    into: str,
    replace: bool,
    name: str,
    policy_path: Path,
    run_: Path,
) -> None:
    """Restore the volumes of BACKUP (a name of `backup list`, or latest), each compared with its hashes before it is put in place.

    They are written by a container of that name, to which the policy must grant them. A volume in use is refused.
    """
    policy = load(policy_path)
    with interruptible(), engine() as dockerd, held(directory) as vault, progress("written") as hear:
        found = find(_borg(vault).archives(), backup)
        places = {v.name: v.path for v in Volumes(dockerd.sdk).all()}
        inspections = [i for i in Inspections(dockerd.api, places).all() if i.name != name]
        order = Refill(policy, found, volumes, into, replace, name, hear)
        done = Restore(dockerd, vault, Settings(run=run_), order).make(inspections)
    emit([f"volume {target} is as {volume} was at {found}" for volume, target in done])


def warn(text: str) -> None:
    """Say it on standard error."""
    click.echo(f"enforcer: {text}", err=True)


@contextmanager
def progress(verb: str) -> Iterator[Callable[[bytes], None]]:
    """What shows the progress that Borg's lines tell, on a terminal only; its line is wiped in the end."""

    def hear(line: bytes) -> None:
        if text := _progress_of(object_of(line) or {}):
            sys.stderr.write(f"\r{text} {verb}\x1b[K")
            sys.stderr.flush()

    if not sys.stderr.isatty():
        yield lambda _: None
        return
    try:
        yield hear
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _progress_of(found: Mapping[str, Any]) -> str:
    if found.get("type") == "archive_progress" and "nfiles" in found:
        return f"{found['nfiles']} files, {found['original_size']} bytes"
    if found.get("type") == "progress_percent" and found.get("total"):
        return f"{100 * found.get('current', 0) // found['total']} %"
    return ""
