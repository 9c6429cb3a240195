"""What an agent that was killed during a self-test has left goes with the next start, or with unload."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from enforcer.edges.cgroup import Cgroups
from enforcer.runtime.canary import NAME, remove_left

NOBODY = (1 << 22) + 1
"""No pid: one above what Linux gives out."""


@pytest.fixture
def parent() -> Iterator[str]:
    """A cgroup of this test, with what a dead and a living agent have in it."""
    cgroups, path = Cgroups(), f"/enforcer-test-left-{secrets.token_hex(3)}"
    left = [f"{path}/{NAME}{NOBODY}/life", f"{path}/{NAME}{NOBODY}", f"{path}/{NAME}{os.getpid()}", path]
    for each in left:
        cgroups.ensure(each)
    yield path
    for each in left:
        cgroups.remove(each)


def test_only_what_the_dead_have_left_goes(parent: str) -> None:
    """The scratch cgroup of an agent that lives is its own."""
    cgroups = Cgroups()
    assert len(cgroups.named(NAME, parent)) == 2
    remove_left(cgroups, parent)
    assert cgroups.named(NAME, parent) == (f"{parent}/{NAME}{os.getpid()}",)
