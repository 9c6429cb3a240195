"""``enforcer backup`` and ``restore`` on a real engine under a real agent: what is saved, who may save it, and what comes back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from enforcer.core.event import FileAttempt
from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import Agent
from tests.e2e.conftest import Containers

BACKUP, RESTORE = "enforcer-backup", "enforcer-restore"
POLICY = """
version: 1
mode: enforce
containers:
  savers: {{name: "bk-*"}}
  backup: {{name: enforcer-backup}}
  restore: {{name: enforcer-restore}}
data:
  protected: [{{volume: "bk-*"}}]
  rules:
    - {{who: savers, read-write: ["{{name}}-data"]}}
    - {{who: backup, read-only: [{read}]}}
    - {{who: restore, read-write: [{write}]}}
"""


class Ground:
    """Volumes ``bk-…``, an agent with a policy about them, and the commands."""

    def __init__(self, agent: Agent, containers: Containers, client: docker.DockerClient, directory: Path) -> None:
        self.agent, self.containers, self.client = agent, containers, client
        self.directory, self.vault = directory, directory / "vault"

    def put(self, *, read: str = '"bk-*"', write: str = '"bk-*"') -> None:
        """Have a policy with these grants in force."""
        for file in self.agent.policy.iterdir():
            file.unlink()
        (self.agent.policy / "10.yaml").write_text(POLICY.format(read=read, write=write))
        wanted = read_policy(self.agent.policy).hash
        self.agent.await_that("the policy", lambda: self.agent.status()["policy"]["hash"] == wanted)

    @property
    def common(self) -> list[str]:
        """The options that say where everything is."""
        run = self.agent.directory / "run"
        return ["--to", str(self.vault), "--policy", str(self.agent.policy), "--run", str(run)]

    def backup(self, *words: str) -> tuple[int, Any]:
        """Exit status, and what it says: JSON, or its complaint."""
        done = self.agent.ask("backup", *self.common, "--format", "json", *words, timeout=120)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def restore(self, *words: str) -> tuple[int, str]:
        """Exit status, and what it says."""
        done = self.agent.ask("restore", *self.common, *words, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def list(self) -> list[dict[str, Any]]:
        """The whole backups."""
        done = self.agent.ask("backup", "list", "--to", str(self.vault), "--format", "json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def verify(self, *words: str) -> tuple[int, Any]:
        """Exit status, and what is wrong."""
        done = self.agent.ask("backup", "verify", "--to", str(self.vault), "--format", "json", *words, timeout=120)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    def volume(self, name: str) -> Path:
        """A volume's directory; made if it is not there."""
        return Path(self.client.volumes.create(name).attrs["Mountpoint"])

    def owner(self, name: str = "bk-a") -> Path:
        """A container with a volume that is its own, and where that is."""
        path = self.volume(f"{name}-data")
        self.containers.start(name=name, volumes=[f"{name}-data:/data"])
        self.agent.await_container(name)
        return path


@pytest.fixture
def ground(agent: Agent, containers: Containers, tmp_path: Path) -> Iterator[Ground]:
    """What is made is removed, and nothing of the commands' own stays."""
    made = Ground(agent, containers, containers.client, tmp_path)
    made.put()
    try:
        yield made
        left = [c.name for c in containers.client.containers.list(all=True)]
        assert {BACKUP, RESTORE} & set(left) == set()
    finally:
        containers.remove_all()
        for volume in containers.client.volumes.list():
            if volume.name.startswith("bk-"):
                volume.remove()


def furnish(path: Path) -> None:
    """One of each kind of thing that a directory can hold."""
    (path / "file").write_text("content")
    (path / "file").chmod(0o4750)
    os.chown(path / "file", 1001, 1002)
    os.setxattr(path / "file", "user.note", b"\0kept")
    (path / "empty").mkdir(mode=0o700)
    (path / "deep/er").mkdir(parents=True)
    (path / "deep/er/hard").hardlink_to(path / "file")
    (path / "symbolic").symlink_to("/nowhere\n")
    os.lchown(path / "symbolic", 7, 8)
    os.mkfifo(path / "pipe", 0o640)
    (path / "new\nline").write_text("x")
    Path(os.fsdecode(os.fsencode(path) + b"/bad\xff")).write_text("y")
    with (path / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(64 << 20)
    os.utime(path / "file", ns=(1, 1_600_000_000_123_456_789))
    os.utime(path / "empty", ns=(1, 1_500_000_000_999_999_999))
    path.chmod(0o2750)
    os.chown(path, 1001, 1001)
    os.setxattr(path, "user.root", b"too")
    subprocess.run(["setfacl", "-m", "u:1234:r", path / "new\nline"], check=True)
    os.utime(path, ns=(1, 1_400_000_000_000_000_001))


def seen(path: Path) -> dict[str, Any]:
    """All of a tree that a restore must bring back: by path, what lstat says, links, attributes and content."""
    found: dict[str, Any] = {}
    names: dict[int, str] = {}
    for place in [path, *sorted(path.rglob("*"))]:
        stat = place.lstat()
        link = os.readlink(place) if place.is_symlink() else ""
        attributes = {n: os.getxattr(place, n) for n in ([] if link else os.listxattr(place))}
        content = place.read_bytes() if place.is_file() and not link else b""
        same = names.setdefault(stat.st_ino, str(place.relative_to(path)))
        kept = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime_ns, stat.st_nlink)
        found[str(place.relative_to(path))] = (*kept, link, attributes, content, same)
    return found


def test_everything_of_a_volume_comes_back(ground: Ground) -> None:
    """Into a new volume: owners, modes, times, links, attributes, ACLs, holes and names, as they were."""
    path = ground.owner()
    furnish(path)
    before = seen(path)
    status, said = ground.backup()
    assert status == 0, said
    assert [v["name"] for v in said["volumes"]] == ["bk-a-data"]
    assert [b["backup"] for b in ground.list()] == [said["backup"]]
    status, told = ground.restore("latest", "--into", "bk-new")
    assert status == 0, told
    new = ground.volume("bk-new")
    assert seen(new) == before
    found = (new / "sparse").stat()
    assert found.st_blocks * 512 <= found.st_size // 4  # Borg keeps holes by the chunk, which is 8 MiB at most


def attempts(agent: Agent, who: str, after: int) -> list[tuple[str, str]]:
    """What was recorded of a container: verdict and object."""
    return [
        (e.verdict.name.lower(), e.attempt.object.name)
        for e in agent.events(after)
        if e.who.name == who and isinstance(e.attempt, FileAttempt)
    ]
