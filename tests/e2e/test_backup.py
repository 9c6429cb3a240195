"""``enforcer backup`` and ``restore`` on a real engine under a real agent: what is saved, who may save it, and what comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from enforcer.core.backup import HALF_RESTORED
from enforcer.core.event import FileAttempt
from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import ENFORCER, Agent
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
        return ["--backups", str(self.vault), "--policy", str(self.agent.policy), "--run", str(run)]

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
        done = self.agent.ask("backup", "list", "--backups", str(self.vault), "--format", "json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def verify(self, *words: str) -> tuple[int, Any]:
        """Exit status, and what is wrong."""
        done = self.agent.ask("backup", "verify", "--backups", str(self.vault), "--format", "json", *words, timeout=120)
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


HOLE = 24 << 20
NOISE = 24 << 20
"""Bytes that cannot be compressed: enough to be caught in the middle of."""


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
        file.truncate(HOLE)
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


def attempts(agent: Agent, who: str, after: int) -> set[tuple[str, str]]:
    """What was recorded of a container since then: verdict and data object."""
    return {
        (e.verdict.name.lower(), e.attempt.object.name)
        for e in agent.events(after)
        if e.who.name == who and isinstance(e.attempt, FileAttempt)
    }


def size(directory: Path) -> int:
    """Bytes of a repository's segments."""
    return sum(file.stat().st_size for file in (directory / "repository/data").rglob("*") if file.is_file())


def test_everything_of_a_volume_comes_back(ground: Ground) -> None:
    """Into a new volume: owners, modes, times, links, attributes, ACLs, holes and names, as they were."""
    path = ground.owner()
    furnish(path)
    before = seen(path)
    mark = ground.agent.mark()
    status, said = ground.backup()
    assert status == 0, said
    assert [(v["name"], v["files"]) for v in said["volumes"]] == [("bk-a-data", len(before))]
    [listed] = ground.list()
    assert (listed["backup"], listed["volumes"]) == (said["backup"], ["bk-a-data"])
    status, told = ground.restore("latest", "--into", "bk-new")
    assert status == 0, told
    new = ground.volume("bk-new")
    assert seen(new) == before
    assert (new / "sparse").stat().st_blocks * 512 <= HOLE // 2  # Borg keeps holes by the chunk: 8 MiB at most
    assert ground.agent.rise(mark) == {}
    archive = f"{ground.vault}/repository::{said['backup']}.files"
    read = ["borg", "extract", "--stdout", archive, "bk-a-data/file"]
    environment = {
        **os.environ,
        "BORG_BASE_DIR": str(ground.directory),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    environment["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = "yes"
    plain = subprocess.run([*ground.agent.inside, *read], check=True, capture_output=True, env=environment)
    assert plain.stdout == b"content"


def test_the_policy_decides_over_a_backup(ground: Ground) -> None:
    """One volume without a grant, and all of it fails: which volume and which rule is said, and the journal shows it."""
    agent = ground.agent
    for name in ("bk-a", "bk-b"):
        (ground.owner(name) / "f").write_text(name)
    agent.stop()
    agent.start("--record", "accesses")
    try:
        ground.put(read="bk-a-data")
        mark = agent.mark()
        status, said = ground.backup()
        assert (status, "does not let enforcer-backup read bk-b-data" in said) == (1, True), said
        assert "`- {who: backup, read-only: [bk-b-data]}` to data.rules" in said
        assert ground.list() == []
        agent.await_events(mark, 1)
        refused = attempts(agent, BACKUP, mark.sequence) - {("allowed", "bk-a-data")}
        assert refused == {(agent.stopped[0], "bk-b-data")}

        ground.put(write="bk-other")
        mark = agent.mark()
        status, said = ground.backup("--volume", "bk-b-data")
        assert status == 0, said
        agent.await_that("its reads", lambda: ("allowed", "bk-b-data") in attempts(agent, BACKUP, mark.sequence))
        status, told = ground.restore("latest", "--into", "bk-new")
        assert (status, "read-write: [bk-new]" in told) == (1, True), told
        assert "bk-new" not in {v.name for v in ground.client.volumes.list()}
    finally:
        agent.stop()


def test_a_second_backup_adds_what_is_new(ground: Ground) -> None:
    """The same data costs next to nothing, what has logs keeps them, and what is not to be kept goes."""
    path = ground.volume("bk-a-data")
    (path / "noise").write_bytes(os.urandom(NOISE))
    ground.containers.start("sh", "-c", "seq 5; sleep 1000", name="bk-a", volumes=["bk-a-data:/data"])
    ground.agent.await_container("bk-a")
    _, first = ground.backup("--log-lines", "3")
    assert [(log["container"], log["lines"]) for log in first["logs"]] == [("bk-a", 3)]
    one = size(ground.vault)
    assert one > NOISE
    _, second = ground.backup()
    two = size(ground.vault)
    assert two - one < one // 50
    (path / "noise").unlink()
    _, third = ground.backup("--keep", "1")
    assert [b["backup"] for b in ground.list()] == [third["backup"]]
    assert size(ground.vault) < one // 10
    assert len({b["backup"] for b in (first, second, third)}) == 3


class Command:
    """A backup that runs while the test does something to it."""

    def __init__(self, ground: Ground, *words: str) -> None:
        argv = [*ground.agent.inside, ENFORCER, "backup", *ground.common, *words]
        self.ground = ground
        self.child = subprocess.Popen(argv, env=ground.agent.environment, stderr=subprocess.PIPE, text=True)

    def await_written(self, more: int) -> None:
        """Return once so many bytes are in the repository, and it still runs."""
        self.ground.agent.await_that("data to be written", lambda: size(self.ground.vault) >= more)
        assert self.child.poll() is None

    def await_state(self, name: str, state: str) -> None:
        """Return once a container is in a state."""
        containers = self.ground.client.containers
        self.ground.agent.await_that(f"{name} to be {state}", lambda: containers.get(name).status == state)

    def end(self) -> tuple[int, str]:
        """Its exit status, and its complaint."""
        _, said = self.child.communicate(timeout=60)
        return self.child.returncode, said


def test_what_is_paused_runs_again(ground: Ground) -> None:
    """Whoever may write stands still while it is read; SIGTERM and kill -9 are undone; what others have paused stays so."""
    for name in ("bk-a", "bk-b"):
        (ground.owner(name) / "noise").write_bytes(os.urandom(1 << 20))
    running, still = (ground.client.containers.get(name) for name in ("bk-a", "bk-b"))
    still.pause()
    states = lambda: [c.status for c in ground.client.containers.list(filters={"name": "bk-"})]  # noqa: E731
    try:
        for number, status in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
            command = Command(ground, "--pause")
            command.await_state("bk-a", "paused")
            command.child.send_signal(number)
            assert command.end()[0] == status
            running.reload()
            assert running.status == ("running" if number == signal.SIGTERM else "paused")
        status, said = ground.backup("--pause")
        assert (status, said["paused"]) == (0, ["bk-a"])
        assert sorted(states()) == ["paused", "running"]
    finally:
        still.unpause()


def confined(attributes: dict[str, Any], vault: str) -> None:
    """The container of a backup can read what is mounted, write to the backups alone, and go nowhere."""
    host = attributes["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["SecurityOpt"]) == ("none", True, ["no-new-privileges"])
    assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], ["DAC_READ_SEARCH"], False)
    assert [m["Source"] for m in attributes["Mounts"] if m["RW"]] == [vault]
    assert "bk-a-data" in [m.get("Name") for m in attributes["Mounts"]]


def test_an_interrupted_backup_is_none(ground: Ground) -> None:
    """Its container is killed in the middle; meanwhile a second one is refused; the next one goes on."""
    (ground.owner() / "noise").write_bytes(os.urandom(4 * NOISE))
    command = Command(ground)
    command.await_written(NOISE // 4)
    saver = ground.client.containers.get(BACKUP)
    confined(saver.attrs, str(ground.vault))
    saver.pause()  # else it would be through before the second one has begun
    status, said = ground.backup()
    assert (status, "another backup" in said) == (4, True)
    saver.unpause()
    saver.kill()
    status, said = command.end()
    assert (status, "was killed" in said) == (4, True), said
    assert ground.list() == []
    command = Command(ground)
    command.await_written(NOISE // 4)
    command.child.kill()
    assert command.end()[0] == -signal.SIGKILL
    status, said = ground.backup()
    assert status == 0, said
    assert [b["backup"] for b in ground.list()] == [said["backup"]]
    status, found = ground.verify("latest")
    assert (status, found["repository"], [b["wrong"] for b in found["backups"]]) == (0, [], [[]])


def test_a_full_disk(ground: Ground) -> None:
    """It is said, nothing that looks whole is left, and with more room the next one goes on."""
    ground.vault.mkdir(mode=0o700)
    (ground.owner() / "noise").write_bytes(os.urandom(NOISE))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={NOISE // 2},mode=0700", "vault", ground.vault], check=True)
    try:
        status, said = ground.backup()
        assert (status, "No space left on device" in said) == (4, True), said
        subprocess.run(["mount", "-o", f"remount,size={8 * NOISE}", ground.vault], check=True)
        status, said = ground.backup()
        assert status == 0, said
    finally:
        subprocess.run(["umount", ground.vault], check=True)


def test_a_flipped_bit_is_found(ground: Ground) -> None:
    """In the data of the repository, by its checksums and by the hash of the file."""
    (ground.owner() / "noise").write_bytes(os.urandom(1 << 20))
    assert ground.backup()[0] == 0
    segment = max((ground.vault / "repository/data").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    status, found = ground.verify()
    assert status == 1
    assert found["repository"]
    assert ground.restore("latest", "--into", "bk-new")[0] != 0
    assert "bk-new" not in {v.name for v in ground.client.volumes.list()}


def test_with_a_passphrase(ground: Ground) -> None:
    """It is needed from then on. A hard link into another volume comes back as a file."""
    (ground.owner() / "secret").write_text("nobody else's business" * 100)
    (ground.owner("bk-b") / "same").hardlink_to(ground.volume("bk-a-data") / "secret")
    argv = ["--backups", str(ground.vault)]
    knows = {"env": {**ground.agent.environment, "BORG_PASSPHRASE": "sesame"}, "timeout": 120}
    done = ground.agent.ask("backup", *ground.common, **knows)
    assert done.returncode == 0, done.stderr
    done = ground.agent.ask("backup", "list", *argv)
    assert (done.returncode, "passphrase" in done.stderr) == (4, True)
    done = ground.agent.ask("restore", *ground.common, "latest", "--volume", "bk-b-data", "--into", "bk-new", **knows)
    assert done.returncode == 0, done.stderr
    assert (ground.volume("bk-new") / "same").read_bytes() == (ground.volume("bk-a-data") / "secret").read_bytes()
    assert "key = " in (ground.vault / "repository/config").read_text()


def test_where_a_restore_goes(ground: Ground, tmp_path: Path) -> None:
    """Never into what is in use; into what is not empty only when told; a volume that is gone comes back as it was made."""
    device = tmp_path / "device"
    device.mkdir(mode=0o755)
    options = {"type": "none", "o": "bind", "device": str(device)}
    ground.client.volumes.create("bk-a-data", driver_opts=options, labels={"purpose": "data"})
    container = ground.containers.start(name="bk-a", volumes=["bk-a-data:/data"])
    (device / "f").write_text("then")
    assert ground.backup()[0] == 0
    (device / "f").write_text("now")
    (device / "later").mkdir()
    status, said = ground.restore("latest", "--replace")
    assert (status, "in use by bk-a" in said) == (2, True), said
    container.remove(force=True)
    status, said = ground.restore("latest")
    assert (status, "not empty" in said) == (2, True), said
    status, said = ground.restore("latest", "--replace")
    assert (status, [p.name for p in device.iterdir()], (device / "f").read_text()) == (0, ["f"], "then"), said
    ground.client.volumes.get("bk-a-data").remove()
    (device / "f").unlink()
    device.rmdir()
    status, said = ground.restore("latest")
    assert (status, (device / "f").read_text()) == (0, "then"), said
    made = ground.client.volumes.get("bk-a-data").attrs
    assert (made["Options"], made["Labels"]) == (options, {"purpose": "data"})


def test_an_interrupted_restore_does_not_look_whole(ground: Ground) -> None:
    """Until all is there and compared, what was in the volume stays, beside a directory that says so; the next one goes on."""
    (ground.owner() / "noise").write_bytes(os.urandom(4 * NOISE))
    assert ground.backup()[0] == 0
    kept = ground.volume("bk-kept")
    argv = [*ground.agent.inside, ENFORCER, "restore", *ground.common, "latest", "--into", "bk-kept"]
    with subprocess.Popen(argv, env=ground.agent.environment) as child:
        ground.agent.await_that("files", lambda: any((kept / HALF_RESTORED).rglob("noise")))
        ground.client.containers.get(RESTORE).kill()
        assert child.wait(60) == 4
    assert [p.name for p in kept.iterdir()] == [HALF_RESTORED]
    status, said = ground.restore("latest", "--into", "bk-kept")
    assert (status, [p.name for p in kept.iterdir()]) == (0, ["noise"]), said
    (kept / HALF_RESTORED).mkdir()
    status, made = ground.backup("--volume", "bk-kept")
    assert (status, made["changed"]) == (0, ["volume bk-kept holds a restore that was interrupted: restore it again"])
