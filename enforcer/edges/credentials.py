"""As whom a process runs, by /proc/PID/status (proc_pid_status(5))."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from enforcer.edges.procfs import PROC
from enforcer.errors import ContainerGone


@dataclass(frozen=True)
class Credentials:
    """Effective user, group and capabilities (a bit for each), further groups; ``apart``: in a user namespace of its own."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: int
    apart: bool


def credentials_of(pid: int, root: Path = PROC) -> Credentials:
    """Those of a running process, as this process's user namespace numbers them. Raises ContainerGone."""
    try:
        text = (root / str(pid) / "status").read_text(errors="surrogateescape")
        apart = (root / str(pid) / "ns/user").stat().st_ino != (root / "self/ns/user").stat().st_ino
    except (FileNotFoundError, ProcessLookupError, PermissionError) as e:
        raise ContainerGone(f"process {pid} ended") from e
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Credentials(
        uid=int(fields["Uid"].split()[1]),
        gid=int(fields["Gid"].split()[1]),
        groups=tuple(map(int, fields["Groups"].split())),
        capabilities=int(fields["CapEff"].strip(), 16),
        apart=apart,
    )
