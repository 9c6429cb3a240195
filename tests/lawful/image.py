"""An image whose programs are Debian's: PostgreSQL, SQLite, git, tar, pip, gcc, logrotate, strace. No registry is asked.

Unpacked, not configured, as the virtual machine's root is (``tests/vm/image.py``); kept in ``.cache/lawful`` under a hash
of what it is made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.vm import image as vm

PACKAGES = (
    *(
        "base-files",
        "base-passwd",
        "bash",
        "dash",
        "coreutils",
        "util-linux",
        "mount",
        "grep",
        "sed",
        "mawk",
        "findutils",
    ),
    *("libc-bin", "procps", "diffutils", "tar", "gzip", "hostname", "perl-base"),
    *("acl", "attr", "git", "logrotate", "strace", "sqlite3", "python3", "python3-pip"),
    *("gcc", "libc6-dev", "postgresql-15"),
)
UNUSED = (
    *vm.UNUSED,
    # PostgreSQL compiles no queries here: its just-in-time compiler is 150 MB
    *("usr/lib/llvm-14", "usr/lib/postgresql/15/lib/bitcode", "usr/lib/postgresql/15/lib/llvmjit.so"),
    *("usr/share/perl", "usr/share/i18n", "usr/lib/gcc/x86_64-linux-gnu/12/lto1", "var/cache", "var/lib/apt"),
)
USERS = "postgres:x:999:999::/var/lib/postgresql:/bin/sh\nworker:x:1001:1001::/tmp:/bin/sh\n"
DIRECTORIES = {"srv": 0o755, "mnt": 0o755, "run": 0o755, "root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777, "work": 0o755}
GROUPS = "postgres:x:999:\nworker:x:1001:\n"


@dataclass(frozen=True)
class Image:
    """The root tree twice: as a tar for an engine, as a file system for a virtual machine."""

    tar: Path
    disk: Path


def build(cache: Path) -> Image:
    """The image of the current recipe, from ``cache`` if it is there. Needs root. Raises ``MachineError``."""
    vm.require(*vm.TOOLS)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)  # what a killed build started holds the lock while it goes on
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = cache / recipe()
        if not whole.exists():
            for stale in cache.glob("*/"):
                shutil.rmtree(stale)
            with tempfile.TemporaryDirectory(prefix="partial-", dir=cache) as place:
                _pack(_tree(Path(place) / "tree"), to=Path(place) / "whole")
                (Path(place) / "whole").rename(whole)
    return Image(whole / "root.tar", whole / "root.ext4")


def recipe() -> str:
    """A name for what the image is made from."""
    return hashlib.sha256(b"\0".join(Path(f).read_bytes() for f in (__file__, vm.__file__))).hexdigest()[:16]


def _tree(tree: Path) -> Path:
    vm.unpack_packages(tree, PACKAGES)
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / f"etc/{name}")
    for name, more in (("passwd", USERS), ("group", GROUPS)):
        with (tree / "etc" / name).open("a") as file:
            file.write(more)
    (tree / "usr/bin/awk").symlink_to("mawk")
    for name, mode in DIRECTORIES.items():
        (tree / name).mkdir(exist_ok=True)
        (tree / name).chmod(mode)
    (tree / "srv/shipped").write_text("a file of the image\n")
    for path in UNUSED:
        subprocess.run(["rm", "-rf", tree / path], check=True)
    subprocess.run(["chroot", tree, "ldconfig"], check=True)
    return tree


def _pack(tree: Path, *, to: Path) -> None:
    to.mkdir()
    subprocess.run(["tar", "-C", tree, "--one-file-system", "--numeric-owner", "-cf", to / "root.tar", "."], check=True)
    vm.make_filesystem(tree, to=to / "root.ext4", size="1G")  # sparse
