"""Holding containers still (``docker pause``) for the length of a ``with``, and never longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import docker

from enforcer.edges.docker_errors import asking
from enforcer.edges.signals import disturbed, undisturbed
from enforcer.edges.vault import Vault
from enforcer.errors import ContainerGone, EdgeError


@contextmanager
def paused(api: docker.APIClient, vault: Vault, containers: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Pause running containers (ids); those that were paused by us. They run again afterwards, whatever happens.

    One that has ended, or that somebody else has paused, is left alone. Raises EdgeError.
    """
    ours = tuple(c for c in containers if _runs(api, c))
    with undisturbed():
        try:
            vault.note_paused(ours)
            for container in ours:
                with suppress(ContainerGone), asking(f"container {container}", gone=ContainerGone):
                    api.pause(container)
            with disturbed():
                yield ours
        finally:
            wake(api, vault, ours)


def wake(api: docker.APIClient, vault: Vault, containers: Sequence[str]) -> tuple[str, ...]:
    """Have containers run again; those that did not. One failure keeps no other paused. Raises EdgeError for the first."""
    woken, failures = [], []
    for container in containers:
        try:
            if _unpause(api, container):
                woken.append(container)
        except EdgeError as e:
            failures.append(e)
    if failures:
        raise failures[0]
    vault.note_paused(())
    return tuple(woken)


def _runs(api: docker.APIClient, container: str) -> bool:
    try:
        with asking(f"container {container}", gone=ContainerGone):
            state = api.inspect_container(container)["State"]
            return bool(state["Running"]) and not state["Paused"]
    except ContainerGone:
        return False


def _unpause(api: docker.APIClient, container: str) -> bool:
    try:
        with asking(f"container {container}", gone=ContainerGone):
            if not api.inspect_container(container)["State"]["Paused"]:
                return False
            api.unpause(container)
            return True
    except ContainerGone:
        return False
