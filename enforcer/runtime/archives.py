"""Reading what a vault holds: which backups, what each says of itself, and whether all of it is still as it was saved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from enforcer.core.backup import FILES, LIST, MANIFEST, Manifest, differences, entry_of, manifest_of, whole
from enforcer.edges.borg import Archive, Borg
from enforcer.errors import EdgeError, UsageError
from enforcer.runtime.backup import entries

LATEST = "latest"
SHOWN = 5
"""Differences of one backup that are told."""


@dataclass(frozen=True)
class Verified:
    """One backup: how many files were compared, and what is wrong with it."""

    name: str
    files: int
    wrong: tuple[str, ...]


def listing(borg: Borg) -> list[dict[str, Any]]:
    """Each whole backup, oldest first, with what it says of itself."""
    archives = borg.archives()
    return [{"backup": name, **_summary(archives[name].comment)} for name in whole(archives)]


def find(archives: Iterable[str], name: str) -> str:
    """The backup of that name, or the newest one for ``latest``. Raises UsageError."""
    names = whole(archives)
    if name == LATEST and names:
        return names[-1]
    if name not in names:
        raise UsageError(f"there is no backup {name}: see `enforcer backup list`")
    return name


def contents(borg: Borg, name: str) -> tuple[Manifest, bytes]:
    """A backup's manifest and its list of files, which the manifest vouches for. Raises EdgeError."""
    files = borg.contents(name)
    manifest, listed = manifest_of(files.get(MANIFEST, b"").decode(errors="replace")), files.get(LIST, b"")
    if hashlib.sha256(listed).hexdigest() != manifest.list_sha256:
        raise EdgeError(f"the list of files of backup {name} is not the one that its manifest names")
    return manifest, listed


def verify(borg: Borg, name: str, archive: Archive) -> Verified:
    """Read every file of a backup, whose volumes are in ``archive``, and compare it with the list."""
    try:
        manifest, listed = contents(borg, name)
        if archive.id != manifest.files_id:
            return Verified(name, 0, (f"the archive {name}{FILES} is not the one that its manifest names",))
        wrong = tuple(islice(_differing(borg, name, listed), SHOWN))
    except EdgeError as e:
        return Verified(name, 0, (str(e),))
    return Verified(name, listed.count(b"\n"), wrong)


def verify_all(borg: Borg, name: str = "") -> tuple[tuple[str, ...], tuple[Verified, ...]]:
    """What is wrong with the repository, and each backup compared, or only the one of that name. Raises UsageError."""
    broken = borg.check()
    try:
        archives = borg.archives()
    except EdgeError as e:  # damaged so that not even their names are known
        return (*broken, str(e)), ()
    names = [find(archives, name)] if name else whole(archives)
    return broken, tuple(verify(borg, each, archives[each + FILES]) for each in names)


def _differing(borg: Borg, name: str, listed: bytes) -> Iterator[str]:
    lines = (entry_of(line) for line in listed.decode().splitlines())
    with borg.members(name + FILES) as tar:
        for entry, found in zip_longest(lines, entries(tar)):
            if entry is None or found is None:
                yield "more or fewer files than were saved"
                return
            for difference in differences(entry, found):
                yield f"{entry.volume}/{entry.path}: {difference}"


def _summary(comment: str) -> dict[str, Any]:
    try:
        found = json.loads(comment)
    except ValueError as e:
        raise EdgeError("a backup's comment was changed by somebody: it is none of `enforcer backup`") from e
    return dict(found)
