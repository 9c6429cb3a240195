"""The table of tests/scenarios.py, on processes in scratch cgroups, under real probes."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from enforcer import abi
from enforcer.core.model import Access, DataObject, Hook, Kind, Mechanism, ObjectId, Verdict
from enforcer.edges.inodes import Inodes
from enforcer.runtime.records import address_of, path_of
from tests.kernel.conftest import World
from tests.scenarios import CHANGES, FILES, NETS, FileCase, NetCase, policy, volume


@pytest.fixture(scope="module")
def enforced(world: World) -> World:
    """The world with the table's policy in force."""
    world.enforce(policy())
    if not world.probes.holds:
        world.attach()
    return world


@pytest.mark.parametrize("case", FILES, ids=lambda c: c.name)
def test_files(enforced: World, case: FileCase) -> None:
    """Each deed ends as the table says, is counted once and recorded once, with who, what and why."""
    verdict, code = enforced.stopped(case.verdict)
    seen = enforced.do(case.who, case.deed, enforced.file(case.where))
    assert seen.code == code, seen.said
    subject, number = enforced.subject(case.who), enforced.ids.object(volume(case.where))
    if case.verdict is Verdict.ALLOWED:
        assert (seen.counts, seen.records) == ({}, [])
        return
    assert seen.counts == {(subject, number, 0, abi.DATA, case.missing, verdict, Hook.OPEN): 1}
    [record] = seen.records
    assert (record.subject, record.object, record.verdict) == (subject, number, verdict)
    assert (Access(record.asked), record.generation) == (case.asked, enforced.generation)
    assert record.mechanism == enforced.mechanism
    assert path_of(record) == (("", False) if case.deed == "list" else ("f", False))


@pytest.mark.parametrize("case", CHANGES, ids=lambda c: c.name)
def test_changes(enforced: World, case: FileCase) -> None:
    """Each change is refused before the fact, or seen in monitor mode; where nothing holds changes, that is what is said."""
    if enforced.held("change") is None:
        assert enforced.mechanism is Mechanism.TRACEPOINT
        return
    if case.verdict is Verdict.OBSERVED and case.deed in ("unlink", "rmdir", "removexattr"):
        enforced.lay(case.where)  # in monitor mode it is really gone
    seen = enforced.do(case.who, case.deed, enforced.file(case.where))
    assert seen.code == (77 if case.verdict is Verdict.DENIED else 0), seen.said
    subject, number = enforced.subject(case.who), enforced.ids.object(volume(case.where))
    key = (subject, number, 0, abi.DATA, case.missing, case.verdict, case.hook)
    assert seen.counts.get(key) == 1 or (case.verdict is Verdict.OBSERVED and seen.counts[key])
    record = next(r for r in seen.records if r.hook == case.hook)
    assert (record.mechanism, record.asked, record.granted & Access.WRITE) == (enforced.mechanism, case.asked, 0)
    assert path_of(record)[0].split("/")[-1] in ("f", "new", "f.d", "empty", "f.moved")
    if case.verdict is Verdict.DENIED:
        assert (len(seen.counts), len(seen.records)) == (1, 1)


def test_changes_to_ones_own(enforced: World) -> None:
    """Every change is free where the row grants writing, and leaves no trace in counts and records."""
    seen = enforced.do("alpha", "changes", enforced.file("alpha-data"))
    assert (seen.code, seen.counts, seen.records) == (0, {}, []), seen.said


@pytest.mark.parametrize("case", NETS, ids=lambda c: c.name)
def test_connections(enforced: World, case: NetCase) -> None:
    """Each connection ends as the table says, with its exact destination on record; nothing is sent anywhere."""
    seen = enforced.do(case.who, case.deed, case.address, str(case.port))
    assert seen.code == (77 if case.verdict is Verdict.DENIED else 0), seen.said
    if case.verdict is Verdict.ALLOWED:
        assert (seen.counts, seen.records) == ({}, [])
        return
    assert sum(seen.counts.values()) == 1
    [record] = seen.records
    assert (record.subject, record.verdict) == (enforced.subject(case.who), case.verdict)
    assert address_of(record) == case.address.removeprefix("::ffff:")
    assert (record.port, record.protocol, record.class_) == (case.port, case.protocol, abi.EXTERNAL)


@pytest.mark.parametrize("deed", ["unix", "socketcall"])
@pytest.mark.parametrize(
    ("where", "verdict"),
    [("alpha-data", Verdict.ALLOWED), ("alpha-config", Verdict.DENIED), ("beta-data", Verdict.DENIED)],
)
def test_unix_sockets(enforced: World, where: str, verdict: Verdict, deed: str) -> None:
    """A socket that is a file in a data object is reached only by who may write there, as with docker.sock."""
    final, code = enforced.stopped(verdict)
    seen = enforced.do("alpha", deed, enforced.file(where))
    assert seen.code == code, seen.said
    wanted = {
        (
            enforced.subject("alpha"),
            enforced.ids.object(volume(where)),
            0,
            abi.DATA,
            Access.CONNECT,
            final,
            Hook.UNIX,
        ): 1
    }
    assert seen.counts == ({} if verdict is Verdict.ALLOWED else wanted)


@pytest.mark.parametrize("how", ["open", "openat2", "create"])
def test_refused_by_a_read_only_mount(enforced: World, how: str) -> None:
    """A write that a read-only mount refuses is put on record with its path, for the agent to judge; nothing is counted yet."""
    seen = enforced.do("alpha", "read-only-mount", enforced.file("alpha-config"), how)
    assert seen.code == 1, seen.said
    [record] = [r for r in seen.records if r.hook == Hook.REFUSED and r.error == -errno.EROFS]
    assert seen.counts == {}
    assert bytes(record.path[: record.path_len]).rstrip(b"\0") == (b"/mnt/new" if how == "create" else b"/mnt/f")
    assert record.subject == enforced.subject("alpha")
    assert Access(record.asked) == (Access.READ | Access.WRITE if how == "create" else Access.WRITE)


def test_a_volume_inside_a_protected_path_is_still_itself(enforced: World) -> None:
    """A mount of the directory around a volume does not make the volume's files that directory's: the nearest object answers."""
    outer = ObjectId(Kind.PATH, str(enforced.directory))
    facts, place = enforced.facts, enforced.directory
    inode = Inodes().inode_of(place)
    assert inode
    (place / "g").write_text("of the directory itself")
    around = f"""
version: 1
mode: enforce
containers: {{alpha: {{name: alpha}}}}
data:
  protected: [{{volume: "beta-*"}}, {{path: {place}}}]
  rules: [{{who: alpha, read-only: [{{path: {place}}}]}}]
"""
    enforced.facts = replace(facts, objects={**facts.objects, outer: DataObject(outer, (inode,), str(place))})
    try:
        enforced.enforce(policy(around.encode()))
        assert enforced.do("alpha", "bind", str(place / "g")).code == 0
        verdict, code = enforced.stopped(Verdict.DENIED)
        seen = enforced.do("alpha", "bind-around", enforced.file("beta-data"))
        assert seen.code == code, seen.said
        [record] = seen.records
        assert (record.object, record.verdict) == (enforced.ids.object(volume("beta-data")), verdict)
    finally:
        enforced.facts = facts
        enforced.enforce(policy())
