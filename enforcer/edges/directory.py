"""Directories that only root may look into, and that one agent holds at a time."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from enforcer.errors import HostError

_FOREIGN_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def private(path: Path, option: str) -> Path:
    """Make ``path`` and those above it where they are missing, mode 0700. Raises ``HostError`` naming the option to change.

    One that is there already must belong to whoever runs the agent, and nobody else may write in it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as e:
        raise HostError(f"cannot make {path} ({e.strerror}): run as root, or choose {option} elsewhere") from e
    if found.st_uid != os.geteuid() or found.st_mode & _FOREIGN_WRITERS:
        raise HostError(f"others may write in {path} ({option}): chown it to root and chmod 0700 it, or choose another")
    return path


def hold(path: Path, option: str) -> int:
    """Lock a directory for this process; the descriptor whose closing releases it. Raises ``HostError`` if another has it.

    ``option`` is the one that names the directory, such as ``--pins``.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as e:
        raise HostError(f"cannot open {path} ({e.strerror}): choose {option} elsewhere") from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise HostError(f"another agent holds {path} ({option}): stop it first, or choose {option} elsewhere") from e
    return fd
