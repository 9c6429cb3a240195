"""auditd with a watch on a directory, as an arm (``bench.arms``).

Once audit has been switched on, the kernel gives each later task a context for it until the machine boots again, rules or not: that
cannot be undone. So it is measured only where ``BENCH_AUDIT=1`` says that this is accepted.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.arms import Arm, await_report, need, none
from enforcer.errors import HostError

CONFIGURATION = """
local_events = yes
write_logs = yes
log_file = {}
log_format = RAW
flush = INCREMENTAL_ASYNC
freq = 50
max_log_file_action = IGNORE
space_left = 75
space_left_action = IGNORE
admin_space_left = 50
admin_space_left_action = IGNORE
disk_full_action = IGNORE
disk_error_action = IGNORE
"""
"""Debian's, but for the place of the log and for what is done about a full disk."""


def accepted() -> bool:
    """Whether audit may be switched on."""
    return os.environ.get("BENCH_AUDIT") == "1"


@contextmanager
def auditd(directory: Path) -> Iterator[Arm]:
    """Watched for reading and writing. Raises ``HostError`` where somebody else has audit on."""
    need("auditd")
    if "enabled 0" not in _auditctl("-s"):
        raise HostError("audit is in use on this machine: it is left alone")
    with ExitStack() as ending:
        arm = ending.enter_context(none(directory))
        place = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        (place / "plugins.d").mkdir()
        log = place / "audit.log"
        (place / "auditd.conf").write_text(CONFIGURATION.format(log))
        log.touch(mode=0o600)
        words = ["auditd", "-n", "-c", str(place)]
        child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 -- fixed words
        ending.callback(child.wait)
        ending.callback(child.terminate)
        ending.callback(_auditctl, "-e", "0")
        _auditctl("-b", "8192")
        watch = (str(directory), "-p", "rw", "-k", "enforcer-bench")
        _auditctl("-w", *watch)
        ending.callback(_auditctl, "-W", *watch)
        _auditctl("-e", "1")
        await_report("auditd", directory, log, child)
        yield arm


def _auditctl(*words: str) -> str:
    done = subprocess.run(["auditctl", *words], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise HostError(f"auditctl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
