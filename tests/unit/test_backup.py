"""What a backup says of itself, which archives make one, whom it reads, and what is said when it may not."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.cli.backup import progress
from enforcer.core.backup import (
    FILES,
    Entry,
    Manifest,
    SavedLog,
    SavedVolume,
    differences,
    entry_of,
    line_of,
    manifest_of,
    outdated,
    summary_of,
    text_of_manifest,
    unfinished,
    whole,
)
from enforcer.core.inspection import Inspection, Mounted
from enforcer.core.model import Mode, Policy, Selector
from enforcer.core.volume import StoredVolume
from enforcer.edges import borg, refill
from enforcer.edges.borg import KILLED, Ended, ended, fail, installed
from enforcer.edges.vault import held, is_held
from enforcer.errors import EdgeError, HostError, RefusedError, UsageError
from enforcer.runtime.grants import Needs, failure
from enforcer.runtime.selection import Asked, select

names = st.lists(st.binary(min_size=1, max_size=8).map(os.fsdecode), min_size=1, max_size=3).map("/".join)
entries = st.builds(
    Entry,
    volume=st.just("v"),
    path=names,
    kind=st.sampled_from(["file", "symlink"]),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 1 << 31),
    gid=st.integers(0, 1 << 31),
    size=st.integers(0, 1 << 60),
    mtime=st.integers(-(1 << 40), 1 << 40),
    link=names,
    sha256=st.text("0123456789abcdef", max_size=64),
)
archives = st.lists(
    st.sampled_from([f"2026-01-0{n}T000000Z{end}" for n in "123" for end in ("", FILES, f"{FILES}.checkpoint")]),
    unique=True,
)


@given(entries)
def test_a_line_of_the_list_is_one_line_and_keeps_every_name(entry: Entry) -> None:
    """A name of any bytes goes through ASCII and comes back."""
    line = line_of(entry)
    assert line.isascii()
    assert line.count("\n") == 1
    assert entry_of(line) == entry


@given(entries, entries)
def test_no_difference_is_missed(one: Entry, other: Entry) -> None:
    """Two entries differ somewhere if and only if something is said."""
    assert bool(differences(one, other)) == (one != other)


@given(archives)
def test_an_archive_is_of_a_whole_backup_or_unfinished(found: list[str]) -> None:
    """And never both; a checkpoint is never whole."""
    kept = {part for name in whole(found) for part in (name, name + FILES)}
    assert kept | set(unfinished(found)) == set(found)
    assert not kept & set(unfinished(found))
    assert not any("checkpoint" in name for name in kept)


def test_what_somebody_else_keeps_there_is_left_alone() -> None:
    """Whatever backups tidy away, an archive of another name is none of theirs."""
    others = ["my-laptop", f"my-laptop{FILES}", "2026-01-01", "2026-01-01T000000Z.old"]
    assert (whole(others), unfinished(others), outdated(others, 1)) == ((), (), ())


@given(archives, st.integers(1, 4))
def test_the_newest_are_kept(found: list[str], keep: int) -> None:
    """What is left without the outdated ones are so many whole backups, the last by name, and nothing half."""
    left = [a for a in found if a not in outdated(found, keep)]
    assert sorted(whole(left)) == sorted(whole(found))[-keep:]
    assert set(unfinished(left)) == set(unfinished(found))


MANIFEST = Manifest(
    made="2026-01-01T000000Z",
    policy="ab",
    volumes=(SavedVolume("v", "local", {"o": "bind"}, {"l": "x"}, ("c",), 3, 10),),
    logs=(SavedLog("c", 0, "its driver cannot be read"),),
    list_sha256="00",
    files_id="11",
    changed=("f: file changed",),
)


def test_a_manifest_comes_back_and_another_format_is_refused() -> None:
    """Nothing is guessed."""
    text = text_of_manifest(MANIFEST)
    assert manifest_of(text) == MANIFEST
    assert summary_of(MANIFEST)["files"] == 3
    with pytest.raises(EdgeError, match="format is 2"):
        manifest_of(text_of_manifest(replace(MANIFEST, format=2)))
    for damaged in (text[:-9], "[]", json.dumps({**json.loads(text), "more": 1})):
        with pytest.raises(EdgeError, match="damaged"):
            manifest_of(damaged)


def test_what_borg_says() -> None:
    """Warnings and errors count, progress does not, and of a traceback the error is told."""
    lines = [
        {"type": "archive_progress", "nfiles": 1},
        {"type": "log_message", "levelname": "INFO", "message": "hello"},
        {"type": "log_message", "levelname": "WARNING", "message": "a: file changed while we backed it up"},
        {
            "type": "log_message",
            "levelname": "ERROR",
            "message": "Traceback:\n  x\nOSError: [Errno 28] full\nPlatform: y",
        },
    ]
    run = ended(2, b"", "\n".join(map(json.dumps, lines)).encode() + b"\nnot json\n")
    assert len(run.said) == 3
    assert str(fail("create", Ended(2, run.said[1:]))) == "borg create: OSError: [Errno 28] full; not json"
    assert str(fail("create", Ended(2))) == "borg create: it ended with 2"


def test_without_borg(monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is said."""
    monkeypatch.setattr(borg, "PATH", "/nowhere")
    with pytest.raises(HostError, match="apt install borgbackup"):
        installed()


WANTED = {"volume:a": "r", "volume:b": "r", "path:/vault": "rw"}
POLICY = Policy(mode=Mode.ENFORCE, containers={"saver": Selector(name="enforcer-*")})


@pytest.mark.parametrize("run", [Ended(KILLED), Ended(1, ("a: open: [Errno 1] Operation not permitted",))])
def test_a_refusal_names_what_is_missing_and_the_rule(run: Ended) -> None:
    """As the policy calls who needs it; what it need not name is left out."""
    needs = Needs("enforcer-backup", WANTED, {"volume:a": "r", "volume:b": "-", "path:/vault": "r"})
    said = failure(POLICY, needs, run, "create")
    assert isinstance(said, RefusedError)
    assert "b, /vault" in str(said)
    assert "`- {who: saver, read-only: [b], read-write: [{path: /vault}]}` to data.rules" in str(said)
    said = failure(replace(POLICY, containers={}), needs, run, "create")
    assert "`backup: {name: enforcer-backup}` to containers" in str(said)


def test_what_is_no_refusal() -> None:
    """Killed with all that it needs: by somebody. Anything else is Borg's failure. What is only watched is granted."""
    needs = Needs("enforcer-backup", WANTED, {"volume:a": "r", "volume:b": "-?"})
    for run, said in ((Ended(KILLED), "was killed"), (Ended(2, ("No space left",)), "borg create: No space left")):
        found = failure(POLICY, needs, run, "create")
        assert (type(found), said in str(found)) == (EdgeError, True)
    told = failure(POLICY, Needs("x", WANTED, None), Ended(1, ("f: Operation not permitted",)), "create")
    assert (type(told), "while no agent runs" in str(told)) == (RefusedError, True)


def container(name: str, *volumes: str, writable: bool = True, running: bool = True) -> Inspection:
    """One with volumes mounted."""
    mounts = tuple(Mounted("volume", f"/{v}", v, f"/volumes/{v}", writable) for v in volumes)
    return Inspection(f"id-{name}", name, running=running, mounts=mounts)


STORED = [StoredVolume(name, path=f"/volumes/{name}") for name in ("a", "b", "other", "f" * 64)]
THERE = [
    container("one", "a", "f" * 64),
    container("two", "b", "a", writable=False),
    container("stranger", "other", "b"),
]


def test_what_is_selected() -> None:
    """The named volumes of governed containers, or of those that are named, or those that are named themselves."""
    found = select({"id-one", "id-two"}, THERE, STORED, Asked())
    assert [v.name for v in found.volumes] == ["a", "b"]
    assert found.containers == ("one", "two")
    assert found.writers == {"id-one": "one", "id-stranger": "stranger"}
    assert found.volumes[0].containers == ("one", "two")
    assert [v.name for v in select((), THERE, STORED, Asked(containers=["stranger"])).volumes] == ["b", "other"]
    named = select((), THERE, STORED, Asked(volumes=["other"]))
    assert ([v.name for v in named.volumes], named.containers) == (["other"], ("stranger",))


def test_nothing_is_not_backed_up_silently() -> None:
    """A name that is not there, and a policy that names nobody."""
    for asked in (Asked(), Asked(volumes=["gone"]), Asked(containers=["gone"])):
        with pytest.raises(UsageError):
            select((), THERE, STORED, asked)


def test_who_writes_by_another_way() -> None:
    """A bind mount of the volume's directory, of one in it or above it counts, one beside it does not."""
    for path, counts in (("/volumes/a/in", True), ("/volumes", True), ("/volumes/ab", False)):
        other = Inspection("id-x", "x", running=True, mounts=(Mounted("bind", "/m", path=path),))
        found = select((), [*THERE[:1], other], STORED, Asked(volumes=["a"]))
        assert ("id-x" in found.writers) is counts


def test_a_vault_is_for_root_and_for_one(tmp_path) -> None:
    """Made with 0700, refused where others may look, held by one; what was staged is gone with the next."""
    place = tmp_path / "vault"
    with pytest.raises(UsageError, match="no backups"), held(place):
        pass
    with held(place, make=True) as vault:
        assert place.stat().st_mode & 0o777 == 0o700
        (vault.staging / "left").touch()
        vault.note_paused(["a", "b"])
        assert is_held(place)
        with pytest.raises(EdgeError, match="another backup"), held(place, make=True):
            pass
    with held(place, make=True) as vault:
        assert list(vault.staging.iterdir()) == []
        assert vault.left_paused() == ("a", "b")
        vault.note_paused([])
        assert vault.left_paused() == ()
    place.chmod(0o750)
    with pytest.raises(HostError, match="others may look"), held(place, make=True):
        pass


class Terminal(io.StringIO):
    """Standard error as a person sees it, or not."""

    def __init__(self, *, there: bool) -> None:
        super().__init__()
        self.there = there

    def isatty(self) -> bool:
        """As asked for."""
        return self.there


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that is written over and wiped in the end; nothing at all where nobody looks."""
    lines = [
        {"type": "archive_progress", "nfiles": 3, "original_size": 70, "path": "x"},
        {"type": "progress_percent", "current": 1, "total": 4},
        {"type": "log_message", "message": "no progress"},
    ]
    for there in (True, False):
        monkeypatch.setattr(sys, "stderr", shown := Terminal(there=there))
        with progress("read") as hear:
            for line in lines:
                hear(json.dumps(line).encode())
        wanted = ["", "3 files, 70 bytes read\x1b[K", "25 % read\x1b[K", "\x1b[K"] if there else [""]
        assert shown.getvalue().split("\r") == wanted


def listed(path, **changes):
    """An entry of a file as the list has it, as the restore program reads it."""
    found = path.lstat()
    entry = {"volume": "v", "path": path.name, "kind": "file", "mode": found.st_mode & 0o7777, "link": "", "size": 1}
    entry |= {"uid": found.st_uid, "gid": found.st_gid, "mtime": int(found.st_mtime_ns / 1e9)}
    return {**entry, "sha256": refill.hashed(str(path)), **changes}


@pytest.mark.parametrize(
    "change", [{"mode": 0}, {"uid": 5}, {"gid": 5}, {"mtime": 5}, {"size": 5}, {"sha256": "5"}, {"kind": "fifo"}]
)
def test_a_restore_that_is_not_as_saved_is_seen(tmp_path, change) -> None:
    """Whatever differs; and that there are as many files."""
    (tmp_path / "f").write_text("x")
    assert list(refill.differing(listed(tmp_path / "f"), str(tmp_path))) == []
    assert len(list(refill.differing(listed(tmp_path / "f", **change), str(tmp_path)))) == 1
    (tmp_path / "list").write_text(json.dumps(listed(tmp_path / "f")) + "\n")
    assert list(refill.compared(str(tmp_path / "list"), "v", str(tmp_path))) == [
        "v: 3 files were restored, 1 were saved"
    ]


def test_a_hard_link_that_is_a_copy_is_seen(tmp_path) -> None:
    """It is the same file or it is not."""
    (tmp_path / "f").write_text("x")
    (tmp_path / "g").hardlink_to(tmp_path / "f")
    (tmp_path / "h").write_text("x")
    for name, wrong in (("g", 0), ("h", 1)):
        entry = listed(tmp_path / name, kind="hardlink", link="f")
        assert len(list(refill.differing(entry, str(tmp_path)))) == wrong


def test_a_hard_link_into_another_volume_is_compared_with_that_file(tmp_path) -> None:
    """Restored alone it is a file of its own, with the same content."""
    (tmp_path / "f").write_text("x")
    other = {**listed(tmp_path / "f"), "volume": "w", "path": "deep/one"}
    link = listed(tmp_path / "f", kind="hardlink", link="../w/deep/one", sha256="")
    own = {**listed(tmp_path / "f"), "kind": "directory", "path": "."}
    own |= {"mode": tmp_path.stat().st_mode & 0o7777, "mtime": int(tmp_path.stat().st_mtime_ns / 1e9)}
    for sha256, wrong in ((other["sha256"], []), ("5", ["sha256"])):
        place = tmp_path.with_suffix(".list")
        place.write_text("".join(json.dumps(e) + "\n" for e in ({**other, "sha256": sha256}, link, own)))
        found = list(refill.compared(str(place), "v", str(tmp_path)))
        assert [w for w in ("sha256", "other name") if any(w in f for f in found)] == wrong, found
