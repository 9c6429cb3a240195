"""``enforcer volumes`` on a real engine: made once, made again, and what is there already left alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from deploy.demo.engine import Engine
from deploy.demo.images import USER
from tests.e2e.agent import ENFORCER
from tests.e2e.conftest import Containers

POLICY = """
version: 1
mode: enforce
containers:
  agents: {name: "vol-agent-*"}
posture:
  rules:
    - who: agents
      names: [vol-agent-1, vol-agent-2]
      volumes: {data: /app/data, logs: /app/logs, config: "/app/config:ro"}
"""
NAMES = [f"vol-agent-{n}-{purpose}" for n in (1, 2) for purpose in ("data", "logs", "config")]


class Ground:
    """An engine without these volumes, a base directory, and the command."""

    def __init__(self, engine: Engine, client: docker.DockerClient, directory: Path) -> None:
        self.engine, self.client, self.base = engine, client, directory / "base"
        self.policy = directory / "policy.yaml"
        self.policy.write_text(POLICY)

    def run(self, verb: str, *words: str) -> tuple[int, Any]:
        """Exit status, and what it says as JSON."""
        done = subprocess.run(
            [ENFORCER, "volumes", verb, "--policy", self.policy, "--format", "json", *words],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "DOCKER_HOST": self.engine.url},
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def create(self, *words: str) -> tuple[int, dict[str, str]]:
        """Exit status, and what was done about each volume."""
        status, said = self.run("create", "--base", str(self.base), *words)
        return status, {row["volume"]: row["done"] for row in said}

    def path(self, name: str) -> Path:
        """Where a volume's data lies."""
        attributes = self.client.volumes.get(name).attrs
        return Path((attributes["Options"] or {}).get("device") or attributes["Mountpoint"])

    def state(self, name: str) -> tuple[Any, ...]:
        """All that a change of the volume, of its directory or in its directory would change."""
        found = self.path(name).stat()
        return (self.client.volumes.get(name).attrs, found.st_ino, found.st_ctime_ns, found.st_mtime_ns)

    def owners(self) -> set[tuple[int, int, int]]:
        """Of every volume's directory: owner, group, mode."""
        found = [self.path(name).stat() for name in NAMES]
        return {(s.st_uid, s.st_gid, s.st_mode & 0o7777) for s in found}


@pytest.fixture
def ground(engine: Engine, tmp_path: Path) -> Iterator[Ground]:
    """What is made is removed."""
    client = engine.client()
    made = Ground(engine, client, tmp_path)
    try:
        yield made
    finally:
        for volume in client.volumes.list():
            if volume.name.startswith("vol-agent-"):
                volume.remove()
        client.close()


def test_made_once_and_made_again(ground: Ground) -> None:
    """The guide's volumes with the guide's owner; the second run changes nothing."""
    assert ground.create() == (0, dict.fromkeys(NAMES, "created"))
    assert ground.owners() == {(USER, USER, 0o750)}
    options = ground.client.volumes.get("vol-agent-1-data").attrs["Options"]
    assert options == {"type": "none", "o": "bind", "device": str(ground.base / "vol-agent-1")}
    assert ground.client.volumes.get("vol-agent-1-logs").attrs["Options"] in (None, {})
    (ground.base / "vol-agent-1" / "kept").write_text("kept")
    assert ground.create("--owner", "5:5")[0] == 0
    assert (ground.base / "vol-agent-1" / "kept").read_text() == "kept"
    assert (ground.base / "vol-agent-1").stat().st_uid == USER
    assert ground.run("verify")[0] == 0


def test_a_container_has_what_was_made(ground: Ground, containers: Containers) -> None:
    """As the guide's user it writes to its data, which lies below the base."""
    ground.create()
    mounts = {f"vol-agent-1-{purpose}": {"bind": f"/{purpose}"} for purpose in ("data", "logs")}
    done = containers.run("touch", "/data/f", "/logs/f", user=f"{USER}", volumes=mounts)
    assert (done.status, done.output) == (0, "")
    assert (ground.base / "vol-agent-1" / "f").exists()
    _, listed = ground.run("list")
    [row] = [row for row in listed if row["volume"] == "vol-agent-1-data"]
    assert (row["container"], row["purpose"], len(row["mounted"])) == ("vol-agent-1", "data", 1)


def test_what_exists_with_other_options_is_not_touched(ground: Ground) -> None:
    """It is said, the others are made, and the exit status is 1; nothing of it has changed."""
    ground.client.volumes.create("vol-agent-1-data")
    Path(ground.path("vol-agent-1-data"), "f").write_text("mine")
    before = ground.state("vol-agent-1-data")
    status, done = ground.create()
    assert (status, done.pop("vol-agent-1-data"), set(done.values())) == (1, "left alone", {"created"})
    assert ground.state("vol-agent-1-data") == before
    assert not (ground.base / "vol-agent-1").exists()
    _, said = ground.run("verify")
    assert [f["check"] for f in said["findings"] if f["container"] == "vol-agent-1" and f["result"] != "PASS"] == [
        "volume-options",
        "volume-owner",
    ]


def test_an_interrupted_run_is_mended(ground: Ground) -> None:
    """A volume whose owner was not yet set, and one whose directory is gone."""
    ground.create()
    os.chown(ground.path("vol-agent-1-logs"), 0, 0)
    (ground.base / "vol-agent-2").rmdir()
    assert ground.run("verify")[0] == 1
    status, done = ground.create()
    assert (status, done["vol-agent-1-logs"], done["vol-agent-2-data"]) == (0, "owner changed", "created")
    assert ground.owners() == {(USER, USER, 0o750)}


def test_data_of_before_is_kept(ground: Ground) -> None:
    """A directory that holds something already gets its volume, and keeps its owner and what is in it."""
    (ground.base / "vol-agent-1").mkdir(parents=True)
    (ground.base / "vol-agent-1" / "f").write_text("old")
    _, done = ground.create()
    assert done["vol-agent-1-data"].startswith("created, on what")
    assert (ground.base / "vol-agent-1" / "f").read_text() == "old"
    assert (ground.base / "vol-agent-1").stat().st_uid == os.getuid()


def test_a_link_in_the_base_leads_nowhere(ground: Ground, tmp_path: Path) -> None:
    """Whoever may write to the base could have the volume be another's directory."""
    ground.base.mkdir()
    (ground.base / "vol-agent-1").symlink_to(tmp_path)
    status, said = ground.run("create", "--base", str(ground.base))
    assert (status, "is no directory" in said) == (4, True)


def test_usage(ground: Ground) -> None:
    """An owner that is none, and a policy that names nobody."""
    assert ground.run("create", "--owner", "mcp")[0] == 2
    ground.policy.write_text(POLICY.partition("posture:")[0])
    status, said = ground.run("create")
    assert (status, "names no container" in said) == (2, True)
