"""Cases of the Linux Test Project in a governed container: ``python -m tests.lawful.ltp SOURCE [--keep DIRECTORY]``.

SOURCE is a git repository (bare or not) or a tree of https://github.com/linux-test-project/ltp. The cases of DIRECTORIES
are built as static programs (autoconf, automake and m4 must be there), run without the agent and under it, on a
container's own volume and in its own layer, and compared. Exit status 0: no case ended otherwise, and nothing was counted.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.lawful.rounds import engine_with_image, two_rounds
from tests.lawful.steps import Steps, differences

DIRECTORIES = (
    *("open", "openat", "openat2", "creat", "link", "linkat", "rename", "renameat", "renameat2", "unlink", "unlinkat"),
    *(
        "symlink",
        "symlinkat",
        "mkdir",
        "mkdirat",
        "rmdir",
        "mknod",
        "mknodat",
        "chmod",
        "fchmod",
        "fchmodat",
        "fchmodat2",
    ),
    *(
        "chown",
        "fchown",
        "lchown",
        "fchownat",
        "connect",
        "truncate",
        "ftruncate",
        "setxattr",
        "fsetxattr",
        "removexattr",
    ),
    *(
        "fremovexattr",
        "lremovexattr",
        "utime",
        "utimes",
        "utimensat",
        "open_by_handle_at",
        "name_to_handle_at",
        "access",
    ),
    *("faccessat", "faccessat2", "ptrace", "cma", "fallocate", "flock", "inotify", "sendmsg", "recvmsg", "execve"),
    *("execveat", "memfd_create"),
)
# io_uring is left out: where the enforcer judges what system calls return it forbids io_uring altogether, and says so.
SYSCALLS = Path("testcases/kernel/syscalls")


def build(source: Path, to: Path) -> None:
    """Fill ``to`` with the programs and with ``cases``: the lines of LTP's own runtest/syscalls that they are for."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        _copy(source, tree)
        for words in (
            ["make", "autotools"],
            ["./configure", "--disable-metadata", "--without-tirpc", "--without-numa"],
        ):
            subprocess.run(words, cwd=tree, check=True, capture_output=True)
        subprocess.run(["make", "-j2", "-C", "lib"], cwd=tree, check=True, capture_output=True)
        for directory in DIRECTORIES:
            words = ["make", "-k", "-j2", "-C", SYSCALLS / directory, f"LDFLAGS=-static -s -L{tree}/lib"]
            subprocess.run(words, cwd=tree, check=True, capture_output=True)
            for file in (tree / SYSCALLS / directory).iterdir():
                if file.is_file() and file.stat().st_mode & 0o100 and not file.suffix:
                    shutil.copy(file, to / file.name)
        lines = (tree / "runtest/syscalls").read_text().splitlines()
    cases = [line for line in lines if len(words := line.split()) > 1 and (to / words[1]).exists()]
    (to / "cases").write_text("".join(f"{line}\n" for line in cases))


def _copy(source: Path, tree: Path) -> None:
    if (source / "configure.ac").exists():
        shutil.copytree(source, tree, dirs_exist_ok=True, symlinks=True)
        return
    words = ["git", "-C", source, "archive", "HEAD"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)
    assert archive.returncode == 0, f"git archive ended with {archive.returncode}"


def summary(steps: Steps) -> str:
    """How many cases ended how (tst_res_flags.h: 1 failed, 2 broken, 4 warned, 32 not for this host)."""
    names = {"0": "passed", "32": "not for this host", "124": "took too long"}
    found = Counter(names.get(status, f"status {status}") for ends in steps.values() for status, _ in ends)
    return ", ".join(f"{n} {what}" for what, n in found.most_common())


def main() -> int:
    """Build, run both rounds, print what differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.lawful.ltp", description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--keep", type=Path, help="where the programs are built, or were by an earlier run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        programs = (options.keep or Path(name)).resolve()
        programs.mkdir(parents=True, exist_ok=True)
        if not (programs / "cases").exists():
            build(options.source, programs)
        with (
            engine_with_image() as engine,
            two_rounds(engine, [["ltp"]], {"LTP": str(programs)}, limit_s=1800) as played,
        ):
            counts, events = played.after["counts"], played.agent.events()
            found = differences(played.alone, played.governed)
    print(f"without the agent: {summary(played.alone)}\nunder the agent:   {summary(played.governed)}")
    for (_, case), (alone, governed) in found.items():
        print(f"{case}: {alone} alone, {governed} governed")
    for event in events:
        print(event)
    print(f"{len(found)} cases differ; counted: {counts}")
    return 1 if found or counts["counted"] else 0


if __name__ == "__main__":
    sys.exit(main())
