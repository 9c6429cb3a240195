"""Giving files to a user, in a tree that somebody else fills."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from enforcer.core.inspection import Owner
from enforcer.edges.ownership import give, others_files
from enforcer.edges.volumes import make_directory, own
from enforcer.errors import EdgeError

USER = 1001


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a file, a directory with a file, a link out, and a name of a file outside."""
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "f").write_text("f")
    (tree / "deep" / "g").write_text("g")
    (tmp_path / "outside").write_text("outside")
    (tree / "link").symlink_to(tmp_path / "outside")
    (tree / "away").symlink_to(tmp_path)
    os.link(tmp_path / "outside", tree / "name")
    return tree


def test_everything_below_and_nothing_beside(tree: Path) -> None:
    """Links themselves are given, not what they lead to; a file that has a name elsewhere keeps its owner."""
    assert give(str(tree), USER, USER) == (6, 1)
    assert {p.lstat().st_uid for p in (tree, *tree.rglob("*")) if p.name != "name"} == {USER}
    assert ((tree / "name").stat().st_uid, tree.parent.stat().st_uid) == (os.getuid(), os.getuid())


def test_given_again_nothing_changes(tree: Path) -> None:
    """Only the directory itself is set anew."""
    give(str(tree), USER, USER)
    assert give(str(tree), USER, USER) == (1, 1)


def test_whose_files_are_found(tree: Path) -> None:
    """How many, and one to show."""
    give(str(tree), USER, USER)
    count, first, owner = others_files(str(tree), USER)
    assert (count, first, owner) == (1, str(tree / "name"), os.getuid())
    assert others_files(str(tree / "deep"), USER) == (0, "", 0)


def test_a_link_is_no_directory(tree: Path) -> None:
    """A volume's path that became a link since is refused, by all that change an owner."""
    (tree.parent / "to").symlink_to(tree)
    with pytest.raises(EdgeError):
        give(str(tree.parent / "to"), USER, USER)
    with pytest.raises(EdgeError):
        own(tree.parent / "to", Owner(USER, USER, 0o750))
    with pytest.raises(EdgeError, match="is no directory"):
        make_directory(tree.parent / "to", Owner(USER, USER, 0o750))
    assert tree.stat().st_uid == os.getuid()


def test_a_directory_is_made_once(tmp_path: Path) -> None:
    """With those above it; one that is there keeps its owner."""
    path = tmp_path / "base" / "a"
    assert make_directory(path, Owner(USER, USER, 0o750))
    assert not make_directory(path, Owner(5, 5, 0o700))
    found = path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (USER, USER, 0o750)


def test_a_device_is_not_given_away(tmp_path: Path) -> None:
    """It is the host's, wherever its name lies."""
    os.mknod(tmp_path / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    assert give(str(tmp_path), USER, USER) == (1, 1)
    assert (tmp_path / "null").stat().st_uid == os.getuid()
