"""The world of tests/scenarios.py as real containers with real volumes, which have everything mounted that they must not touch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import docker
from docker.models.containers import Container

from deploy.demo.acts import Ran
from deploy.demo.engine import Engine
from deploy.demo.images import Images
from enforcer.edges.cgroup import Cgroups

OFFENDER = Path(__file__).parents[1] / "offender.py"
VOLUMES = ("alpha-data", "alpha-config", "beta-data", "worker-1-data", "worker-2-data")
NETWORK = "ground"
INTERNAL = "cell"
CONTENT = "nobody else's business"

MORE = b"""
version: 1
containers:
  workers: {name: "worker-*"}
data:
  protected: [{volume: "worker-*"}]
  rules:
    - {who: workers, read-write: ["{name}-data"]}
network:
  internal: [cell]
  rules:
    - {who: workers, connect: [{network: cell}]}
"""
"""The second file of the policy, for containers that come and go."""

# Debian's own python in the container, so that the offender is the same on every level.
PYTHON = ("/usr/bin/python3", "-I", "-S", "/offender.py")
BORROWED = [f"{place}:{place}:ro" for place in ("/usr", "/lib", "/lib64")] + [f"{OFFENDER}:/offender.py:ro"]


def mounted(*volumes: str) -> list[str]:
    """Each volume at a directory of its name."""
    return [f"{name}:/{name}" for name in volumes]


@dataclass(frozen=True)
class World:
    """The containers of the table, running, and the means to have them do something."""

    engine: Engine
    client: docker.DockerClient
    images: Images

    def make(self) -> None:
        """Networks, volumes with a file ``f`` in each, and the containers of the table."""
        labels = self.engine.labels
        self.client.networks.create(NETWORK, labels=labels)
        self.client.networks.create(INTERNAL, internal=True, labels=labels)
        for name in VOLUMES:
            made = self.client.volumes.create(name, labels=labels)
            Path(made.attrs["Mountpoint"], "f").write_text(CONTENT)
        for name in ("alpha", "beta", "stranger", "watched"):
            self.start(name)

    def start(self, name: str) -> Container:
        """A container with every volume of the table, and with the capabilities that the worst deeds need."""
        cgroups = Cgroups().root / self.engine.name
        container = self.client.containers.create(
            self.images.base,
            ["sleep", "infinity"],
            name=name,
            init=True,
            network=NETWORK,
            cap_add=["SYS_ADMIN"],
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            tmpfs={"/mnt": ""},
            volumes=[*mounted("alpha-data", "alpha-config", "beta-data"), *BORROWED, f"{cgroups}:/cgroups"],
            labels=self.engine.labels,
        )
        container.start()
        return container

    def do(self, who: str, deed: str, *arguments: str) -> Ran:
        """Have a process in a container do a deed of tests/offender.py."""
        container = self.client.containers.get(who)
        own = f"/cgroups/{container.id}/cgroup.procs" if deed == "nested" else "-"
        status, output = container.exec_run([*PYTHON, own, deed, *arguments])
        return Ran(status=int(status), output=output.decode(errors="replace").strip())

    @staticmethod
    def run(container: Container, *command: str) -> Ran:
        """``docker exec``."""
        status, output = container.exec_run(list(command))
        return Ran(status=int(status), output=output.decode(errors="replace").strip())
