"""What else answers questions about a log: DuckDB over the same lines, ausearch over as many events of audit's own."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.arms import need

DUCKDB = """
import sys, duckdb
duckdb.sql("set threads = 1")
place, to = (word.replace("'", "''") for word in sys.argv[1:])
found = f"read_json('{place}', format = 'newline_delimited')"
duckdb.sql(f"copy (select * from {found} where event.dataset = 'enforcer.attempt') to '{to}' (format json)")
"""
"""What ``jq -c 'select(...)'`` does, on one thread; into a file, since it locks what it writes to."""

AUDIT = (
    "type=SYSCALL msg=audit({s}.{ms:03}:{n}): arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=7ffd0 a2=0 a3=0 items=1 "
    'ppid={p} pid={p} auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=4294967295 comm="cat" '
    'exe="/usr/bin/cat" subj=unconfined key="enforcer-bench"\n'
    'type=CWD msg=audit({s}.{ms:03}:{n}): cwd="/"\n'
    'type=PATH msg=audit({s}.{ms:03}:{n}): item=0 name="/volumes/mcp-{p}-data/{n}.json" inode={n} dev=fe:00 mode=0100644 '
    "ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0\n"
    "type=PROCTITLE msg=audit({s}.{ms:03}:{n}): proctitle=636174\n"
)
"""What a watch on a volume records of one open."""


def duckdb(segment: Path, to: Path) -> tuple[str, ...]:
    """The command over one segment."""
    return (sys.executable, "-c", DUCKDB, str(segment), str(to))


def ausearch(log: Path) -> tuple[str, ...]:
    """The command over one log. Raises ``HostError`` where it is not installed."""
    need("ausearch")
    return ("ausearch", "--input", str(log), "--key", "enforcer-bench", "--raw")


def audit_log(path: Path, events: int) -> Path:
    """A log of so many opens in volumes, as auditd writes it."""
    with path.open("w") as file:
        for n in range(1, events + 1):
            file.write(AUDIT.format(s=1_763_431_200 + n // 1000, ms=n % 1000, n=n, p=1000 + n % 20))
    return path
