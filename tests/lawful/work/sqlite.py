"""SQLite on the directory that is given: writers and readers at once, a crash in the middle, recovery, vacuum, a backup."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path

ROWS, WRITERS, READERS = int(os.environ.get("ROWS", "40")), 3, 3


def connect(path: Path) -> sqlite3.Connection:
    """A connection that syncs at every commit and waits for locks."""
    connection = sqlite3.connect(path, timeout=60, isolation_level=None)
    connection.execute("pragma synchronous = full")
    return connection


def write(path: Path, writer: int) -> None:
    """One transaction a row."""
    connection = connect(path)
    for number in range(ROWS):
        connection.execute("begin immediate")
        connection.execute("insert into t values (?, ?, ?)", (writer, number, "x" * 500))
        connection.execute("commit")


def read(path: Path, _reader: int) -> None:
    """Counts never fall."""
    connection, before = connect(path), 0
    for _ in range(ROWS):
        (now,) = connection.execute("select count(*) from t").fetchone()
        assert now >= before
        before = now


def crash(path: Path, _: int) -> None:
    """Ends without a word in the middle of a transaction."""
    connection = connect(path)
    connection.execute("begin immediate")
    connection.execute("insert into t select * from t")
    os.kill(os.getpid(), signal.SIGKILL)


def fork(work, *arguments) -> int:
    """A child that does one thing."""
    if child := os.fork():
        return child
    status = 1
    try:
        work(*arguments)
        status = 0
    finally:
        os._exit(status)


def main() -> None:
    """For each way to keep a journal, or those that are given: everything once, one line."""
    for mode in sys.argv[2:] or ("wal", "delete", "truncate", "persist"):
        path = Path(sys.argv[1]) / f"{mode}.db"
        connect(path).execute(f"pragma journal_mode = {mode}")
        connect(path).execute("create table t (writer, number, text)")
        children = [fork(write, path, n) for n in range(WRITERS)] + [fork(read, path, n) for n in range(READERS)]
        ends = [os.waitpid(child, 0)[1] for child in children]
        ends.append(os.waitpid(fork(crash, path, 0), 0)[1])
        connection = connect(path)
        (count,) = connection.execute("select count(*) from t").fetchone()
        connection.execute("delete from t where number % 2")
        connection.execute("vacuum")
        (check,) = connection.execute("pragma integrity_check").fetchone()
        with sqlite3.connect(path.with_suffix(".backup")) as copy:
            connection.backup(copy)
        (kept,) = copy.execute("select count(*) from t").fetchone()
        connection.close()
        print(
            f"{mode}\t{int(any(ends[:-1]))}\t{ends} {count} {check} {kept} {sorted(os.listdir(path.parent))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
