"""The probes' byte code for the machine's kernel, compiled here: what takes a minute under emulation takes two seconds.

``python -m tests.vm.programs TYPES DIRECTORY``: TYPES is the machine's /sys/kernel/btf/vmlinux.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from enforcer.edges.bpf.compiler import compiled, flatten
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.offsets import header
from enforcer.edges.bpf.source import probes_directory


def programs(types: Path, cache: Path) -> dict[str, bytes]:
    """Name → content of what the agent's cache would hold, had it compiled in the machine."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = subprocess.run([sys.executable, "-m", __name__, types, cache], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return {path.name: path.read_bytes() for path in cache.iterdir()}


if __name__ == "__main__":
    probes = probes_directory()
    text = flatten(probes, header((probes / "kernel.h").read_text(), Path(sys.argv[1])))
    compiled(text, Path(sys.argv[2]), Libbpf())
