"""Where the agent keeps things and what it was asked to do: one frozen object, made by the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from enforcer.core.model import Mode
from enforcer.errors import HostError

POLICY = Path("/etc/enforcer/policy.yaml")
STATE = Path("/var/lib/enforcer")
JOURNAL = Path("/var/log/enforcer")
RUN = Path("/run/enforcer")
PINS = Path("/sys/fs/bpf/enforcer")
BACKUPS = Path("/var/backups/enforcer")
LISTEN = "127.0.0.1:9469"

DEFAULT_PARENT = {"cgroupfs": "/docker", "systemd": "/system.slice"}


def cache() -> Path:
    """Where byte code is kept that was compiled once: what systemd says (``CacheDirectory=``), else its own default for us."""
    return Path(os.environ.get("CACHE_DIRECTORY") or "/var/cache/enforcer")


def default_parent(driver: str) -> str:
    """The cgroup that Docker puts containers in, by its cgroup driver, unless it was told otherwise. Raises ``HostError``."""
    if driver not in DEFAULT_PARENT:
        raise HostError(
            f"Docker's cgroup driver is {driver or 'unknown'}: name the cgroup above the containers with --cgroup"
        )
    return DEFAULT_PARENT[driver]


DRAIN_S = 0.05
"""How often the ring is read at most: a violation is in the journal within this and the time of one write."""

CANARY_S = 60.0
"""How often the canary tries what is forbidden."""

REATTACH_S = 10.0
"""How long the writer of the maps may take to come to what the self-test found detached."""

ROUND_S = 5.0
"""How often allowed accesses are written down, with ``--record accesses``."""

WATCH_S = 5.0
"""How often the policy's files are looked at even if the kernel tells of no change."""


RECORDS = 1000
"""Records a second that one container may have in the log: some 1 MB, which zstd makes a tenth of."""


@dataclass(frozen=True)
class Limits:
    """How the journal is cut into segments, and what is kept of it: sizes in bytes, ages in seconds.

    ``retain_size`` is of the whole directory, ``retain_age`` since a segment's last record.
    """

    segment_size: int = 64 << 20
    segment_age: int = 86_400
    retain_size: int = 4 << 30
    retain_age: int = 90 * 86_400


LIMITS = Limits()
"""What ``run`` keeps unless it is told otherwise."""


@dataclass(frozen=True)
class Settings:
    """The options of ``run``. ``mechanism`` forces one rung of the ladder ("" for the best); ``require_deny`` refuses less.

    ``record_accesses``: the journal gets what is allowed, too. ``mode`` overrides the policy's own; ``cgroup`` is the cgroup
    above the containers ("" to take Docker's default); ``docker`` is the engine's address; ``records_per_second`` is what one
    container may have in the log, 0 for any number.
    """

    policy: Path = POLICY
    state: Path = STATE
    journal: Path = JOURNAL
    run: Path = RUN
    pins: Path = PINS
    listen: str = LISTEN
    mode: Mode | None = None
    mechanism: str = ""
    require_deny: bool = False
    record_accesses: bool = False
    cgroup: str = ""
    docker: str = "unix:///var/run/docker.sock"
    limits: Limits = LIMITS
    records_per_second: int = RECORDS

    @property
    def own(self) -> dict[Path, bool]:
        """The agent's own places, which no container may touch; True for the journal, which may be read."""
        closed = (self.policy, self.state, self.run, self.pins, cache())
        return {**dict.fromkeys(closed, False), self.journal: True}

    @property
    def socket(self) -> Path:
        """The control socket, through which ``status`` asks."""
        return self.run / "control.sock"
