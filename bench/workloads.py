"""Real work in a governed container, against the same with no agent on the machine, in turns; and under what would be used instead.

Everything works on one volume: SQLite (a process as a service is: one connection, a thousand transactions), tar and untar of a
tree with the shape of kernel headers, find over it, nginx that serves a file from it to wrk over loopback, both in the container.
What is compared is processor time, of user and kernel, of all processes together; for nginx and wrk, for each request.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import arms
from bench.arms import Arm
from bench.figure import Figure, Table
from bench.paired import BATCHES, difference

FIRST: Mapping[str, arms.Make] = {
    "none": arms.none,
    "enforcer": arms.enforcer,
    "bpftrace": arms.bpftrace,
}
DIRECTORIES, FILES = 60, 40
"""Of the tree: 2,400 files of 1 to 8 KiB, three levels deep."""

SQLITE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.executescript("pragma journal_mode = wal; pragma synchronous = off; drop table if exists t")
db.execute("create table t (k integer primary key, v)")
for n in range(1000):
    db.execute("begin")
    db.executemany("insert into t (v) values (?)", [("x" * 100,)] * 4)
    db.execute("commit")
    db.execute("select v from t where k = ?", (n * 4 + 1,)).fetchall()
db.close()
"""
TAR = 'for i in 1 2; do tar -C "$0" -cf "$0/t.tar" tree && mkdir "$0/out" && tar -C "$0/out" -xf "$0/t.tar" && rm -r "$0/out"; done'
FIND = 'for i in 1 2 3 4 5 6 7 8; do find "$0/tree" -type f -size +2k -newer "$0/nothing" >/dev/null; done'
NGINX = """
daemon off; master_process off; user root; error_log /dev/null; pid {0}/nginx.pid;
events {{ worker_connections 64; }}
http {{ access_log off; server {{ listen 127.0.0.1:8080; root {0}/www; }} }}
"""
WRK = """
nginx -c "$0/nginx.conf" & server=$!
until [ -s "$0/nginx.pid" ]; do sleep 0.01; done
wrk -t1 -c8 -d1s http://127.0.0.1:8080/index.html
kill $server; wait $server
"""
REQUESTS = re.compile(r"(\d+) requests in ")


def table() -> Table:
    """Per cent beyond no agent; the others' ratios are of the whole work's time, over that under the enforcer."""
    for program in ("nginx", "wrk"):
        arms.need(program)
    with arms.directory() as place:
        _lay(place)
        makes, notes = arms.usable(FIRST, place)
        times = _measured(makes, place)
    figures = [_figure(what, {arm: times[arm][what] for arm in times}) for what in LOADS]
    rows = []
    for what, (_, scale) in LOADS.items():
        medians = {arm: statistics.median(times[arm][what]) for arm in times}
        beyond = (f"{100 * (m / medians['none'] - 1):+.1f} %" for arm, m in medians.items() if arm != "none")
        rows.append((what, f"{medians['none'] * scale:.4g}", *beyond))
    heads = ("processor time", "no agent, ms (nginx: us a request)", *(arm for arm in times if arm != "none"))
    return Table(heads, rows, figures, notes)


def _sqlite(here: Arm) -> float:
    return here.run(sys.executable, "-I", "-S", "-c", SQLITE, str(here.directory / "db"))[0]


def _tar(here: Arm) -> float:
    return here.run("sh", "-c", TAR, str(here.directory))[0]


def _find(here: Arm) -> float:
    return here.run("sh", "-c", FIND, str(here.directory))[0]


def _nginx(here: Arm) -> float:
    seconds, said = here.run("sh", "-c", WRK, str(here.directory))
    (here.directory / "nginx.pid").unlink(missing_ok=True)
    done = REQUESTS.search(said)
    return seconds / int(done[1]) if done and int(done[1]) else float("nan")


LOADS: Mapping[str, tuple[Callable[[Arm], float], float]] = {
    "SQLite, 1,000 transactions": (_sqlite, 1e3),
    "tar and untar": (_tar, 1e3),
    "find": (_find, 1e3),
    "nginx and wrk on loopback": (_nginx, 1e6),
}
"""What runs, and how its seconds are shown."""


def _measured(makes: Mapping[str, arms.Make], place: Path) -> dict[str, dict[str, list[float]]]:
    """By arm, by load: seconds, batch by batch. The first round is thrown away."""
    times: dict[str, dict[str, list[float]]] = {arm: {what: [] for what in LOADS} for arm in makes}
    for number in range(-1, BATCHES):
        for arm, make in makes.items():
            with make(place) as here:
                for what, (load, _) in LOADS.items():
                    seconds = load(here)
                    if number >= 0:
                        times[arm][what].append(seconds)
    return times


def _figure(what: str, times: Mapping[str, list[float]]) -> Figure:
    found = difference(times["none"], times["enforcer"])
    base = statistics.median(times["none"])
    ours = statistics.median(times["enforcer"])
    peers = {arm: statistics.median(t) / ours for arm, t in times.items() if arm not in ("none", "enforcer")}
    note = f"{found.said('%', 100 / base)}; the others' ratios are of the work's whole time"
    name = f"{what}, governed against no agent"
    least, median = 100 * found.minimum / min(times["none"]), 100 * found.median / base
    return Figure(name, "%", least, median, 2, 0.5, peers=peers, note=note, told=found.told)


def _lay(place: Path) -> None:
    for d in range(DIRECTORIES):
        directory = place / "tree" / f"part-{d % 6}" / f"dir-{d}"
        directory.mkdir(parents=True)
        for f in range(FILES):
            (directory / f"header-{f}.h").write_bytes(b"#define X\n" * (100 + 20 * (f % 37)))
    (place / "www").mkdir()
    (place / "www" / "index.html").write_bytes(b"x" * 1024)
    (place / "nothing").touch()
    (place / "nginx.conf").write_text(NGINX.format(place))
