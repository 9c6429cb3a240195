"""Tries every way twice, before the enforcer runs and under it, and writes down what became of each.

In the VM it is a program: ``python -m tests.attacks.play MECHANISM TOOLS RESULTS STARTS``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from enforcer.core.model import Mechanism
from enforcer.edges.segments import segments_of
from tests.attacks.disk import state_of
from tests.attacks.ground import LABEL, Ground
from tests.attacks.told import Played, Told, answers, named, seen
from tests.attacks.ways import VM_ONLY, WAYS, Proof, Way
from tests.e2e.agent import Agent

log = logging.getLogger(__name__)

BPFFS = Path("/sys/fs/bpf")
KERNEL_THREADS = {"iou-wrk-": "io_uring-async", "iou-sqp-": "io_uring-sqpoll"}
"""What the kernel calls the threads that it starts for a ring, and whose rings those are."""

HOSTILE = {"newline", "escape", "bad-utf8"}
"""The ways to files with hostile names."""

LAST = {"unlink-pin", "rename-pins", "state-file", "policy-file"}
"""What the agent may not survive comes last."""


@dataclass(frozen=True)
class Play:
    """The ways that can be tried here. ``starts``: containers born with the attack as their first instruction."""

    ground: Ground
    mechanism: Mechanism
    starts: int
    rounds: int
    ways: tuple[Way, ...]

    def run(self, agent: Agent) -> Played:
        """Both passes. The agent's policy is written here; whoever made the agent ends it."""
        ground = self.ground
        played = Played(self.mechanism.name.lower(), ground.secret)
        agent.journal.parent.mkdir(parents=True, exist_ok=True)
        policy = agent.directory / "policy"
        policy.mkdir(exist_ok=True)
        (policy / "attacks.yaml").write_text(ground.policy)
        with self._decoys(agent.directory) as decoys:
            self._try_all(played.before, decoys, starts=1)
        log.info("the agent starts")
        agent.start("--mechanism", played.mechanism)
        played.held = agent.status()["mechanisms"]
        try:
            self._try_all(played.under, self._targets(agent), starts=self.starts, agent=agent)
        finally:
            _remove_cgroups()
        self._read_journal(played, agent)
        log.info("the journal is read")
        return played

    def _try_all(
        self, told: dict[str, list[Told]], environment: Mapping[str, str], *, starts: int, agent: Agent | None = None
    ) -> None:
        self.ground.lay_bait()
        environment = {"ROUNDS": str(self.rounds), "TRIES": "400", **environment}
        for place in ("stranger", "reader", "peer", "mighty"):
            log.info("ways of %s", place)
            ways = sorted((w for w in self.ways if w.place == place), key=lambda w: w.name in LAST)
            extra = {"REBORN": self._reborn(agent)} if place == "stranger" else {}
            self._attack(place, ways, {**environment, **extra}, told)
        for way in (w for w in self.ways if w.place in ("first", "busy", "inheritor")):
            log.info("births: %s", way.place)
            number = starts if way.place == "first" else max(1, starts // 10)
            told[way.key] = self._births(way, number)

    def _attack(self, place: str, ways: list[Way], environment: Mapping[str, str], told: dict[str, list[Told]]) -> None:
        changing = [w.name for w in ways if w.proof is Proof.CHANGE]
        self.ground.lay_victims(place, changing)
        before = {name: self._state(place, name) for name in changing}
        said = self.ground.attack(place, [w.name for w in ways], environment)
        for name, answer in answers(said):
            changed = name in before and before[name] != self._state(place, name)
            told[f"{place}/{name}"] = [Told(*answer, changed)]

    def _state(self, place: str, way: str) -> list[str]:
        return [line for directory in self.ground.victims(place, way) for line in state_of(directory)]

    def _births(self, way: Way, starts: int) -> list[Told]:
        where = {"volumes_from": ["owner"]} if way.place == "inheritor" else {"volumes": ["safe-data:/safe"]}
        workers = 1 if starts == 1 else min(2, os.cpu_count() or 1)
        with loaded(way.place == "busy"), ThreadPoolExecutor(workers) as pool:
            births = pool.map(lambda n: self.ground.born(f"{way.place}-{n}", way.name, **where), range(starts))
            return [Told(*answer) for said in births for _, answer in answers(said)]

    def _reborn(self, agent: Agent | None) -> str:
        """A protected volume with the inode that a free one had; its secret's path in the container."""
        volume = self._made_anew("free-gone", "safe-anew")
        (self.ground.data(volume) / "secret").write_text(self.ground.secret)
        if agent:
            agent.await_that("the volume to be known", lambda: volume in json.dumps(agent.matrix()))
        return f"/volumes/{volume}/_data/secret"

    def _made_anew(self, old: str, new: str) -> str:
        """The inode that the directory of volume ``old`` had comes back as that of ``new``."""
        volumes, labels = self.ground.client.volumes, dict(self.ground.labels)
        for _ in range(100):  # somebody else may take the number in between
            for name in (new, old):
                for found in volumes.list(filters={"name": f"^{name}$"}):
                    found.remove(force=True)
            volumes.create(old, labels=labels)
            inode = self.ground.data(old).stat().st_ino
            volumes.get(old).remove()
            volumes.create(new, labels=labels)
            if self.ground.data(new).stat().st_ino == inode:
                return new
        raise AssertionError("no volume got the inode of the one before it, a hundred times")

    @contextmanager
    def _decoys(self, directory: Path) -> Iterator[dict[str, str]]:
        """BPF objects and files that are nobody's, in the places of the agent's own."""
        pins = BPFFS / "enforcer-attacks-decoys"
        try:
            subprocess.run([self.ground.tools / "attacker", "decoys", pins], check=True)
            files = {name: directory / f"decoy-{name.lower()}" for name in ("POLICY", "STATE", "JOURNAL")}
            for file in files.values():
                file.write_text("")
            yield self._named(pins, doomed=pins / "doomed") | {name: f"/host{file}" for name, file in files.items()}
        finally:
            shutil.rmtree(pins, ignore_errors=True)
            _remove_cgroups()

    def _targets(self, agent: Agent) -> dict[str, str]:
        (state,) = (agent.directory / "state").glob("*.json")
        files = {
            "POLICY": agent.directory / "policy/attacks.yaml",
            "STATE": state,
            "JOURNAL": segments_of(agent.journal)[-1],
        }
        (build,) = (d for d in agent.pins.iterdir() if d.is_dir())
        return self._named(build, doomed=build / "maps" / "losses") | {
            name: f"/host{file}" for name, file in files.items()
        }

    def _named(self, pins: Path, *, doomed: Path) -> dict[str, str]:
        listed = subprocess.run(
            [self.ground.tools / "attacker", "identify", pins], check=True, capture_output=True, text=True
        ).stdout
        found = {}
        for kind, number, pin in (line.split("\t") for line in listed.splitlines()):
            found.setdefault(f"{kind.upper()}_ID", number)
            found.setdefault(f"{kind.upper()}_PIN", f"/hostbpf/{Path(pin).relative_to(BPFFS)}")
        found["PINS"], found["DOOMED"] = (f"/hostbpf/{p.relative_to(BPFFS)}" for p in (pins, doomed))
        return found

    def _read_journal(self, played: Played, agent: Agent) -> None:
        def settled() -> bool:
            counts = agent.status()["counts"]
            gone = counts["suppressed"] + sum(counts["lost"].values())
            return (
                sum(e.count for e in agent.events()) == counts["recorded"]
                and counts["counted"] == counts["recorded"] + gone
            )

        agent.await_that("the journal to hold all that was counted", settled)
        played.counts = agent.status()["counts"]
        names = {w.name: w.key for w in self.ways if w.place in ("first", "busy", "inheritor")}
        for event in agent.events():
            name = KERNEL_THREADS.get(event.process.name.rstrip("0123456789"), event.process.name)
            key = names.get(name, f"{event.who.name}/{name}")
            played.events.setdefault(key, []).append(seen(event))
        played.strays = sorted(set(played.events) - {w.key for w in self.ways})
        lines = (line for s in segments_of(agent.journal) for line in s.read_bytes().decode().split("\n") if line)
        played.journal = [line for line in lines if named(line) in HOSTILE]


def _remove_cgroups() -> None:
    """What a way out of a container's cgroup has made."""
    for made in Path("/sys/fs/cgroup").glob("**/attacks-elsewhere"):
        made.rmdir()


@contextmanager
def loaded(wanted: bool) -> Iterator[None]:
    """Twice as many busy programs as the machine has processors, while it lasts."""
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * (os.cpu_count() or 1) * wanted)]
    try:
        yield
    finally:
        for program in busy:
            program.kill()
            program.wait()


def possible(mechanism: Mechanism) -> tuple[Way, ...]:
    """The ways that can be tried where this mechanism is tested."""
    return tuple(w for w in WAYS if w.expected(mechanism) is not VM_ONLY)


def main(mechanism: str, tools: str, results: str, starts: str) -> None:
    """The play in the VM, whose engine listens at Docker's own place."""
    from deploy.demo.engine import DEFAULT_SOCKET, Engine  # noqa: PLC0415
    from deploy.demo.namespace import Namespace  # noqa: PLC0415

    class HostAgent(Agent):
        """The agent in the host's own network namespace."""

        inside = ()
        pins = BPFFS / "enforcer"

        def await_that(self, what: str, holds: Callable[[], bool], seconds: float = 300) -> None:
            """Everything takes longer under emulation."""
            super().await_that(what, holds, seconds)

    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d ms: %(message)s")
    directory = Path("/var/lib/attacks")
    directory.mkdir()
    engine = Engine(DEFAULT_SOCKET, Namespace(), directory, "docker", own=False)
    client = docker.DockerClient(base_url=DEFAULT_SOCKET)
    labels = {LABEL: "vm"}
    ground = Ground(client, Path(tools), "/var/run/docker.sock", privileged=True, labels=labels)
    ground.make()
    wanted = Mechanism[mechanism.upper()]
    play = Play(ground, wanted, starts=int(starts), rounds=10_000, ways=possible(wanted))
    played = play.run(HostAgent(engine, directory))
    Path(results, "played.json").write_bytes(played.to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
