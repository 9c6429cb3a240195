"""``restore``: a volume filled from a backup by a container that the policy names, compared with the manifest, put in place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from enforcer.core.backup import FILES, HALF_RESTORED, LIST, SavedVolume
from enforcer.core.inspection import Inspection, Owner
from enforcer.core.model import Policy
from enforcer.core.volume import LOCAL, StoredVolume
from enforcer.edges import refill
from enforcer.edges.borg import COMMON, Borg, environment, installed
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.subject import VAULT, VOLUMES, Work, subject
from enforcer.edges.vault import Vault
from enforcer.edges.volumes import Volumes, make_directory
from enforcer.errors import EnforcerError, UsageError
from enforcer.runtime.archives import contents
from enforcer.runtime.grants import Needs, await_known, failure, needs_of
from enforcer.runtime.vaults import free, remove_orphan
from enforcer.settings import Settings

WRITING = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP")
"""Of a restore: other users' files, with owners, modes, devices and file capabilities."""

PYTHON = "/usr/bin/python3"
PROGRAM = "/refill.py"


@dataclass(frozen=True)
class Refill:
    """What is asked for: the volumes of a backup (none for all of them), where to (``into``, of one volume only)."""

    policy: Policy
    backup: str
    volumes: Sequence[str]
    into: str
    replace: bool
    name: str
    hear: Callable[[bytes], None]


class Restore:
    """Restores from a vault that this process holds."""

    def __init__(self, dockerd: Dockerd, vault: Vault, settings: Settings, order: Refill) -> None:
        self._api, self._vault, self._settings, self._order = dockerd.sdk, vault, settings, order
        self._volumes = Volumes(dockerd.sdk)

    def make(self, inspections: Sequence[Inspection]) -> tuple[tuple[str, str], ...]:
        """Which volume was restored into which. Nothing is touched before all of it is known to be possible, as far as one can.

        Raises UsageError, RefusedError, EdgeError, HostError.
        """
        free(self._api, self._vault)
        remove_orphan(self._api, self._order.name, self._vault)
        borg = Borg(self._vault.repository, self._vault.base)
        manifest, listed = contents(borg, self._order.backup)
        (self._vault.staging / LIST).write_bytes(listed)
        saved = self._chosen(manifest.volumes)
        there = {v.name: v for v in self._volumes.all()}
        targets = [(volume, self._order.into or volume.name) for volume in saved]
        for volume, target in targets:
            _refuse_in_use(target, inspections)
            if target in there:
                _refuse_full(there[target], replace=self._order.replace)
            elif target == volume.name and volume.driver != LOCAL:
                raise UsageError(f"volume {target} is the driver {volume.driver}'s: make it first")
        for volume, target in targets:
            self._restore(volume, target, there.get(target))
        return tuple((volume.name, target) for volume, target in targets)

    def _chosen(self, saved: Sequence[SavedVolume]) -> list[SavedVolume]:
        chosen = [v for v in saved if not self._order.volumes or v.name in self._order.volumes]
        if unknown := set(self._order.volumes) - {v.name for v in chosen}:
            raise UsageError(f"backup {self._order.backup} holds no volume {', '.join(sorted(unknown))}")
        if self._order.into and len(chosen) != 1:
            raise UsageError("--into takes one volume: say which with --volume")
        return chosen

    def _restore(self, saved: SavedVolume, target: str, there: StoredVolume | None) -> None:
        if there is None:
            self._create(saved, target)
        try:
            self._fill(saved, target)
        except EnforcerError:
            if there is None:
                self._volumes.remove(target)
            raise

    def _create(self, saved: SavedVolume, target: str) -> None:
        """As it was, if it has its old name: another one on the same directory would be the same data."""
        options = saved.options if target == saved.name else {}
        if options.get("device") and "bind" in options.get("o", ""):
            make_directory(Path(options["device"]), Owner(0, 0, 0o700))
        self._volumes.create(target, options, saved.labels)

    def _fill(self, saved: SavedVolume, target: str) -> None:
        work = Work(
            name=self._order.name,
            command=[PYTHON, "-I", "-S", PROGRAM, json.dumps(self._orders(saved.name, target))],
            volumes={target: True},
            vault=self._vault.directory,
            vault_writable=False,
            capabilities=WRITING,
            environment=environment("/tmp/borg", self._order.name),  # noqa: S108 -- the container's
            files={PROGRAM: refill.__file__},
        )
        with subject(self._api, work) as made:
            cells = await_known(self._settings, made.name, made.id)
            run = made.run(self._order.hear)
        if run.status:
            raise failure(self._order.policy, Needs(work.name, needs_of(work), cells), run, "extract")

    def _orders(self, saved: str, target: str) -> dict[str, object]:
        archive = f"{VAULT}/{self._vault.repository.name}::{self._order.backup}{FILES}"
        words = ("--bypass-lock", "--sparse", "--numeric-ids", "--noflags", "--progress")
        return {
            "volume": f"{VOLUMES}/{target}",
            "saved": saved,
            "staging": HALF_RESTORED,
            "command": [installed(), "extract", *COMMON, *words, archive, saved],
            "list": f"{VAULT}/{self._vault.staging.name}/{LIST}",
        }


def _refuse_in_use(target: str, inspections: Sequence[Inspection]) -> None:
    users = [i.name for i in inspections if i.running and any(m.name == target for m in i.mounts)]
    if users:
        raise UsageError(
            f"volume {target} is in use by {', '.join(users)}: stop them first, or restore --into another volume"
        )


def _refuse_full(there: StoredVolume, *, replace: bool) -> None:
    if there.empty or replace or _holds_only(there, HALF_RESTORED):
        return
    raise UsageError(
        f"volume {there.name} is not empty: --replace removes what is in it once the backup's files are there, "
        f"--into restores into another volume"
    )


def _holds_only(there: StoredVolume, name: str) -> bool:
    try:
        return [p.name for p in Path(there.path).iterdir()] == [name]
    except OSError:
        return False
