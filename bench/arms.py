"""What a load runs under: nothing, the enforcer, or what would be used instead to see opens and connections.

Each is brought up anew for each batch and is gone after it, so that all take turns. The enforcer's is the probes with a policy
in force and the load in a governed cgroup; the others see the whole machine, as they do. A watcher counts as up once it has
reported the opening of a marker.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from bench.scratch import scratch
from enforcer.core.model import (
    DataObject,
    DataRule,
    DataTarget,
    Kind,
    Mode,
    NetRule,
    ObjectId,
    Policy,
    Selector,
    ToCidr,
)
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.inodes import Inodes
from enforcer.errors import EdgeError, HostError

PLACE = Path("/dev/shm")  # noqa: S108 -- a directory of a random name is made in it
"""Memory: what a disk takes of the processor is more than what is to be told, and never twice the same."""

WORKER = "worker"
PATIENCE_S = 20

OPENS = 'tracepoint:syscalls:sys_enter_openat { printf("%d %s %s\\n", pid, comm, str(args->filename)); }'
CONNECTS = """tracepoint:sock:inet_sock_set_state /args->newstate == 2/ {
  printf("%d %s %s %d\\n", pid, comm, ntop(args->daddr), args->dport); }"""
"""What opensnoop and tcpconnect print, by tracepoints: kprobes, which those need, are not in every kernel."""

INSIDE = 'mount --bind "$0" "$0" && ip link set lo up && echo 0 >"$1" && shift && exec "$@"'
"""In namespaces of its own, with the directory mounted upon itself as a container has a volume, and last into the cgroup."""


@dataclass(frozen=True)
class Arm:
    """Where a load runs: the file that takes it into its cgroup, and the directory that is watched or governed."""

    procs: Path
    directory: Path

    def run(self, *command: str) -> tuple[float, str]:
        """Seconds of the processor that a command and its children took there, and what it printed. Raises ``EdgeError``."""
        words = ["unshare", "--mount", "--net", "sh", "-c", INSIDE, str(self.directory), str(self.procs), *command]
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(words, cwd="/", stdout=said, stderr=subprocess.STDOUT)  # noqa: S603 -- our own command
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read().decode(errors="replace")
        if child.returncode:
            raise EdgeError(f"{command[0]} ended with {child.returncode}: {text[-300:]}")
        return usage.ru_utime + usage.ru_stime, text


Make = Callable[[Path], AbstractContextManager[Arm]]
"""Brings an arm up for a directory."""


def usable(makes: Mapping[str, Make], directory: Path) -> tuple[dict[str, Make], list[str]]:
    """Those that come up here, tried once, and a line for each of the others. Without the first two there is no comparison."""
    found, missing = {}, []
    for number, (name, make) in enumerate(makes.items()):
        try:
            with make(directory):
                found[name] = make
        except HostError as e:
            if number < 2:
                raise
            missing.append(f"{name} is left out: {e}")
    return found, missing


@contextmanager
def none(directory: Path) -> Iterator[Arm]:
    """A cgroup like any other, and nobody looks."""
    cgroups, path = Cgroups(), f"/enforcer-arm-{os.getpid()}-{secrets.token_hex(2)}"
    cgroups.ensure(path)
    try:
        yield Arm(cgroups.root / path.lstrip("/") / "cgroup.procs", directory)
    finally:
        cgroups.remove(path)


@contextmanager
def enforcer(directory: Path) -> Iterator[Arm]:
    """A container that is granted the directory as its volume, and some addresses."""
    volume, found = ObjectId(Kind.VOLUME, f"{WORKER}-data"), Inodes().inode_of(directory)
    if found is None:
        raise EdgeError(f"{directory} is gone")
    policy = Policy(
        Mode.ENFORCE,
        containers={WORKER: Selector(name=WORKER)},
        protected=(DataTarget(Kind.VOLUME, "*"),),
        data_rules=(DataRule("data", (WORKER,), read_write=(DataTarget(Kind.VOLUME, volume.name),)),),
        net_rules=(NetRule("net", (WORKER,), (ToCidr(ip_network("198.51.100.0/24")),)),),
    )
    objects = {volume: DataObject(volume, (found,), str(directory))}
    with scratch(policy, containers=(WORKER,), objects=objects) as made:
        yield Arm(made.procs(WORKER), directory)


def bpftrace(directory: Path) -> AbstractContextManager[Arm]:
    """One-liners that print what opensnoop and tcpconnect print."""
    return _watched(directory, ("bpftrace", "-B", "line", "-e", f"{OPENS}\n{CONNECTS}"))


def fatrace(directory: Path) -> AbstractContextManager[Arm]:
    """Fanotify on the directory's filesystem: opens only."""
    return _watched(directory, ("fatrace", "-c", "-f", "O"))


@contextmanager
def _watched(directory: Path, command: Sequence[str]) -> Iterator[Arm]:
    need(command[0])
    with ExitStack() as ending:
        arm = ending.enter_context(none(directory))
        said = Path(ending.enter_context(tempfile.TemporaryDirectory())) / "said"
        with said.open("wb") as output:
            child = subprocess.Popen(command, cwd=directory, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 -- fixed words
        ending.callback(child.wait)
        ending.callback(child.terminate)
        await_report(command[0], directory, said, child)
        yield arm


def await_report(program: str, directory: Path, log: Path, child: subprocess.Popen[bytes]) -> None:
    """Return once the opening of a marker in the directory is in the log. Raises ``HostError``."""
    marker = directory / f"marker-{secrets.token_hex(4)}"
    end = time.monotonic() + PATIENCE_S
    try:
        while marker.name not in log.read_text(errors="replace"):
            if child.poll() is not None or time.monotonic() > end:
                raise HostError(
                    f"{program} reports no opens here: {' '.join(log.read_text(errors='replace')[-200:].split())}"
                )
            marker.write_bytes(b"")
            time.sleep(0.05)
    finally:
        marker.unlink(missing_ok=True)


def need(program: str) -> None:
    """Raises ``HostError`` if it is not installed."""
    if not shutil.which(program):
        raise HostError(f"{program} is missing: `make bench` installs it")


@contextmanager
def compiled_load() -> Iterator[str]:
    """``load.c``, as a program. Raises ``HostError`` without a compiler."""
    need("gcc")
    with tempfile.TemporaryDirectory() as place:
        source, program = Path(__file__).with_name("load.c"), f"{place}/load"
        subprocess.run(["gcc", "-O2", "-o", program, source], check=True)  # noqa: S603, S607 -- fixed words
        yield program


@contextmanager
def directory() -> Iterator[Path]:
    """One of the bench's own, in memory."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PLACE) as place:
        yield Path(place)
