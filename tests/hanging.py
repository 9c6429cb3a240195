"""What a failed test's host looked like: a machine that stands still fails every test, and its own log says why."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OURS = ("dockerd", "containerd", "enforcer", "python")


def host_state() -> str:
    """Uninterruptible tasks with their kernel stacks, where the engine's and the agent's threads wait, the kernel's last words."""
    load = Path("/proc/loadavg").read_text().strip()
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout.splitlines()
    spoken = [line for line in said if "entered" not in line and "veth" not in line and "audit" not in line]
    return "\n".join([f"load {load}", *_tasks(), "kernel log:", *spoken[-15:]])


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
