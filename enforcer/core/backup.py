"""What a backup is made of: its manifest, a line for each file, and which archives of a repository are whole backups.

A backup is two archives. ``NAME.files`` holds the volumes, each under its name. ``NAME`` holds the manifest, the list of files
and the containers' last log lines; it is written last, so that a backup is whole if both are there, and none otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from enforcer.errors import EdgeError

OURS = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z(\.files)?(\.checkpoint(\.\d+)?)?", re.ASCII)
"""Archives that backups make, what Borg puts by meanwhile among them. Others may be somebody's own, in the same repository."""

FORMAT = 1
"""Of manifest and list; another number is refused."""

FILES = ".files"
"""What the name of the archive ends in that holds the volumes."""

MANIFEST, LIST, LOGS = "manifest.json", "files.jsonl", "logs"
"""Within the archive ``NAME``."""

HALF_RESTORED = ".enforcer-restore"
"""The directory of a volume that holds what a restore has not yet moved into place."""


@dataclass(frozen=True)
class Entry:
    """One file as it is in the archive. ``path`` is within the volume, ``.`` its own directory; ``mtime`` in seconds since 1970.

    ``kind`` is ``file``, ``directory``, ``symlink``, ``hardlink``, ``fifo``, ``character`` or ``block``; ``link`` is what a
    symbolic link says, or the path of the file whose other name this is (``../VOLUME/…`` in another volume). ``sha256`` is a
    file's, hexadecimal.
    """

    volume: str
    path: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class SavedVolume:
    """A volume with what it was made with, the containers that have it mounted, and how much is in it."""

    name: str
    driver: str
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class SavedLog:
    """The last lines of a container's log: how many, or why there are none."""

    container: str
    lines: int
    why: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. ``list_sha256`` is of the list of files, ``files_id`` the id of the archive of volumes.

    ``paused`` are the containers that stood still while their volumes were read; ``changed`` the files that changed meanwhile, and
    the volumes that hold an interrupted restore.
    """

    made: str
    policy: str
    volumes: tuple[SavedVolume, ...]
    logs: tuple[SavedLog, ...]
    list_sha256: str
    files_id: str
    paused: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    format: int = FORMAT


def text_of_manifest(manifest: Manifest) -> str:
    """As JSON, in plain ASCII."""
    return json.dumps(asdict(manifest), indent=2) + "\n"


def manifest_of(text: str) -> Manifest:
    """The inverse. Raises ``EdgeError`` for what is none, or of another format."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise EdgeError(f"the backup's format is {found['format']}: this enforcer reads {FORMAT}")
        volumes = tuple(SavedVolume(**{**v, "containers": tuple(v["containers"])}) for v in found.pop("volumes"))
        logs = tuple(SavedLog(**log) for log in found.pop("logs"))
        paused, changed = tuple(found.pop("paused")), tuple(found.pop("changed"))
        return Manifest(**found, volumes=volumes, logs=logs, paused=paused, changed=changed)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise EdgeError(f"the backup's manifest is damaged ({type(e).__name__}: {e})") from e


def line_of(entry: Entry) -> str:
    """One line of the list. A name that is no UTF-8 keeps its bytes as lone surrogates (PEP 383), escaped."""
    return json.dumps(asdict(entry), separators=(",", ":")) + "\n"


def entry_of(line: str) -> Entry:
    """The inverse. Raises ``EdgeError``."""
    try:
        return Entry(**json.loads(line))
    except (ValueError, TypeError) as e:
        raise EdgeError(f"the backup's list of files is damaged ({e})") from e


def differences(listed: Entry, found: Entry) -> tuple[str, ...]:
    """Where a file is not what the list says: ``sha256 is …, where … was saved``."""
    pairs = ((f.name, getattr(listed, f.name), getattr(found, f.name)) for f in fields(Entry))
    return tuple(f"{name} is {now!a}, where {then!a} was saved" for name, then, now in pairs if now != then)


def whole(archives: Iterable[str]) -> tuple[str, ...]:
    """The names of the backups among a repository's archives, in their order: those that both archives are there of."""
    names = tuple(name for name in archives if OURS.fullmatch(name))
    return tuple(name for name in names if f"{name}{FILES}" in names)


def unfinished(archives: Iterable[str]) -> tuple[str, ...]:
    """The archives that belong to no whole backup: of interrupted ones, and Borg's own checkpoints."""
    names = tuple(archives)
    kept = {part for name in whole(names) for part in (name, f"{name}{FILES}")}
    return tuple(name for name in names if name not in kept and OURS.fullmatch(name))


def outdated(archives: Iterable[str], keep: int) -> tuple[str, ...]:
    """The archives of all whole backups but the newest ``keep``. The names sort by time. What makes one whole goes first."""
    old = sorted(whole(archives))[:-keep]
    return (*old, *(f"{name}{FILES}" for name in old))


def summary_of(manifest: Manifest) -> dict[str, Any]:
    """What a listing says of a backup; it is kept as the archive's comment, so that no manifest need be read for it."""
    return {
        "volumes": [v.name for v in manifest.volumes],
        "files": sum(v.files for v in manifest.volumes),
        "bytes": sum(v.bytes for v in manifest.volumes),
        "policy": manifest.policy,
        "paused": len(manifest.paused),
        "changed": len(manifest.changed),
    }
