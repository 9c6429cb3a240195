"""The kernel's own audit: rules that are seen to watch, records that tell who did what, and nothing left behind. Needs root."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer.core.model import Access, Hook
from enforcer.edges.audit import BACKLOG, Audit, Records
from enforcer.edges.audit_calls import ALL, CHANGES, I386, X86_64, call_of, deed_of, numbers_of
from enforcer.edges.audit_records import Assembler, Observation
from enforcer.edges.audit_rules import Rule
from enforcer.edges.procevents import ProcEvents, What
from enforcer.edges.procfs import s_dev
from enforcer.errors import EdgeError, HostError

OWNER = "0123test"
NUMBER = 77
R, W, X = Access.READ, Access.WRITE, Access.EXEC
Settings = tuple[int, int, tuple[object, ...]]


def settings() -> Settings:
    """What of the kernel's audit must be as before when we are done."""
    with Audit("nobody") as audit:
        status = audit.status()
        return status.enabled, status.backlog_limit, audit.rules()


@pytest.fixture
def before() -> Iterator[Settings]:
    """The kernel's audit, which afterwards is what it was, whatever the test did."""
    found = settings()
    yield found
    with Audit(OWNER) as audit:
        audit.clear()
    assert settings() == found


@pytest.fixture
def audit(before: Settings) -> Iterator[Audit]:
    """The kernel's audit, begun."""
    with Audit(OWNER) as opened:
        opened.begin()
        yield opened
        opened.end()


@pytest.fixture
def records(audit: Audit) -> Iterator[Records]:
    """The stream of records, read from when auditing is on."""
    opened = Records()
    yield opened
    opened.close()


def rules(audit: Audit, path: Path, hooks: frozenset[Hook] = ALL) -> list[Rule]:
    """The rules that watch a path, one for each architecture."""
    return [Rule(audit.key(NUMBER), str(path), path.is_dir(), arch, numbers_of(hooks, arch)) for arch in (X86_64, I386)]


def told(records: Records, pid: int, enough: int, seconds: float = 20) -> list[Observation]:
    """The first ``enough`` calls of a process and its children that a rule of ours matched."""
    events, found, end = Assembler(), list[Observation](), time.monotonic() + seconds
    while len(found) < enough and time.monotonic() < end:
        select.select([records], [], [], 0.1)
        for kind, text in records.read(1000):
            found += [s for s in events.add(kind, text) if pid in (s.pid, s.parent) and OWNER.encode() in s.keys[0]]
    assert (events.broken, records.overruns) == (0, 0)
    return found


def deeds(seen: list[Observation]) -> list[tuple[Hook, Access]]:
    """What was done."""
    found = []
    for each in seen:
        call = call_of(each.arch, each.syscall)
        assert call
        found.append(deed_of(call, each.arguments, each.how, made=any(i.kind == "CREATE" for i in each.items)))
    return found


def python(script: str, *arguments: str) -> int:
    """Run a script to its end; its pid."""
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", script, *arguments], stderr=subprocess.DEVNULL)
    assert child.wait(60) == 0
    return child.pid


SCRIPT = """
import os, sys
os.chdir(sys.argv[1])
os.close(os.open("f", os.O_RDONLY))
os.close(os.open("new", os.O_WRONLY | os.O_CREAT, 0o600))
os.rename("new", "sub/moved")
os.chmod("sub/moved", 0o700)
os.symlink("/elsewhere", "link")
os.link("f", "second")
os.setxattr("f", "user.a", b"b")
os.mkfifo("fifo")
os.truncate("f", 0)
os.utime("f")
directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
os.unlink("second", dir_fd=directory)
os.mkdir("made")
os.rmdir("made")
os.open("f", os.O_PATH)
"""


def test_a_directory_is_watched(audit: Audit, records: Records, tmp_path: Path) -> None:
    """Every kind of access to a directory and what lies deeper is told of, with the device and inode that stat shows."""
    (tmp_path / "f").write_text("x")
    (tmp_path / "sub").mkdir()
    inode = (tmp_path / "f").stat()
    audit.add(rules(audit, tmp_path))
    seen = told(records, python(SCRIPT, str(tmp_path)), 15)
    assert deeds(seen) == [
        (Hook.OPEN, R),
        (Hook.CREATE, W),
        (Hook.RENAME, W),
        (Hook.SETATTR, W),
        (Hook.SYMLINK, W),
        (Hook.LINK, W),
        (Hook.SETXATTR, W),
        (Hook.MKNOD, W),
        (Hook.SETATTR, W),
        (Hook.SETATTR, W),
        (Hook.OPEN, R),
        (Hook.UNLINK, W),
        (Hook.MKDIR, W),
        (Hook.RMDIR, W),
        (Hook.OPEN, Access.NONE),
    ]
    [item] = seen[0].items
    assert (item.inode, item.device, item.name) == (inode.st_ino, s_dev(inode.st_dev), b"f")
    assert seen[0].cwd == os.fsencode(tmp_path)
    assert all(s.complete for s in seen)


def test_another_mount_of_the_directory_is_watched_too(audit: Audit, records: Records, tmp_path: Path) -> None:
    """A bind mount made after the watch, in another mount namespace: it is the inode that is watched, not the path."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    data.mkdir()
    elsewhere.mkdir()
    (data / "f").write_text("x")
    audit.add(rules(audit, data))
    script = f"mount --make-rprivate / && mount --bind {data} {elsewhere} && exec cat {elsewhere}/f"
    child = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.DEVNULL)
    assert child.wait(60) == 0
    [seen] = told(records, child.pid, 1)
    assert (deeds([seen]), seen.items[0].name) == ([(Hook.OPEN, R)], os.fsencode(elsewhere / "f"))


def test_one_file_is_watched(audit: Audit, records: Records, tmp_path: Path) -> None:
    """A watch on a single file tells of it and not of its neighbours, even by another name; a program of it, too."""
    (tmp_path / "f").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "f").chmod(0o700)
    os.link(tmp_path / "f", tmp_path / "same")
    (tmp_path / "other").write_text("x")
    audit.add(rules(audit, tmp_path / "f"))
    child = subprocess.Popen(["sh", "-c", f"cd {tmp_path}; cat other same; ./f"], stdout=subprocess.DEVNULL)
    assert child.wait(60) == 0
    seen = told(records, child.pid, 3)
    assert [s.items[0].name for s in seen] == [b"same", b"./f", b"./f"]
    assert deeds(seen) == [(Hook.OPEN, R), (Hook.EXEC, R | X), (Hook.OPEN, R)]  # the shell reads the script


def test_only_changes_are_watched(audit: Audit, records: Records, tmp_path: Path) -> None:
    """Rules that name changes only tell of no open."""
    (tmp_path / "f").write_text("x")
    audit.add(rules(audit, tmp_path, CHANGES))
    child = subprocess.Popen(["sh", "-c", f"cat {tmp_path}/f; echo >> {tmp_path}/f; rm {tmp_path}/f"], stdout=-3)
    assert child.wait(60) == 0
    assert deeds(told(records, child.pid, 1)) == [(Hook.UNLINK, W)]
    assert told(records, child.pid, 1, seconds=0.5) == []


def test_settings_come_back(before: Settings, tmp_path: Path) -> None:
    """Auditing is on and the backlog longer while we watch; at the end both are as they were, and no rule is left."""
    with Audit(OWNER) as audit:
        audit.begin()
        audit.add(rules(audit, tmp_path))
        status = audit.status()
        assert (status.enabled, status.backlog_limit) == (1, max(BACKLOG, before[1]))
        assert [r.key.number for r in audit.rules() if r.key and r.key.owner == OWNER] == [NUMBER, NUMBER]
        audit.end()
    assert settings() == before


def test_all_rules_or_none(audit: Audit, tmp_path: Path) -> None:
    """A rule that the kernel refuses takes those of the same object with it, and is named."""
    good, _ = rules(audit, tmp_path)
    bad = Rule(audit.key(NUMBER), str(tmp_path / "nowhere"), True, X86_64, good.calls)
    with pytest.raises(EdgeError, match="nowhere"):
        audit.add([good, bad])
    assert [r for r in audit.rules() if r.key and r.key.owner == OWNER] == []


def test_a_removed_directory_takes_its_rules_along(audit: Audit, tmp_path: Path) -> None:
    """The kernel drops a watch with its directory; to remove it then is no error."""
    (tmp_path / "gone").mkdir()
    found = rules(audit, tmp_path / "gone")
    audit.add(found)
    (tmp_path / "gone").rmdir()
    audit.remove(found)
    assert [r for r in audit.rules() if r.key and r.key.owner == OWNER] == []


AGENT = """
import sys, time
from pathlib import Path
from enforcer.edges.audit import Audit
from tests.edges.test_audit import OWNER, rules
audit = Audit(OWNER)
audit.begin()
audit.add(rules(audit, Path(sys.argv[1])))
print("enforcer", flush=True)
time.sleep(60)
"""


def test_what_a_killed_agent_left_is_undone(before: Settings, tmp_path: Path) -> None:
    """While it lives nobody else removes its rules; after a kill -9 they tell the next one what was before."""
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE)
    assert agent.stdout
    assert agent.stdout.readline() == b"enforcer\n"
    with Audit(OWNER) as audit:
        with pytest.raises(HostError, match=f"process {agent.pid}"):
            audit.clear()
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        agent.stdout.close()
        assert settings() != before
        assert audit.clear() == 2
    assert settings() == before


def test_two_agents(before: Settings, tmp_path: Path) -> None:
    """One's end leaves the other's watch and auditing on; the last one to go restores what was there before the first."""
    with Audit(OWNER) as one, Audit(OWNER + "2") as other:
        one.begin()
        one.add(rules(one, tmp_path))
        other.begin()
        other.add(rules(other, tmp_path))
        one.end()
        assert other.status().enabled == 1
        assert [r.key.owner for r in other.rules() if r.key] == [OWNER + "2"] * 2
        other.end()
    assert settings() == before


def test_records_come_to_the_host_only(before: Settings) -> None:
    """In another network namespace the kernel sends none: said at once, not waited for."""
    script = "from enforcer.edges.audit import Records\nRecords()"
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    assert "reach the host's own network namespace only" in done.stderr.splitlines()[-1]


def test_a_flood_is_told_as_a_loss(audit: Audit, records: Records, tmp_path: Path) -> None:
    """A reader that is too slow learns that records are missing; it does not stop the one who makes them."""
    (tmp_path / "f").write_text("x")
    audit.add(rules(audit, tmp_path))
    python("import os, sys\nfor _ in range(20000): os.close(os.open(sys.argv[1], 0))", str(tmp_path / "f"))
    kinds = [kind for kind, _ in records.read(10**6)]
    assert records.overruns > 0 or kinds.count(1300) >= 20000


def test_processes_are_followed() -> None:
    """A fork, an exec and an exit are told of, in this order and with the parent's number; threads are not."""
    events = ProcEvents()
    child = subprocess.Popen(["sh", "-c", "true; exit 0"])
    child.wait(60)
    found, end = [], time.monotonic() + 20
    while (not found or found[-1].what is not What.EXIT) and time.monotonic() < end:
        select.select([events], [], [], 0.1)
        found += [e for e in events.read(1000) if e.pid == child.pid]
    assert [e.what for e in found] == [What.FORK, What.EXEC, What.EXIT]
    assert found[0].parent == os.getpid()
    events.close()
