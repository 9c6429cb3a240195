"""Subjects come, are armed and go as containers do; counts stay exact when records cannot be kept."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.image import State, Subject, Table, docker_id
from enforcer.core.model import Hook, Verdict
from enforcer.core.plan import Delete, Put
from tests.kernel.conftest import OFFENDER, World
from tests.scenarios import policy


@pytest.fixture(scope="module")
def enforced(world: World) -> World:
    """The world with the table's policy in force."""
    world.enforce(policy())
    if not world.probes.holds:
        world.attach()
    return world


@pytest.fixture
def born(enforced: World) -> Iterator[tuple[World, str, str]]:
    """A new Docker id and the path of the cgroup that a container of that id will have; removed at the end."""
    identity = secrets.token_hex(32)
    path = f"{enforced.parent}/{identity}"
    yield enforced, identity, path
    enforced.cgroups.remove(path)


def start(world: World, path: str, *command: str) -> int:
    """Run a command in a cgroup; its exit status."""
    procs = world.cgroups.root / path.lstrip("/") / "cgroup.procs"
    script = f'echo 0 > {procs} && exec "$@"'
    return subprocess.run(["sh", "-c", script, "sh", *command], timeout=60, check=False, capture_output=True).returncode


def test_prepared_container_is_known_at_birth(born: tuple[World, str, str]) -> None:
    """A cgroup with a prepared Docker id is that subject, pending, the moment it exists, and its birth is on record."""
    world, identity, path = born
    world.maps.apply(Put(Table.PREPARED, docker_id(identity), 4711))
    cgroup = world.cgroups.ensure(path)
    assert world.maps.subject(cgroup) == Subject(4711, State.PENDING, cgroup)
    births = [r for r in world.read() if r.hook == Hook.BORN and bytes(r.path[: abi.DOCKER_ID]).decode() == identity]
    assert [(r.subject, r.cgroup_id) for r in births] == [(4711, cgroup)]
    world.maps.apply(Delete(Table.PREPARED, docker_id(identity)))


def test_unprepared_container_is_unnamed(born: tuple[World, str, str]) -> None:
    """A Docker cgroup that nobody prepared is the unnamed subject: it is governed, and granted nothing."""
    world, _, path = born
    cgroup = world.cgroups.ensure(path)
    assert world.maps.subject(cgroup) == Subject(Reserved.UNNAMED, State.PENDING, cgroup)


@pytest.mark.parametrize("name", ["docker-{0}.scope", "{0}"])
def test_both_cgroup_drivers(enforced: World, name: str) -> None:
    """The id is found under cgroupfs (the id itself) and under systemd (docker-<id>.scope)."""
    identity = secrets.token_hex(32)
    enforced.maps.apply(Put(Table.PREPARED, docker_id(identity), 4712))
    path = f"{enforced.parent}/{name.format(identity)}"
    try:
        cgroup = enforced.cgroups.ensure(path)
        assert enforced.maps.subject(cgroup) == Subject(4712, State.PENDING, cgroup)
    finally:
        enforced.cgroups.remove(path)
        enforced.maps.apply(Delete(Table.PREPARED, docker_id(identity)))


@pytest.mark.parametrize(
    "name", ["user.slice", "a" * 63, "b" * 65, "session-" + "1" * 50 + ".scope", "docker-" + "z" * 64 + ".scope"]
)
def test_host_cgroups_are_no_subjects(enforced: World, name: str) -> None:
    """A cgroup whose name is no Docker id never becomes a subject."""
    path = f"{enforced.parent}/{name}"
    try:
        assert enforced.maps.subject(enforced.cgroups.ensure(path)) is None
    finally:
        enforced.cgroups.remove(path)


def test_armed_by_the_first_program_outside_the_host(born: tuple[World, str, str]) -> None:
    """runc's own programs in the host's mount namespace do not arm a container; its first own program does."""
    world, _, path = born
    cgroup = world.cgroups.ensure(path)
    assert start(world, path, "true") == 0
    assert world.maps.subject(cgroup) == Subject(Reserved.UNNAMED, State.PENDING, cgroup)
    assert start(world, path, "unshare", "--mount", "true") == 0
    assert world.maps.subject(cgroup) == Subject(Reserved.UNNAMED, State.ARMED, cgroup)


def test_container_prepared_late_is_known_at_its_first_program(born: tuple[World, str, str]) -> None:
    """An agent that is slower than the engine has until the first program starts: then the container gets its name."""
    world, identity, path = born
    cgroup = world.cgroups.ensure(path)
    assert world.maps.subject(cgroup) == Subject(Reserved.UNNAMED, State.PENDING, cgroup)
    world.maps.apply(Put(Table.PREPARED, docker_id(identity), 4713))
    assert start(world, path, "unshare", "--mount", "true") == 0
    assert world.maps.subject(cgroup) == Subject(4713, State.ARMED, cgroup)
    world.maps.apply(Delete(Table.PREPARED, docker_id(identity)))


def test_first_instruction_is_judged(born: tuple[World, str, str]) -> None:
    """What a container's first program opens is refused already: unnamed, it may touch no protected object."""
    world, _, path = born
    world.cgroups.ensure(path)
    _, code = world.stopped(Verdict.DENIED)
    command = ["unshare", "--mount", sys.executable, "-I", "-S", str(OFFENDER), "-", "read", world.file("alpha-data")]
    assert start(world, path, *command) in (code, 128 - code)


def test_pending_container_is_not_judged(born: tuple[World, str, str]) -> None:
    """While runc prepares a container (no program outside the host's mounts yet) it may open what it mounts."""
    world, _, path = born
    world.cgroups.ensure(path)
    command = [sys.executable, "-I", "-S", str(OFFENDER), "-", "read", world.file("alpha-data")]
    assert start(world, path, *command) == 0


def test_cgroup_that_goes_is_forgotten(enforced: World) -> None:
    """When a container's cgroup is removed, its subject goes with it."""
    path = f"{enforced.parent}/{secrets.token_hex(32)}"
    cgroup = enforced.cgroups.ensure(path)
    assert enforced.maps.subject(cgroup) is not None
    enforced.cgroups.remove(path)
    assert enforced.maps.subject(cgroup) is None


def test_host_processes_are_never_governed(enforced: World) -> None:
    """A process outside every container's cgroup opens protected files freely, and nothing is counted."""
    before = enforced.maps.counts()
    command = [sys.executable, "-I", "-S", str(OFFENDER), "-", "read", enforced.file("alpha-data")]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    assert enforced.maps.counts() == before


def test_generation_switches_at_once(enforced: World) -> None:
    """A new policy answers from its publication on, and its number stands on the record."""
    stricter = policy(b"version: 1\nmode: enforce\ndata:\n  protected: [{volume: 'alpha-*'}]\n")
    image = enforced.enforce(stricter)
    try:
        seen = enforced.do("alpha", "read", enforced.file("alpha-data"))
        assert [record.generation for record in seen.records] == [image.generation]
        assert enforced.do("alpha", "read", enforced.file("beta-data")).code == 0
    finally:
        enforced.enforce(policy())


def test_another_hierarchys_cgroup_of_the_same_id_takes_nothing_along(born: tuple[World, str, str]) -> None:
    """Each hierarchy counts its ids anew: where there are several, one that goes elsewhere leaves ours what it is."""
    world, _, _ = born
    old = Path("/sys/fs/cgroup/pids")
    if not old.is_dir():
        assert world.cgroups.root == Path("/sys/fs/cgroup")  # version 2 alone: nothing to mistake
        return
    place = old / f"enforcer-test-{secrets.token_hex(4)}"
    place.mkdir()
    number = place.stat().st_ino
    known = Subject(4714, State.ARMED, number)
    world.maps.apply(Put(Table.CGROUPS, number, known))
    try:
        place.rmdir()
        assert world.maps.subject(number) == known
    finally:
        world.maps.apply(Delete(Table.CGROUPS, number))
