"""The probes in a world of their own: a scratch cgroup with one below it for each container, and a policy in force for them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from enforcer.core.compile import compile as compile_image
from enforcer.core.ids import Ids, allocate
from enforcer.core.model import Attachment, Container, DataObject, Facts, Mode, Network, ObjectId, Policy
from enforcer.core.plan import plan
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import HostError
from enforcer.runtime.canary import Canary
from enforcer.runtime.probes import Probes

NETS = ("2001:db8::/32", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15")
"""For documentation and benchmarks (RFC 3849, RFC 5737, RFC 2544): in a child's network namespace all of them are its own."""

READY = "; ".join(("ip link set lo up", *(f"ip route add local {net} dev lo" for net in NETS), "exec"))


@dataclass(frozen=True)
class Scratch:
    """What is attached to the cgroup ``parent``; ``facts`` and ``ids`` are what the policy in force was compiled from."""

    cgroups: Cgroups
    parent: str
    probes: Probes
    facts: Facts
    ids: Ids
    pins: Path

    def program(self, function: str) -> int:
        """A descriptor of one of the probes' programs; the caller closes it. Raises ``EdgeError`` if it is not loaded."""
        [build] = (path for path in self.pins.iterdir() if (path / "programs").is_dir())
        return Libbpf().open(build / "programs" / function)

    def procs(self, name: str) -> Path:
        """Who writes its pid here is in the container ``name``."""
        return self.cgroups.root / self.parent.lstrip("/") / name / "cgroup.procs"

    @contextmanager
    def child(self, name: str, program: str) -> Iterator[subprocess.Popen[str]]:
        """A Python process that is to write itself into a container (its first argument says where), in a network namespace
        of its own with nothing but loopback, where all of ``NETS`` are its own addresses. It is in no container until then."""
        words = (sys.executable, "-I", "-S", "-c", program, str(self.procs(name)))
        command = ["unshare", "--net", "sh", "-c", f'{READY} "$@"', "sh", *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as made:  # noqa: S603 -- fixed words
            try:
                yield made
            finally:
                made.kill()


@contextmanager
def scratch(  # noqa: PLR0913 -- each is a part of the world
    policy: Policy,
    *,
    containers: Iterable[str] = (),
    networks: Iterable[Network] = (),
    attachments: Mapping[str, tuple[Attachment, ...]] | None = None,
    free: Iterable[str] = (),
    objects: Mapping[ObjectId, DataObject] | None = None,
    records_per_second: int = 0,
) -> Iterator[Scratch]:
    """The probes, attached and proved. ``free`` are cgroups of no container. Raises ``HostError`` where no probe loads."""
    cgroups, name = Cgroups(), f"enforcer-scratch-{os.getpid()}-{secrets.token_hex(2)}"
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        numbers = {}
        for part in ("", *(f"/{c}" for c in (*containers, *free))):
            numbers[part[1:]] = cgroups.ensure(f"/{name}{part}")
            ending.callback(cgroups.remove, f"/{name}{part}")
        there = attachments or {}
        made = [
            Container(secrets.token_hex(32), c, attachments=there.get(c, ()), pid=1, cgroup=numbers[c])
            for c in containers
        ]
        facts = Facts({c.id: c for c in made}, {n.name: n for n in networks}, dict(objects or {}))
        canary = Canary(cgroups, f"/{name}", directory, name="canary")
        pins = Path("/sys/fs/bpf") / name
        probes = Probes(pins, Source.of(probes_directory()), instance=1, records_per_second=records_per_second)
        ending.callback(probes.unload)
        ids = allocate(Ids(), policy, facts)
        image = compile_image(policy, facts, ids, 1, canary=canary.inode())
        for op in plan(None, image):
            probes.maps.apply(op)
        probes.attach(cgroups, [f"/{name}"], canary.run)
        yield Scratch(cgroups, f"/{name}", probes, facts, ids, pins)


def mechanism() -> str:
    """By which mechanism opens are held on this machine, proved by the canary. Raises ``HostError`` if by none."""
    with scratch(Policy(Mode.ENFORCE)) as made:
        held = next(hold.mechanism for hold in made.probes.holds if hold.hook == "open")
    if held is None:
        raise HostError("nothing holds opens on this kernel: enforcer doctor says why")
    return held.name.lower()
