"""What a failed test's host looked like: a machine that stands still fails every test, and its own log says why."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OURS = ("dockerd", "containerd", "enforcer", "python")
PATIENCE_S = 5
_STACK = re.compile(r"^goroutine \d+ \[([^\]]+)\]:\n((?:.+\n)+)", re.MULTILINE)
_WAITS = ("sync.", "runtime.", "internal/", "os.", "net.", "syscall.", "\t")  # how it waits, not for what


def host_state() -> str:
    """Uninterruptible tasks with their kernel stacks, where the engine's and the agent's threads wait, the kernel's last words."""
    load = Path("/proc/loadavg").read_text().strip()
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout.splitlines()
    spoken = [line for line in said if "entered" not in line and "veth" not in line and "audit" not in line]
    return "\n".join([f"load {load}", *_tasks(), *_engines(), "kernel log:", *spoken[-15:]])


def _tasks() -> Iterator[str]:
    waiting: Counter[tuple[str, str, str]] = Counter()
    for task in Path("/proc").glob("[0-9]*/task/*"):
        with suppress(OSError):
            name, state = (task / "comm").read_text().strip(), (task / "stat").read_text().rpartition(")")[2].split()[0]
            if state == "D":
                yield f"{name} ({task.name}) does not get on:\n{(task / 'stack').read_text()}"
            owner = (task.parents[1] / "comm").read_text().strip()
            if owner.startswith(OURS):
                waiting[owner, state, (task / "wchan").read_text()] += 1
    for (owner, state, place), n in waiting.most_common():
        yield f"{n} threads of {owner}: {state} {place}"


def _engines() -> Iterator[str]:
    """Where the goroutines of the tests' engines wait, which they write down when they are asked (moby, daemon/debugtrap)."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            roots = [word.partition("=")[2] for word in words if word.startswith("--exec-root=/var/tmp/enf")]
            if (process / "comm").read_text().strip() == "dockerd" and roots:
                yield from _goroutines(int(process.name), Path(roots[0]))


def _goroutines(pid: int, place: Path) -> Iterator[str]:
    known = set(place.glob("goroutine-stacks-*"))
    os.kill(pid, signal.SIGUSR1)
    until = time.monotonic() + PATIENCE_S
    while not (new := set(place.glob("goroutine-stacks-*")) - known) and time.monotonic() < until:
        time.sleep(0.1)
    stacks = Counter(
        (why, next((line.rpartition("(")[0] for line in stack.splitlines() if not line.startswith(_WAITS)), "?"))
        for path in new
        for why, stack in _STACK.findall(path.read_text() + "\n")
        if "minute" in why
    )
    for (why, function), n in stacks.most_common(12):
        yield f"{n} goroutines of dockerd: {why} {function}"
