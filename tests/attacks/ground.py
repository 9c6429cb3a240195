"""The ground that attacks are tried on: volumes with a secret, its owner, and containers that are granted less.

The same on a developer's machine and in the VM. What needs more than this machine gives a container is VM only
(``Power``), and said so in ``ways.py``.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
from docker.errors import ImageNotFound, NotFound
from docker.models.containers import Container

from tests.attacks.disk import offset_on_device

HERE = Path(__file__).parent
IMAGE = "attacker:local"
VOLUMES = ("safe-data", "own-data", "free-data", "meeting")
ANEW = ("free-gone", "safe-anew")
LABEL = "enforcer.attacks"
DEEP = (300, 600)
NAMES = (b'new\nline\t{"forged": true}', b"\x1b[2J\x1b]0;mine\x07\r", b"\xff\xfe\xc3(")
PROGRAMS = ("exec", "execveat", "script-program", "elf-program")

POLICY = """
version: 1
mode: enforce
containers:
  owner: {{name: owner}}
  reader: {{name: reader}}
  mighty: {{name: mighty}}
data:
  protected: [{{volume: "safe-*"}}, {{volume: own-data}}, {{path: {socket}}}]
  rules:
    - {{who: owner, read-write: [safe-data]}}
    - {{who: reader, read-only: [safe-data]}}
    - {{who: mighty, read-write: [own-data]}}
"""

POWER = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
]
"""Every capability that the engine knows but SYS_RESOURCE, which not every machine has to give: --privileged asks for all."""


def compile_attacker(directory: Path) -> None:
    """The attacker and the program that it starts, static, in ``directory``."""
    sources = sorted(str(p) for p in HERE.glob("*.c") if p.name != "speaker.c")
    strict = ("-static", "-O1", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", "-D_GNU_SOURCE", *strict, "-pthread", "-o", directory / "attacker", *sources], check=True)
    subprocess.run(["gcc", *strict, "-nostdlib", "-o", directory / "speaker", HERE / "speaker.c"], check=True)


@dataclass(frozen=True)
class Ground:
    """Volumes and containers in the engine of ``client``. ``tools`` holds the compiled attacker; ``privileged``: as in the VM."""

    client: docker.DockerClient
    tools: Path
    socket: str
    privileged: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    secret: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def policy(self) -> str:
        """Who may do what here."""
        return POLICY.format(socket=self.socket)

    @cached_property
    def volumes(self) -> Path:
        """The host's directory of all volumes."""
        return Path(self.client.info()["DockerRootDir"], "volumes")

    def data(self, volume: str) -> Path:
        """Where a volume's files are on the host."""
        return self.volumes / volume / "_data"

    def make(self) -> None:
        """The image, the volumes and the containers that live throughout."""
        self._import_image()
        for name in VOLUMES:
            self.client.volumes.create(name, labels=dict(self.labels))
        self._lay_secret()
        self.start("owner", "serve", volumes=["safe-data:/safe", "meeting:/meeting"])
        everything = [
            *(f"{v}:/{v.removesuffix('-data')}" for v in VOLUMES if v != "own-data"),
            f"{self.volumes}:/volumes",
        ]
        sub = f"{self.data('safe-data')}/sub:/sub"
        self.start("stranger", "wait", volumes=[*everything, sub, f"{self.socket}:/docker.sock"])
        self.start("reader", "wait", volumes=everything)
        self.start(
            "peer", "wait", volumes=everything, pid_mode="container:owner", cap_add=["SYS_PTRACE"], **self._unconfined
        )
        self.start(
            "mighty",
            "wait",
            volumes=[*everything, "own-data:/own", "/:/host", "/sys/fs/bpf:/hostbpf"],
            pid_mode="host",
            tmpfs={"/mnt": "", "/tmp": "exec,dev"},  # noqa: S108 - in the container
            **self._might,
        )

    @property
    def _unconfined(self) -> dict[str, Any]:
        return {"security_opt": ["seccomp=unconfined", "apparmor=unconfined"]}

    @property
    def _might(self) -> dict[str, Any]:
        host_cgroups = {"cgroupns": "host"} if self.privileged else {}
        if self.privileged:
            return {"privileged": True, **host_cgroups}
        rules = ["b *:* rwm", "c *:* rwm"]
        devices = [f"{self.device}:{self.device}:rwm"]
        return {"cap_add": POWER, "device_cgroup_rules": rules, "devices": devices, **self._unconfined}

    def start(self, name: str, *words: str, **options: Any) -> Container:
        """A running container of the attacker's image."""
        options.setdefault("network_mode", "none")
        container = self.client.containers.create(IMAGE, list(words), name=name, labels=dict(self.labels), **options)
        container.start()
        return container

    def born(self, name: str, way: str, **options: Any) -> str:
        """A container's whole life, whose first program tries a way; what it said."""
        container = self.start(name, "run", way, **options)
        try:
            container.wait(timeout=120)
            return container.logs(stdout=True, stderr=False).decode()
        finally:
            container.remove(force=True)

    def attack(self, place: str, ways: Iterable[str], environment: Mapping[str, str]) -> str:
        """The attacker's words on these ways, tried in a container that runs."""
        container = self.client.containers.get(place)
        given = {"PLACE": f"changes/{place}", **self.facts, **environment}
        if place == "peer":
            given["OWNER_PID"] = "1"  # in the owner's own namespace of pids
        _, (said, complaint) = container.exec_run(["/attacker", "run", *ways], environment=given, demux=True)
        assert not complaint, complaint.decode()
        return (said or b"").decode()

    @cached_property
    def facts(self) -> dict[str, str]:
        """What an attacker could find out by itself: pids, cgroups, devices, paths and places on the disk."""
        owner = self.client.containers.get("owner").attrs["State"]["Pid"]
        lines = Path(f"/proc/{owner}/cgroup").read_text().splitlines()
        return {
            "OWNER_PID": str(owner),
            "OWNER_CGROUP": next(line.removeprefix("0::") for line in lines if line.startswith("0::")),
            "DEVICE": self.device,
            "FILESYSTEM": self._mount[1],
            "ON_DEVICE": str(self.data("safe-data")).removeprefix(self._mount[0].rstrip("/")),
            "ON_HOST": str(self.data("safe-data")),
            "OFFSET": str(offset_on_device(self.data("safe-data") / "secret")),
        }

    @cached_property
    def device(self) -> str:
        """The block device that the volumes are on."""
        number = self.volumes.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name
        return f"/dev/{name}"

    @cached_property
    def _mount(self) -> tuple[str, str]:
        """Where the volumes' filesystem is mounted, and its type."""
        number = self.volumes.stat().st_dev
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            words = line.split()
            if words[2] == f"{os.major(number)}:{os.minor(number)}" and words[3] == "/":
                return words[4], words[words.index("-") + 1]
        raise AssertionError(f"the filesystem of {self.volumes} is not mounted by its root")

    def _import_image(self) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(self.tools / "attacker", "attacker")
            for name in ("tmp", "mnt"):
                directory = tarfile.TarInfo(name)
                directory.type, directory.mode = tarfile.DIRTYPE, 0o1777
                tar.addfile(directory)
        repository, _, tag = IMAGE.partition(":")
        changes = ['ENTRYPOINT ["/attacker"]', *(f"LABEL {k}={v}" for k, v in self.labels.items())]
        self.client.api.import_image_from_data(packed.getvalue(), repository=repository, tag=tag, changes=changes)

    def _lay_secret(self) -> None:
        """What lies in the protected volume, and, outside it, a hard link that is older than any policy."""
        safe, free = self.data("safe-data"), self.data("free-data")
        for name in ("secret", "twice", "linkable", "sub/secret"):
            self._write(safe / name, self.secret)
        (safe / "pointer").symlink_to(self.secret)
        os.setxattr(safe / "secret", "user.secret", self.secret.encode())
        for name in NAMES:
            Path(os.fsdecode(bytes(safe) + b"/" + name)).write_text(self.secret)
        for levels in DEEP:
            self._write(safe / "deep" / str(levels) / "/".join("d" * levels) / "secret", self.secret)
        for name in PROGRAMS:
            shutil.copy(self.tools / "speaker", safe / name)
        shutil.copy(self.tools / "attacker", free / "helper")
        os.link(safe / "twice", free / "linked-before")
        os.sync()

    def lay_bait(self) -> None:
        """What changes places in a race: files that are not the secret, and symbolic links to where it is."""
        race = self.data("free-data") / "race"
        shutil.rmtree(race, ignore_errors=True)
        for name in ("a", "c/secret"):
            self._write(race / name, "bait")
        (race / "b").symlink_to("/safe/secret")
        (race / "d").symlink_to("/safe")

    def unmake(self) -> None:
        """Remove what was made, as far as it was."""
        mine = {"label": [f"{k}={v}" for k, v in self.labels.items()]}
        for container in self.client.containers.list(all=True, filters={**mine, "ancestor": IMAGE}):
            container.remove(force=True)
        for name in (*VOLUMES, *ANEW):
            with suppress(NotFound):
                self.client.volumes.get(name).remove(force=True)
        with suppress(ImageNotFound):
            self.client.images.remove(IMAGE)

    def lay_victims(self, place: str, ways: Iterable[str]) -> None:
        """For each change that a container may try: a file and a directory in the protected volume, a file outside it."""
        for volume in ("safe-data", "free-data"):
            shutil.rmtree(self.data(volume) / "changes" / place, ignore_errors=True)
        for way in ways:
            inside, outside = self.victims(place, way)
            self._write(inside / "victim", self.secret)
            (inside / "directory").mkdir()
            os.setxattr(inside / "victim", "user.secret", b"x")
            self._write(outside / "victim", "mine")

    def victims(self, place: str, way: str) -> tuple[Path, Path]:
        """The directories of a way's victims, inside and outside the protected volume."""
        inside, outside = (self.data(volume) / "changes" / place / way for volume in ("safe-data", "free-data"))
        return inside, outside

    @staticmethod
    def _write(file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
