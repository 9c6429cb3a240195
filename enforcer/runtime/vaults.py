"""What a killed command has left in the engine: a container of ours that works for nobody."""

from __future__ import annotations

from pathlib import Path

import docker

from enforcer.edges.borg import Borg
from enforcer.edges.subject import remove, vault_of, working_in
from enforcer.edges.vault import Vault, is_held
from enforcer.errors import EdgeError


def free(api: docker.APIClient, vault: Vault) -> None:
    """Nobody works in a vault but whoever holds it: what a killed command has left working there goes, then Borg's lock.

    The containers first, whatever their names: one that lives would write on beside the next. Raises EdgeError.
    """
    for container in working_in(api, vault.directory):
        remove(api, container)
    if vault.is_made:
        Borg(vault.repository, vault.base).break_lock()


def remove_orphan(api: docker.APIClient, name: str, vault: Vault) -> None:
    """Remove the container of that name if the command that made it is gone. Raises EdgeError if it is not, or is none of ours.

    Whose it is, its label says: a directory of backups, which a living command holds.
    """
    directory = vault_of(api, name)
    if directory is None:
        return
    if not directory:
        raise EdgeError(
            f"there is a container {name} that is none of ours: remove it, or choose another name with --name"
        )
    if directory != str(vault.directory) and is_held(Path(directory)):
        raise EdgeError(
            f"container {name} works for another backup or restore, in {directory}: wait until it has ended"
        )
    remove(api, name)
