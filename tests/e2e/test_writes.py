"""Trying to write from inside containers: the same answer as the container's own programs get, whoever they run as."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.types import Mount

from deploy.demo.engine import Engine
from deploy.demo.images import USER
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.writes import Writes
from enforcer.errors import ContainerGone
from tests.e2e.conftest import Containers


class Ground:
    """A volume that belongs to user 1001 alone, and containers with it at /v."""

    def __init__(self, engine: Engine, containers: Containers) -> None:
        self.containers, self.dockerd = containers, Dockerd(engine.url)
        self.path = Path(containers.client.volumes.create("writes-v").attrs["Mountpoint"])
        os.chown(self.path, USER, USER)
        self.path.chmod(0o700)

    def both(self, path: str = "/v", **options: Any) -> tuple[bool, bool]:
        """Could our process write there, and could the container's own ``touch``?"""
        mount = Mount("/v", "writes-v", type="volume", no_copy=True, read_only=options.pop("fixed", False))
        container = self.containers.start(mounts=[mount], **options)
        found = Writes(Cgroups()).attempt(self.dockerd.container(container.id), [path])[path]
        assert found.tried, found
        own = self.containers.execute(container, "touch", f"{path}/own").status == 0
        return found.done, own


@pytest.fixture
def ground(engine: Engine, containers: Containers) -> Iterator[Ground]:
    """What is made is removed."""
    made = Ground(engine, containers)
    try:
        yield made
    finally:
        made.dockerd.close()
        containers.remove_all()
        containers.client.volumes.get("writes-v").remove()


@pytest.mark.parametrize(
    ("options", "can"),
    [
        ({"user": f"{USER}:{USER}"}, True),
        ({"user": "1002:1002"}, False),
        ({"user": f"1002:{USER}"}, False),
        ({"user": "0"}, True),  # by CAP_DAC_OVERRIDE, which Docker grants root unless it is told otherwise
        ({"user": "0", "cap_drop": ["ALL"]}, False),
        ({"user": f"{USER}:{USER}", "fixed": True}, False),
        ({"user": f"{USER}:{USER}", "init": False}, True),
    ],
    ids=str,
)
def test_ours_ends_as_its_own(ground: Ground, options: dict[str, Any], can: bool) -> None:
    """By user, group, capabilities and mount."""
    assert ground.both(**options) == (can, can)


def test_a_group_is_enough(ground: Ground) -> None:
    """Further groups count, too."""
    ground.path.chmod(0o770)
    assert ground.both(user="1002:1002", group_add=[str(USER)]) == (True, True)


def test_the_root_filesystem(ground: Ground) -> None:
    """Overlay may have no nameless files: then the kernel is asked, and says the same."""
    assert ground.both("/", user="0", read_only=False) == (True, True)
    assert ground.both("/", user="0", read_only=True) == (False, False)


def test_a_container_that_has_ended(ground: Ground, containers: Containers) -> None:
    """Its number may be another's by then."""
    container = containers.start()
    found = ground.dockerd.container(container.id)
    container.kill()
    container.wait(timeout=30)
    with pytest.raises(ContainerGone):
        Writes(Cgroups()).attempt(found, ["/"])
