"""``backup``: which volumes, read by a container that the policy names, listed and hashed from what is stored, then made whole."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import IO

from enforcer.core.backup import (
    FILES,
    HALF_RESTORED,
    LIST,
    LOGS,
    MANIFEST,
    Entry,
    Manifest,
    SavedLog,
    SavedVolume,
    line_of,
    outdated,
    summary_of,
    text_of_manifest,
    unfinished,
)
from enforcer.core.model import Policy
from enforcer.edges.borg import COMMON, COMPRESSION, WARNINGS, Borg, Ended, environment, installed
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.last_lines import last_lines
from enforcer.edges.pausing import paused, wake
from enforcer.edges.subject import VAULT, Work, subject
from enforcer.edges.vault import Vault
from enforcer.errors import EdgeError
from enforcer.runtime.grants import Needs, await_known, failure, needs_of
from enforcer.runtime.selection import Selection
from enforcer.runtime.vaults import free, remove_orphan
from enforcer.settings import Settings

READING = ("DAC_READ_SEARCH",)
"""The one capability of a backup: reading what is another user's."""

CHANGED = "file changed while we backed it up"
GONE = "[Errno 2] No such file or directory"
"""What Borg warns of when a file that is being written to is read, and when one is removed meanwhile."""

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
}


@dataclass(frozen=True)
class Order:
    """What is asked for. ``keep``: of the whole backups the newest so many stay, 0 for all. ``hear`` has Borg's lines."""

    policy: Policy
    selection: Selection
    name: str
    log_lines: int
    pause: bool
    keep: int
    hear: Callable[[bytes], None]
    say: Callable[[str], None]


class Backup:
    """Makes one backup into a vault that this process holds."""

    def __init__(self, dockerd: Dockerd, vault: Vault, settings: Settings, order: Order) -> None:
        self._api, self._vault, self._settings, self._order = dockerd.sdk, vault, settings, order
        self._borg = Borg(vault.repository, vault.base)

    def make(self) -> tuple[str, Manifest]:
        """The new backup's name and manifest. RefusedError, EdgeError, HostError; then there is no backup of that name."""
        self._prepare()
        name = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%SZ")
        run, held = self._read(name + FILES)
        logs = tuple(self._log(container) for container in self._order.selection.containers)
        listed = self._list(name + FILES)
        manifest = Manifest(
            made=name,
            policy=self._order.policy.hash,
            volumes=listed.volumes,
            logs=logs,
            list_sha256=listed.sha256,
            files_id=str(json.loads(run.out)["archive"]["id"]),
            paused=tuple(self._order.selection.writers[c] for c in held),
            changed=(*run.said, *listed.torn),
        )
        (self._vault.staging / MANIFEST).write_text(text_of_manifest(manifest))
        self._borg.store(name, self._vault.staging, json.dumps(summary_of(manifest)))
        self._tidy()
        return name, manifest

    def _prepare(self) -> None:
        """Undo what a killed backup has left: containers that stand still, a container of ours, Borg's lock."""
        for container in wake(self._api, self._vault, self._vault.left_paused()):
            self._order.say(f"container {container[:12]}, which a killed backup had left paused, runs again")
        free(self._api, self._vault)
        remove_orphan(self._api, self._order.name, self._vault)
        if not self._vault.is_made:  # in another place first: what is there is whole
            fresh = self._vault.staging / self._vault.repository.name
            Borg(fresh, self._vault.base).init()
            fresh.rename(self._vault.repository)

    def _read(self, archive: str) -> tuple[Ended, tuple[str, ...]]:
        """Have a container of ours read the volumes into an archive; what it said are the files that changed meanwhile.

        With it, the ids of the containers that stood still.
        """
        volumes = [v.name for v in self._order.selection.volumes]
        words = ("--json", "--numeric-ids", "--noflags", "--compression", COMPRESSION, "--progress")
        work = Work(
            name=self._order.name,
            command=[
                installed(),
                "create",
                *COMMON,
                *words,
                f"{VAULT}/{self._vault.repository.name}::{archive}",
                *volumes,
            ],
            volumes=dict.fromkeys(volumes, False),
            vault=self._vault.directory,
            vault_writable=True,
            capabilities=READING,
            environment=environment(f"{VAULT}/{self._vault.base.name}", f"{self._order.name}-{archive}"),
        )
        writers = tuple(self._order.selection.writers) if self._order.pause else ()
        with subject(self._api, work) as made:
            cells = await_known(self._settings, made.name, made.id)
            with paused(self._api, self._vault, writers) as held:
                run = made.run(self._order.hear)
        known = all(said.endswith(CHANGED) or GONE in said for said in run.said)
        if run.status == 0 or (run.status == WARNINGS and run.said and known):
            return run, held
        self._discard(archive, run)
        raise failure(self._order.policy, Needs(work.name, needs_of(work), cells), run, "create")

    def _discard(self, archive: str, run: Ended) -> None:
        """With warnings Borg finishes an archive all the same, without what it could not read."""
        if run.status == WARNINGS:
            self._borg.delete([archive])

    def _log(self, container: str) -> SavedLog:
        """Put the last lines of a container's log beside the manifest."""
        directory = self._vault.staging / LOGS
        directory.mkdir(exist_ok=True)
        try:
            lines = last_lines(self._api, container, self._order.log_lines)
        except EdgeError as e:
            return SavedLog(container, 0, str(e))
        (directory / f"{container}.log").write_bytes(lines)
        return SavedLog(container, lines.count(b"\n"))

    def _list(self, archive: str) -> _Listed:
        """Write a line for each file of the archive, from what is stored: so what is listed has been read back once."""
        digest, volumes, torn = hashlib.sha256(), {v.name: v for v in self._order.selection.volumes}, list[str]()
        with self._borg.members(archive) as tar, (self._vault.staging / LIST).open("wb") as file:
            for entry in entries(tar):
                if entry.path == HALF_RESTORED:  # or its container has made it so: no reason to save nobody else's
                    torn.append(f"volume {entry.volume} holds a restore that was interrupted: restore it again")
                line = line_of(entry).encode()
                digest.update(line)
                file.write(line)
                volume = volumes[entry.volume]
                volumes[entry.volume] = replace(volume, files=volume.files + 1, bytes=volume.bytes + entry.size)
        return _Listed(tuple(volumes.values()), digest.hexdigest(), tuple(torn))

    def _tidy(self) -> None:
        """Remove what belongs to no whole backup, and those that are not to be kept. The newest is whole already."""
        archives = self._borg.archives()
        doomed = unfinished(archives) + (outdated(archives, self._order.keep) if self._order.keep else ())
        if doomed:
            self._borg.delete(doomed)
            self._borg.compact()


@dataclass(frozen=True)
class _Listed:
    volumes: tuple[SavedVolume, ...]
    sha256: str
    torn: tuple[str, ...]


def entries(tar: tarfile.TarFile) -> Iterator[Entry]:
    """The files of an archive of volumes, in its order, each hashed. Raises EdgeError."""
    for member in tar:
        volume, _, path = member.name.partition("/")
        link = _other_name(member.linkname, volume) if member.islnk() else member.linkname
        content = tar.extractfile(member) if member.isreg() else None
        yield Entry(
            volume=volume,
            path=path or ".",
            kind=KINDS.get(member.type, "file"),
            mode=member.mode,
            uid=member.uid,
            gid=member.gid,
            size=member.size,
            mtime=int(member.mtime),
            link=link,
            sha256=_hashed(content) if content else "",
        )


def _other_name(name: str, volume: str) -> str:
    """Where the file of a hard link is: in the same volume, or (two volumes on one filesystem) in another."""
    other, _, path = name.partition("/")
    return path if other == volume else f"../{name}"


def _hashed(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := content.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()
