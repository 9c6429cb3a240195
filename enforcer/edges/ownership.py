"""Whose the files below a directory of the host are, and giving them to somebody, while a container may be changing the tree.

No symbolic link is followed, no other filesystem is entered, a file with several names keeps its owner (one of them may lie
outside), and so does a device: it would be the host's that is given away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from enforcer.errors import EdgeError

LOOKED_AT = 100_000
"""Files that are looked at for another's: a second or so."""


def others_files(path: str, uid: int) -> tuple[int, str, int]:
    """How many of the first 100,000 entries below a directory are not ``uid``'s: number, the first one's path, its owner."""
    count, first, owner = 0, "", 0
    for _, _, name, found in islice(_entries(path), LOOKED_AT):
        if found.st_uid != uid:
            count += 1
            first, owner = (first, owner) if first else (name, found.st_uid)
    return count, first, owner


def give(path: str, uid: int, gid: int) -> tuple[int, int]:
    """Give a directory and all below it to a user; how many entries were given, and how many were left to their owner.

    Raises EdgeError.
    """
    given, left = 1, 0
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(top, uid, gid)
        finally:
            os.close(top)
        for directory, name, _, found in _entries(path):
            kind = stat.S_IFMT(found.st_mode)
            if kind in (stat.S_IFBLK, stat.S_IFCHR) or (kind != stat.S_IFDIR and found.st_nlink > 1):
                left += 1
            elif (found.st_uid, found.st_gid) != (uid, gid):
                with suppress(FileNotFoundError):  # the container has removed it meanwhile
                    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
                    given += 1
    except OSError as e:
        raise EdgeError(f"cannot change the owner in {path}: {e.strerror}") from e
    return given, left


def _entries(path: str) -> Iterator[tuple[int, str, str, os.stat_result]]:
    """Everything below a directory: an open descriptor of its directory, its name there, its path, and what it is."""
    device = os.stat(path).st_dev
    for directory, names, files, handle in os.fwalk(path, follow_symlinks=False):
        within = []
        for name in (*names, *files):
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if found.st_dev == device:
                    yield handle, name, os.path.join(directory, name), found
                    within += [name] if stat.S_ISDIR(found.st_mode) else []
        names[:] = within
