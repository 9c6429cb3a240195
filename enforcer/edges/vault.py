"""The directory that backups are kept in: for root alone, and one command at a time.

::

    repository/   Borg's
    borg/         Borg's cache, which can be made again
    staging/      what a command lays out; gone when it ends
    paused.json   the containers that a backup holds still, as long as it does
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from enforcer.errors import EdgeError, HostError, UsageError

_OTHERS = 0o077


@dataclass(frozen=True)
class Vault:
    """A directory of backups that this process holds."""

    directory: Path

    @property
    def repository(self) -> Path:
        """Borg's repository."""
        return self.directory / "repository"

    @property
    def base(self) -> Path:
        """What Borg calls its base directory."""
        return self.directory / "borg"

    @property
    def staging(self) -> Path:
        """An empty directory when the vault is taken hold of."""
        return self.directory / "staging"

    @property
    def is_made(self) -> bool:
        """Whether there is a repository: it is made elsewhere, and whole when it comes here."""
        return self.repository.exists()

    def note_paused(self, containers: Sequence[str]) -> None:
        """Put down, before the first one is paused, which containers will be; with none, that it is over."""
        path = self.directory / "paused.json"
        if not containers:
            path.unlink(missing_ok=True)
            return
        with path.open("w") as file:
            json.dump(list(containers), file)
            file.flush()
            os.fsync(file.fileno())

    def left_paused(self) -> tuple[str, ...]:
        """Ids of containers that a killed backup may have left paused."""
        try:
            return tuple(str(c) for c in json.loads((self.directory / "paused.json").read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):  # torn: nothing was paused yet
            return ()


@contextmanager
def held(directory: Path, *, make: bool = False) -> Iterator[Vault]:
    """Take hold of a directory of backups for the length of a ``with``; ``make``: it may be missing.

    Raises UsageError if there are no backups, HostError if others may look into it, EdgeError if another command has it.
    """
    vault = Vault(directory.absolute())
    try:
        if make:
            vault.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(vault.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as e:
        raise UsageError(f"there are no backups in {directory}: name their directory with --backups") from e
    except OSError as e:
        raise HostError(f"cannot use {directory} ({e.strerror}): run as root, or choose another with --backups") from e
    try:
        _take(fd, directory)
        if not make and not vault.is_made:
            raise UsageError(f"there are no backups in {directory}: name their directory with --backups")
        _clear(vault.staging)
        yield vault
    except OSError as e:  # a full disk, for one
        raise EdgeError(f"{e.filename or vault.directory}: {e.strerror}") from e
    finally:
        os.close(fd)


def is_held(directory: Path) -> bool:
    """Whether a living command holds a directory of backups."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _take(fd: int, directory: Path) -> None:
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise HostError(
            f"others may look into {directory}: chown it to root and chmod 0700 it, or choose another with --backups"
        )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
        raise EdgeError(f"another backup, restore or verification works in {directory}: wait until it has ended") from e


def _clear(staging: Path) -> None:
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
