"""Following a refused path as the container's process would have, without leaving its root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer.core.model import Inode
from enforcer.edges.procfs import s_dev
from enforcer.edges.refused import candidates

AT_FDCWD = -100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small root: /data/sub/f, and links of every kind."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "f").write_text("x")
    (tmp_path / "absolute").symlink_to("/data/sub/f")
    (tmp_path / "outside").symlink_to("../../../../../../etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "data" / "fifo")
    return tmp_path


@pytest.fixture
def jailed(root: Path) -> Iterator[int]:
    """The pid of a process whose root is ``root`` and whose directory is /data."""
    script = """
import os, sys
os.chroot(sys.argv[1])
os.chdir("/data")
for path in ("/data/sub/f", "/absolute", "/data/sub/new", "/outside", "/data/sub", "/loop"):
    try:
        os.stat(path)  # a program tries a path before the agent follows it
    except OSError:
        pass
print("ready", flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout
    assert child.stdin
    assert child.stdout.readline() == "ready\n"
    yield child.pid
    child.stdin.close()
    child.wait(timeout=10)
    child.stdout.close()


def inode(path: Path) -> Inode:
    """The inode of a path."""
    status = path.stat()
    return Inode(s_dev(status.st_dev), status.st_ino)


@pytest.mark.parametrize("path", [b"/data/sub/f", b"sub/f", b"/absolute", b"/data/../data/./sub/f", b"../absolute"])
def test_an_existing_file(root: Path, jailed: int, path: bytes) -> None:
    """The file first, then its directories up to the root, by every way of naming it."""
    found = candidates(jailed, 0, AT_FDCWD, path)
    assert found is not None
    assert found.exists
    assert found.inodes[:3] == tuple(inode(p) for p in (root / "data/sub/f", root / "data/sub", root / "data"))
    assert [found.below(n) for n in range(3)] == ["", "f", "sub/f"]


def test_a_file_that_would_be_made(root: Path, jailed: int) -> None:
    """Its directory stands for it, and its name is in the path."""
    found = candidates(jailed, 0, AT_FDCWD, b"/data/sub/new")
    assert found is not None
    assert not found.exists
    assert found.inodes[:2] == (inode(root / "data/sub"), inode(root / "data"))
    assert [found.below(n) for n in range(2)] == ["new", "sub/new"]


def test_a_directory(root: Path, jailed: int) -> None:
    """A directory is its own first candidate."""
    found = candidates(jailed, 0, AT_FDCWD, b"/data/sub")
    assert found is not None
    assert found.inodes[:2] == (inode(root / "data/sub"), inode(root / "data"))


def test_links_do_not_lead_out(jailed: int) -> None:
    """A link that climbs past the container's root stays inside it."""
    found = candidates(jailed, 0, AT_FDCWD, b"/outside")
    assert found is None or inode(Path("/etc/passwd")) not in found.inodes


@pytest.mark.parametrize("path", [b"/loop", b"/data/fifo", b"/loop/x", b"/" + b"data/../" * 500 + b"data/sub/f"])
def test_traps_do_not_hold_the_agent(jailed: int, path: bytes) -> None:
    """Loops, pipes that nobody opens and long ways end at once: nothing is opened for reading."""
    found = candidates(jailed, 0, AT_FDCWD, path)
    assert found is None or all(isinstance(i, Inode) for i in found.inodes)


def test_a_process_that_is_gone(root: Path, jailed: int) -> None:
    """An absolute path is then followed in the container's first process; a relative one is lost; a descriptor too."""
    gone = subprocess.Popen(["true"])
    gone.wait(timeout=10)
    found = candidates(gone.pid, jailed, AT_FDCWD, b"/data/sub/f")
    assert found is not None
    assert found.inodes[0] == inode(root / "data/sub/f")
    assert candidates(gone.pid, jailed, AT_FDCWD, b"sub/f") is None
    assert candidates(gone.pid, jailed, 77, b"sub/f") is None
    assert candidates(gone.pid, 0, AT_FDCWD, b"/data/sub/f") is None
    assert candidates(jailed, 0, AT_FDCWD, b"") is None


def test_a_name_too_long_to_tell(root: Path, jailed: int) -> None:
    """A file in directories whose names together are longer than the kernel tells is not placed, and nothing breaks."""
    at = os.open(root / "data", os.O_RDONLY)
    for _ in range(24):
        os.mkdir("d" * 250, dir_fd=at)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.symlink(("d" * 250 + "/") * 15 + "d" * 250, root / "data" / "half")
    os.close(at)
    assert candidates(jailed, 0, AT_FDCWD, b"/data/half/" + (b"d" * 250 + b"/") * 8 + b"f") is None


def test_a_filesystem_is_not_asked(tmp_path: Path) -> None:
    """What the kernel does not have in its cache is not looked up: a container's own filesystem cannot hold the agent."""
    (tmp_path / "tree" / "dir").mkdir(parents=True)
    (tmp_path / "tree" / "dir" / "f").write_text("x")
    (tmp_path / "mnt").mkdir()
    image = str(tmp_path / "image")
    subprocess.run(["mkfs.ext4", "-q", "-d", str(tmp_path / "tree"), image, "2M"], check=True, timeout=30)
    subprocess.run(["mount", "-o", "loop,ro", image, str(tmp_path / "mnt")], check=True, timeout=30)
    try:
        path = tmp_path / "mnt" / "dir" / "f"
        assert candidates(os.getpid(), 0, AT_FDCWD, os.fsencode(path)) is None
        assert path.read_text() == "x"
        found = candidates(os.getpid(), 0, AT_FDCWD, os.fsencode(path))
        assert found is not None
        assert found.names[:2] == ("f", "dir")
    finally:
        subprocess.run(["umount", str(tmp_path / "mnt")], check=True, timeout=30)
