"""What an operator sees when the agent cannot start: one line that says what and what to do, and nothing half installed."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.demo.engine import Engine
from deploy.demo.pins import BPFFS, mount_filesystems
from enforcer.edges.cgroup import Cgroups
from tests.e2e.agent import ENFORCER
from tests.scenarios import POLICY

PORT = 9480

FIVE = b"""version: 1
mode: enforced
containers:
  alpha: {nam: alpha}
data:
  protected: [{volume: "alpha-*"}, {volumes: "beta-*"}]
  rules:
    - {who: alpha, read-write: [gamma-data]}
network:
  rules:
    - {who: alhpa, connect: [{cidr: 203.0.113.1/24}]}
"""


@dataclass
class Start:
    """One attempt to start an agent: change what a bad day changes, then ``run``."""

    directory: Path
    engine: Engine
    options: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def prepared(self, script: str) -> None:
        """Have a shell prepare the host in a mount namespace of the agent's own."""
        self.before = ("unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh")

    def run(self) -> subprocess.CompletedProcess[str]:
        """To its end."""
        words = [word for name, value in self.options.items() for word in (f"--{name}", value)]
        return subprocess.run(
            [*self.before, ENFORCER, "run", *words, *self.flags],
            env={**os.environ, "DOCKER_HOST": self.engine.url, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Iterator[Start]:
    """An attempt that would succeed, and after it the proof that nothing is left of it."""
    mount_filesystems()
    (tmp_path / "policy.yaml").write_bytes(POLICY)
    pins, cgroup = BPFFS / f"enforcer-e2e-{engine.name}-bad", f"/{engine.name}"
    places = {name: str(tmp_path / name) for name in ("journal", "state", "run")}
    places |= {"policy": str(tmp_path / "policy.yaml"), "listen": f"127.0.0.1:{PORT}"}
    made = Start(tmp_path, engine, places | {"pins": str(pins), "cgroup": cgroup})
    before = cgroups(engine)
    try:
        yield made
        assert (pins.exists(), cgroups(engine)) == (False, before)
    finally:
        subprocess.run([ENFORCER, "unload", "--pins", str(pins)], capture_output=True, check=False)


def cgroups(engine: Engine) -> list[str]:
    """The unified cgroups of the engine, containers' own aside."""
    top = Cgroups().root / engine.name
    return sorted(str(d) for d in top.rglob("*") if d.is_dir() and len(d.name) < 64)


def not_root(start: Start) -> None:
    """A user without rights, who can read the program all the same, wherever it is installed."""
    start.before = ("unshare", "--user")


def by_tracepoint(start: Start) -> None:
    """Told to use what this kernel cannot: without being told, audit would take its place (tests/e2e/test_audit.py)."""
    start.options["mechanism"] = "tracepoint"


def without_btf(start: Start) -> None:
    """A kernel without CONFIG_DEBUG_INFO_BTF."""
    by_tracepoint(start)
    start.prepared("mount -t tmpfs none /sys/kernel/btf")


def with_empty_btf(start: Start) -> None:
    """A BTF without content."""
    by_tracepoint(start)
    start.prepared("mount --bind /dev/null /sys/kernel/btf/vmlinux")


def without_cgroup2(start: Start) -> None:
    """A host with cgroup version 1 only."""
    start.prepared(f"umount -l {Cgroups().root}")


def without_docker(start: Start) -> None:
    """No engine's socket."""
    start.environment["DOCKER_HOST"] = f"unix://{start.directory}/docker.sock"


def with_dead_docker(start: Start) -> None:
    """The socket of an engine that has died."""
    without_docker(start)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(f"{start.directory}/docker.sock")


def refusing_probes(start: Start) -> None:
    """A kernel, or a container's runtime, that allows no program: root without the capabilities."""
    by_tracepoint(start)
    start.before = ("setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin")


def without_bcc(start: Start) -> None:
    """Debian's python3-bpfcc is not installed, and nothing has been compiled before."""
    start.environment["CACHE_DIRECTORY"] = str(start.directory / "cache")
    (start.directory / "bcc.py").write_text("raise ModuleNotFoundError('No module named bcc')\n")
    start.environment["PYTHONPATH"] = ":".join([str(start.directory), *filter(None, [os.environ.get("PYTHONPATH")])])


def with_journal_read_only(start: Start) -> None:
    """The log's disk has been remounted read-only."""
    place = start.options["journal"]
    Path(place).mkdir(mode=0o700)
    start.prepared(f"mount --bind {place} {place}; mount -o remount,bind,ro {place}")


def with_journal_under_a_file(start: Start) -> None:
    """The log's directory cannot be made."""
    (start.directory / "file").touch()
    start.options["journal"] = str(start.directory / "file" / "journal")


def with_journal_of_others(start: Start) -> None:
    """Others may write to the log's directory."""
    Path(start.options["journal"]).mkdir()
    Path(start.options["journal"]).chmod(0o777)


def with_state_full(start: Start) -> None:
    """The disk of the state is full."""
    place = start.options["state"]
    Path(place).mkdir(mode=0o700)
    start.prepared(f"mount -t tmpfs -o size=4k,mode=0700 none {place}; head -c 4096 /dev/zero > {place}/full")


def with_run_read_only(start: Start) -> None:
    """The control socket cannot be made."""
    place = start.options["run"]
    Path(place).mkdir(mode=0o700)
    start.prepared(f"mount --bind {place} {place}; mount -o remount,bind,ro {place}")


def with_pins_elsewhere(start: Start) -> None:
    """Pins on an ordinary disk."""
    start.options["pins"] = str(start.directory / "pins")


def with_root_cgroup(start: Start) -> None:
    """The cgroup that holds the host's own processes: nothing that can deny is attached there."""
    start.options["cgroup"] = "/"


def with_require_deny(start: Start) -> None:
    """Told to refuse before the fact or not at all, by a mechanism that only punishes."""
    start.options |= {"require": "deny", "mechanism": "tracepoint"}


def with_nonsense_to_listen_at(start: Start) -> None:
    """No address."""
    start.options["listen"] = "9469"


def without_policy(start: Start) -> None:
    """No such file."""
    start.options["policy"] = str(start.directory / "nowhere.yaml")


def with_empty_policies(start: Start) -> None:
    """A directory without a policy."""
    (start.directory / "empty").mkdir()
    start.options["policy"] = str(start.directory / "empty")


BAD_DAYS: dict[Callable[[Start], None], tuple[int, str]] = {
    not_root: (3, "needs root"),
    without_btf: (3, "CONFIG_DEBUG_INFO_BTF"),
    with_empty_btf: (3, "/sys/kernel/btf/vmlinux is empty"),
    without_cgroup2: (3, "no cgroup v2 hierarchy is mounted"),
    without_docker: (4, "no engine answers"),
    with_dead_docker: (4, "no engine answers"),
    refusing_probes: (3, "this kernel refuses"),
    without_bcc: (3, "is python3-bpfcc installed?"),
    with_journal_read_only: (3, "--journal"),
    with_journal_under_a_file: (3, "--journal"),
    with_journal_of_others: (3, "chmod 0700"),
    with_state_full: (3, "state.json: No space left on device"),
    with_run_read_only: (3, "--run"),
    with_pins_elsewhere: (3, "is not on a bpffs"),
    with_root_cgroup: (3, "no program is attached to it"),
    with_require_deny: (3, "cannot refuse before the fact"),
    with_nonsense_to_listen_at: (2, "write ADDR:PORT"),
    without_policy: (2, "no such file"),
    with_empty_policies: (2, "has no *.yaml or *.yml file"),
}


@pytest.mark.parametrize("day", BAD_DAYS, ids=lambda day: day.__name__)
def test_bad_day(start: Start, day: Callable[[Start], None]) -> None:
    """One line that says what is wrong and what to do, the exit status of its kind, no traceback, nothing left behind."""
    code, said = BAD_DAYS[day]
    day(start)
    done = start.run()
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    # what is found out only by trying comes after lines of the agent's log
    line = done.stderr.splitlines()[-1] if day is with_require_deny else done.stderr.removesuffix("\n")
    # a mistake in a policy begins with its place, as in any compiler's message
    place = f"{start.options['policy']}:1:1: policy: " if day in (without_policy, with_empty_policies) else "enforcer: "
    assert line.startswith(place), done.stderr
    assert "\n" not in line
    assert "Traceback" not in done.stderr
    assert said in line


def test_taken_port(start: Start) -> None:
    """Another program listens where Prometheus is to scrape."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        start.options["listen"] = "{}:{}".format(*other.getsockname())
        done = start.run()
    assert (done.returncode, done.stdout) == (3, "")
    [line] = done.stderr.splitlines()
    assert "another program listens there" in line
    assert "--listen" in line


def test_every_mistake_of_a_policy_is_told_at_once(start: Start) -> None:
    """Five mistakes, a line each, at their places; status 2, from `run` as from `check`."""
    policy = Path(start.options["policy"])
    policy.write_bytes(FIVE)
    done = start.run()
    assert (done.returncode, done.stdout) == (2, "")
    places = [line.removeprefix(f"{policy}:").split(":")[0] for line in done.stderr.splitlines()]
    assert [int(n) for n in places] == [2, 4, 6, 11, 11]
    checked = subprocess.run([ENFORCER, "check", policy], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (2, done.stderr)
