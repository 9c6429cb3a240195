"""Docker's volumes: what there are, with the directories behind them; making one, with a directory of the right owner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker

from enforcer.core.inspection import Owner
from enforcer.core.volume import StoredVolume
from enforcer.edges.docker_errors import asking
from enforcer.edges.docker_fields import labels_of, name_of, text_of
from enforcer.edges.inspections import owner_of
from enforcer.errors import EdgeError

BASE_MODE = 0o711
"""Of the directory above the data: containers come to theirs by its volume, and nobody has to list the others."""


class Volumes:
    """Answers which volumes there are, and makes new ones. ``api`` is the engine's."""

    def __init__(self, api: docker.APIClient) -> None:
        self._api = api

    def all(self) -> tuple[StoredVolume, ...]:
        """Every volume, by name. Raises EdgeError."""
        with asking("the list of volumes"):
            found = [_stored(v) for v in self._api.volumes().get("Volumes") or ()]
        return tuple(sorted(found, key=lambda v: v.name))

    def create(self, name: str, options: Mapping[str, str], labels: Mapping[str, str] | None = None) -> StoredVolume:
        """A new volume of the local driver. Raises EdgeError, also where one of that name came meanwhile with other options."""
        with asking(f"volume {name}"):
            asked = self._api.create_volume(name, driver="local", driver_opts=dict(options), labels=dict(labels or {}))
            made = _stored(asked)
        if dict(made.options) != dict(options):
            raise EdgeError(f"volume {name} was made by somebody else meanwhile, with other options: it is left alone")
        return made

    def remove(self, name: str) -> None:
        """Remove a volume with what is in it. Raises EdgeError."""
        with asking(f"volume {name}"):
            self._api.remove_volume(name)


def _stored(found: dict[str, Any]) -> StoredVolume:
    options = {text_of({"option": k}, "option"): text_of(found["Options"], k) for k in found.get("Options") or {}}
    bound = {"bind", "rbind"} & set(options.get("o", "").split(","))
    path = os.path.realpath(options.get("device", "") if bound else text_of(found, "Mountpoint"))
    return StoredVolume(
        name=name_of(found),
        driver=text_of(found, "Driver"),
        options=options,
        path=path,
        owner=owner_of(path),
        empty=_is_empty(path),
        labels=labels_of(found),
    )


def _is_empty(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def make_directory(path: Path, wanted: Owner) -> bool:
    """A directory of that owner and mode, and those above it; True if it was not there. One that is there is not changed.

    Raises EdgeError, also where something else has its name: a symbolic link would lead the volume to another's data.
    """
    try:
        path.parent.mkdir(mode=BASE_MODE, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise EdgeError(f"{path} is no directory, and a volume's data is to lie there: move it away") from None
        return False
    except OSError as e:
        raise EdgeError(f"cannot make {path}: {e.strerror}") from e
    own(path, wanted)
    return True


def own(path: Path, wanted: Owner) -> None:
    """Give one directory an owner and a mode, and not what is in it; symbolic links are not followed. Raises EdgeError."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(directory, wanted.uid, wanted.gid)
            os.fchmod(directory, wanted.mode)
        finally:
            os.close(directory)
    except OSError as e:
        raise EdgeError(f"cannot change the owner of {path}: {e.strerror}") from e
