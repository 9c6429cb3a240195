"""Real probes in scratch cgroups. ``ENFORCER_MECHANISM`` forces a mechanism for files; without it the best one is taken."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enforcer.core.compile import compile as compile_image
from enforcer.core.ids import Ids, allocate
from enforcer.core.image import Image
from enforcer.core.model import Container, DataObject, Facts, Hook, Mechanism, ObjectId, Policy, Verdict
from enforcer.core.plan import plan
from enforcer.edges.bpf.record import Record, record_of
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.inodes import Inodes
from enforcer.runtime.canary import Canary
from enforcer.runtime.probes import Probes
from tests.kernel.wire import wire  # noqa: F401 -- a fixture
from tests.scenarios import volume

OFFENDER = Path(__file__).parents[1] / "offender.py"
NAMES = ("alpha", "beta", "stranger", "watched")
VOLUMES = ("alpha-data", "alpha-config", "beta-data")


@dataclass(frozen=True)
class Seen:
    """What one deed left behind: how the process ended, what was counted, what was recorded."""

    code: int
    said: str
    counts: dict[tuple[int, ...], int]
    records: list[Record]


class World:
    """The kernel's side with the world of tests/scenarios.py: scratch cgroups for containers, directories for volumes."""

    def __init__(self, directory: Path) -> None:
        name = f"enforcer-test-{os.getpid()}-{secrets.token_hex(3)}"
        self.cgroups, self.parent = Cgroups(), f"/{name}"
        self.cgroups.ensure(self.parent)
        self.directory = directory
        self.pins = Path("/sys/fs/bpf") / name
        self.canary = Canary(self.cgroups, self.parent, directory, name="canary")
        self.probes = Probes(
            self.pins,
            Source.of(probes_directory(), os.environ.get("ENFORCER_MECHANISM", "")),
            instance=1,
            mechanism=os.environ.get("ENFORCER_MECHANISM", ""),
        )
        self.maps, self.rings = self.probes.maps, self.probes.rings()
        self.listeners: list[socket.socket] = []
        self.ids, self.image, self.generation = Ids(), Image(0), 0
        self.facts = self._facts()

    def _facts(self) -> Facts:
        inodes = Inodes()
        objects: dict[ObjectId, DataObject] = {}
        for name in VOLUMES:
            place = self.directory / name
            place.mkdir()
            self.lay(name)
            self._listen(place / "s")
            found = inodes.inode_of(place)
            assert found
            objects[volume(name)] = DataObject(volume(name), (found,), str(place))
        containers = {}
        for name in NAMES:
            identity = secrets.token_hex(32)
            cgroup = self.cgroups.ensure(f"{self.parent}/{name}")
            containers[identity] = Container(identity, name, pid=1, cgroup=cgroup)
        return Facts(containers=containers, objects=objects)

    def lay(self, where: str) -> None:
        """A volume's contents as the deeds want them."""
        place = self.directory / where
        (place / "f").write_text("secret")
        (place / "empty").mkdir(exist_ok=True)
        os.setxattr(place / "f", "trusted.kept", b"x")

    def _listen(self, path: Path) -> None:
        """A unix socket that is a file; its path may be longer than an address can be, so it is bound from beside it."""
        listener = socket.socket(socket.AF_UNIX)
        self.listeners.append(listener)
        directory = os.open(path.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        listener.listen(64)
        os.close(directory)

    def enforce(self, policy: Policy) -> Image:
        """Put a policy in force, as a new generation."""
        self.generation += 1
        self.ids = allocate(self.ids, policy, self.facts)
        image = compile_image(policy, self.facts, self.ids, self.generation, canary=self.canary.inode())
        for op in plan(self.image if self.generation > 1 else None, image):
            self.maps.apply(op)
        self.image = image
        return image

    def attach(self) -> None:
        """Attach everything, as the agent does, each mechanism proved by the canary."""
        self.probes.attach(self.cgroups, [self.parent], self.canary.run)

    def held(self, group: str) -> Mechanism | None:
        """What holds a group of hooks here."""
        return next(h.mechanism for h in self.probes.holds if h.hook == group)

    @property
    def mechanism(self) -> Mechanism | None:
        """What holds opens here."""
        return self.held("open")

    def subject(self, name: str) -> int:
        """The subject id of a container of this world."""
        return next(self.ids.subject(c.id) for c in self.facts.containers.values() if c.name == name)

    def file(self, where: str) -> str:
        """The file f of a volume."""
        return str(self.directory / where / "f")

    def command(self, who: str, deed: str, *arguments: str, namespace: str = "") -> list[str]:
        """What has a process in a container's cgroup do something, in a network namespace of that name."""
        procs = self.cgroups.root / self.parent.lstrip("/") / who / "cgroup.procs"
        inside = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        return [*inside, sys.executable, "-I", "-S", str(OFFENDER), str(procs), deed, *arguments]

    def do(self, who: str, deed: str, *arguments: str, namespace: str = "") -> Seen:
        """Have a process in a container's cgroup do something, and tell what came of it."""
        before = self.maps.counts()
        self.read()
        self.maps.repeats.forget(self.maps.repeats.before(1 << 32))  # each deed is told for itself
        command = self.command(who, deed, *arguments, namespace=namespace)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        after = self.maps.counts()
        rise = {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}
        # containers of other engines on this machine are born meanwhile
        records = [r for r in self.read() if r.hook != Hook.BORN]
        return Seen(done.returncode, done.stdout + done.stderr, rise, records)

    def read(self) -> list[Record]:
        """Every record that waits in the ring."""
        records = []
        for ring in self.rings:
            records += [record_of(raw) for raw in ring.read(1 << 20)]
            ring.advance()
        return records

    def stopped(self, verdict: Verdict) -> tuple[Verdict, int]:
        """What a denial looks like under this mechanism: the recorded verdict and the exit status of tests/offender.py."""
        if verdict is not Verdict.DENIED:
            return verdict, 0
        if self.mechanism is Mechanism.TRACEPOINT:
            return Verdict.KILLED, -signal.SIGKILL
        return Verdict.DENIED, 77

    def close(self) -> None:
        """Take everything down."""
        for listener in self.listeners:
            listener.close()
        for ring in self.rings:
            ring.close()
        self.probes.unload()
        for name in NAMES:
            self.cgroups.remove(f"{self.parent}/{name}")
        self.cgroups.remove(self.parent)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One set of probes for all kernel tests of a run."""
    if os.geteuid() != 0:
        pytest.fail("kernel tests load real probes: run them as root")
    made = World(tmp_path_factory.mktemp("volumes"))
    try:
        yield made
    finally:
        made.close()
