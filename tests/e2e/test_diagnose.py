"""``enforcer diagnose`` on real containers: each of the guide's common issues, found, mended where that is safe, and gone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.types import Mount

from deploy.demo.engine import Engine
from deploy.demo.images import USER
from tests.e2e.agent import ENFORCER
from tests.e2e.conftest import Containers

POLICY = """
version: 1
mode: enforce
containers:
  checked: {name: "dg-*"}
  lonely: {name: dg-lonely}
data:
  protected: [{volume: "dg-*"}]
  rules:
    - {who: checked, read-write: ["{name}-data"]}
network:
  internal: [dg-inside]
  rules:
    - {who: checked, connect: [{network: dg-inside, ports: [8080/tcp]}]}
"""
HTTPD = ("httpd", "-f", "-p", "8080", "-h", "/srv")


class Ground:
    """Containers with a data volume each, and the command."""

    def __init__(self, engine: Engine, containers: Containers, directory: Path) -> None:
        self.engine, self.containers, self.directory = engine, containers, directory
        self.client: docker.DockerClient = containers.client
        self.policy = directory / "policy.yaml"
        self.policy.write_text(POLICY)
        self.networks = [
            self.client.networks.create(n, internal=i) for n, i in (("dg-inside", True), ("dg-out", False))
        ]

    def path(self, volume: str) -> Path:
        """Where a volume's data lies."""
        return Path(self.client.volumes.get(volume).attrs["Mountpoint"])

    def start(self, name: str, *command: str, owner: int = USER, **options: Any) -> Container:
        """A container of user 1001 whose data volume is ``owner``'s."""
        self.client.volumes.create(f"{name}-data")
        os.chown(self.path(f"{name}-data"), owner, owner)
        self.path(f"{name}-data").chmod(0o750)
        mounts = [Mount("/app/data", f"{name}-data", type="volume", no_copy=True), *options.pop("mounts", ())]
        options = {"network": "dg-inside", "user": f"{USER}:{USER}", **options}
        return self.containers.start(*(command or HTTPD), name=name, mounts=mounts, **options)

    def diagnose(self, *words: str) -> tuple[int, list[tuple[str, bool]], dict[str, Any]]:
        """Exit status, what is left (name, whether --fix would do it), and all that was said."""
        done = subprocess.run(
            [ENFORCER, "diagnose", "--policy", self.policy, "--run", self.directory, "--format", "json", *words],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "DOCKER_HOST": self.engine.url},
        )
        assert done.stdout, done.stderr
        said = json.loads(done.stdout)
        return done.returncode, [(i["name"], i["safe"]) for i in said["issues"]], said


@pytest.fixture
def ground(engine: Engine, containers: Containers, tmp_path: Path) -> Iterator[Ground]:
    """What is made is removed."""
    made = Ground(engine, containers, tmp_path)
    try:
        yield made
    finally:
        containers.remove_all()
        for network in made.networks:
            network.remove()
        for volume in made.client.volumes.list():
            if volume.name.startswith("dg-"):
                volume.remove()


def test_nothing_is_wrong(ground: Ground) -> None:
    """Exit status 0, and --fix does nothing."""
    ground.start("dg-a")
    ground.start("dg-b")
    assert ground.diagnose("dg-a", "--to", "dg-b") == (0, [], {"fixed": [], "issues": []})
    assert ground.diagnose("dg-a", "--to", "dg-b", "--fix")[2]["fixed"] == []


def test_a_volume_of_another_owner(ground: Ground) -> None:
    """The guide's issue 1: the directory and what is in it are given to the container's user, and it can write."""
    container = ground.start("dg-a", owner=0)
    data = ground.path("dg-a-data")
    (data / "deep").mkdir()
    (data / "deep" / "file.json").write_text("{}")
    (data / "link").symlink_to("/etc/passwd")
    before = os.stat("/etc/passwd").st_uid
    status, left, said = ground.diagnose("dg-a")
    assert (status, left) == (1, [("volume-permissions", True)])
    assert said["issues"][0]["command"] == f"chown -R {USER}:{USER} {data}"
    assert ground.containers.execute(container, "touch", "/app/data/deep/file.json").status != 0
    status, left, said = ground.diagnose("dg-a", "--fix")
    assert (status, left, len(said["fixed"])) == (0, [], 1)
    assert ground.containers.execute(container, "touch", "/app/data/deep/file.json").status == 0
    assert os.stat("/etc/passwd").st_uid == before


def test_one_file_of_another_owner(ground: Ground) -> None:
    """The directory is as it should be, and the symptom of the guide is there all the same: open '/app/data/file.json'."""
    ground.start("dg-a")
    (ground.path("dg-a-data") / "file.json").write_text("{}")
    status, left, said = ground.diagnose("dg-a")
    assert (status, left) == (1, [("volume-permissions", True)])
    assert "file.json is 0's" in said["issues"][0]["evidence"]
    assert ground.diagnose("dg-a", "--fix")[0] == 0


def test_a_mode_is_not_changed_by_itself(ground: Ground) -> None:
    """Its owner is right, and somebody wanted the mode so: said, and left to a person."""
    ground.start("dg-a")
    ground.path("dg-a-data").chmod(0o550)
    assert ground.diagnose("dg-a", "--fix")[:2] == (1, [("volume-permissions", False)])


def test_no_network_in_common(ground: Ground) -> None:
    """The guide's issue 2: it is connected where the policy wants it; the other way round too."""
    a = ground.start("dg-a", network="dg-out")
    ground.start("dg-b")
    status, left, said = ground.diagnose("dg-a", "--to", "dg-b")
    assert (status, left) == (1, [("no-common-network", True)])
    assert said["issues"][0]["command"] == "docker network connect dg-inside dg-a"
    assert ground.diagnose("dg-a", "--to", "dg-b", "--fix")[0] == 0
    a.reload()
    assert "dg-inside" in a.attrs["NetworkSettings"]["Networks"]
    ground.start("dg-c", network="dg-out")
    assert ground.diagnose("dg-b", "--to", "dg-c")[2]["issues"][0]["command"].endswith("dg-inside dg-c")


def test_a_network_that_the_policy_does_not_want_is_not_made(ground: Ground) -> None:
    """--fix does what the policy says, and nothing that only the symptom says."""
    ground.policy.write_text(POLICY.partition("network:")[0])
    ground.start("dg-a", network="dg-out")
    ground.start("dg-b")
    status, left, said = ground.diagnose("dg-a", "--to", "dg-b", "--fix")
    assert (status, left, said["fixed"]) == (1, [("no-common-network", False)], [])


def test_other_reasons_why_it_is_not_reached(ground: Ground) -> None:
    """Nobody listens; it listens where no rule lets the other connect; it does not run."""
    ground.start("dg-a")
    ground.start("dg-mute", "sleep", "infinity")
    ground.start("dg-other", "httpd", "-f", "-p", "9090", "-h", "/srv")
    stopped = ground.start("dg-stopped")
    stopped.stop(timeout=0)
    said = {name: ground.diagnose("dg-a", "--to", name)[1] for name in ("dg-mute", "dg-other", "dg-stopped")}
    assert said["dg-mute"] == [("nobody-listens", False)]
    assert said["dg-other"] == [("policy-forbids", False)]
    assert ("not-running", False) in said["dg-stopped"]


def test_a_volume_shared_by_two(ground: Ground) -> None:
    """The guide's issue 3: told on both sides, mended by nobody but a person; and then its owner is not touched either."""
    ground.start("dg-a", owner=0)
    ground.start("dg-b", mounts=[Mount("/stolen", "dg-a-data", type="volume", read_only=True)])
    assert ground.diagnose("dg-b", "--fix")[:2] == (1, [("shared-volume", False)])
    assert ground.diagnose("dg-a", "--fix")[:2] == (1, [("volume-permissions", False), ("shared-volume", False)])
    assert ground.path("dg-a-data").stat().st_uid == 0


def test_nobody_of_that_name(ground: Ground) -> None:
    """A usage error."""
    done = subprocess.run(
        [ENFORCER, "diagnose", "dg-nobody", "--policy", ground.policy, "--run", ground.directory],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "DOCKER_HOST": ground.engine.url},
    )
    assert (done.returncode, "there is no container" in done.stderr) == (2, True)
