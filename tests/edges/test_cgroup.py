"""Cgroups by path and by process, and the refusal to touch those that hold the host's processes."""

import os
import subprocess
from pathlib import Path

import pytest

from enforcer.edges.cgroup import Cgroups
from enforcer.edges.procfs import Procfs
from enforcer.errors import ContainerGone, EdgeError, HostError

ID = "a" * 64
MOUNTINFO = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
)


class FakeHost:
    """A cgroup tree and a /proc of plain files."""

    def __init__(self, directory: Path) -> None:
        self.tree, self.proc = directory / "tree", directory / "proc"
        self.tree.mkdir()
        self.process("self", "/system.slice/enforcer.service")

    def process(self, pid, path):
        """Put a process into a cgroup."""
        at = self.proc / str(pid)
        at.mkdir(parents=True, exist_ok=True)
        (at / "cgroup").write_text(f"12:cpu:/elsewhere\n0::{path}\n")

    def cgroups(self):
        """The edge that looks at it."""
        return Cgroups(self.tree, procfs=Procfs(self.proc))


@pytest.fixture
def host(tmp_path):
    """A host of plain files."""
    return FakeHost(tmp_path)


def test_an_id_is_the_inode_of_the_directory(host):
    """The kernel's cgroup id is the inode number of the cgroup's directory."""
    cgroups = host.cgroups()
    made = cgroups.ensure(f"/docker/{ID}")
    assert made == (host.tree / "docker" / ID).stat().st_ino == cgroups.id_of(f"/docker/{ID}")


def test_making_twice_is_making_once(host):
    """Ensure means there afterwards, not new."""
    assert host.cgroups().ensure("/docker") == host.cgroups().ensure("/docker")


def test_a_missing_cgroup_is_a_container_gone(host):
    """The container ended before it was looked at."""
    with pytest.raises(ContainerGone):
        host.cgroups().id_of(f"/docker/{ID}")


def test_a_process_is_in_the_cgroup_of_its_unified_line(host):
    """Only the line that starts with 0:: is cgroup v2; on a hybrid host the others differ."""
    host.process(7, f"/docker/{ID}")
    assert host.cgroups().of_pid(7) == f"/docker/{ID}"


def test_an_ended_process_is_a_container_gone(host):
    """Its directory in /proc is gone."""
    with pytest.raises(ContainerGone):
        host.cgroups().of_pid(8)


def test_a_removed_cgroup_is_a_container_gone(host):
    """The kernel marks the path of a cgroup that was removed under a dying process."""
    host.process(7, f"/docker/{ID} (deleted)")
    with pytest.raises(ContainerGone):
        host.cgroups().of_pid(7)


def test_a_host_without_cgroup_v2_says_so(tmp_path):
    """What is missing, and what to do, in one line."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mountinfo").write_text(MOUNTINFO)
    with pytest.raises(HostError, match="mount -t cgroup2"):
        Cgroups(procfs=Procfs(tmp_path))


@pytest.mark.parametrize("place", ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"])
def test_the_hierarchy_is_found_where_it_is_mounted(tmp_path, place):
    """Unified hosts have it at /sys/fs/cgroup, hybrid ones below."""
    (tmp_path / "self").mkdir()
    line = f"41 31 0:38 / {place} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
    (tmp_path / "self" / "mountinfo").write_text(MOUNTINFO + line)
    assert Cgroups(procfs=Procfs(tmp_path)).root == Path(place)


def test_parents_are_named_once(host):
    """Two containers of one engine share the cgroup to which a program for both is attached."""
    assert host.cgroups().parents([f"/docker/{ID}", "/docker/b", "/x.slice/docker-c.scope"]) == ("/docker", "/x.slice")


@pytest.mark.parametrize(
    "path", ["/", "", "/system.slice", "/system.slice/enforcer.service", "/system.slice/", "//", "/./system.slice"]
)
def test_nothing_is_attached_where_host_processes_are(host, path):
    """The root, the agent's own cgroup and those above it are refused: the agent cannot govern the host by mistake."""
    host.cgroups().ensure("/system.slice/enforcer.service")
    with pytest.raises(HostError, match="host processes"):
        host.cgroups().attachable(path)


def test_a_link_to_the_root_is_refused(host):
    """Not even by another name."""
    (host.tree / "innocent").symlink_to(host.tree)
    with pytest.raises((HostError, EdgeError, ContainerGone)):
        host.cgroups().attachable("/innocent")


def test_a_path_above_the_agents_namespace_is_refused(host):
    """In a cgroup namespace of its own an agent sees paths with dots: it cannot know where they lead."""
    with pytest.raises(HostError, match="cgroup namespace"):
        host.cgroups().id_of("/../../docker")


def test_an_agent_in_the_root_cgroup_may_attach_to_containers(host):
    """Where everything of the host is in the root cgroup, only the root is refused."""
    host.process("self", "/")
    host.cgroups().ensure("/docker")
    descriptor = host.cgroups().attachable("/docker")
    try:
        assert os.fstat(descriptor).st_ino == host.cgroups().id_of("/docker")
    finally:
        os.close(descriptor)


def test_a_cgroup_beside_the_agents_with_a_like_name_may_be_attached_to(host):
    """Names are compared whole: /system.slice2 is not above /system.slice/…"""
    host.process("self", "/docker-agents/x")
    host.cgroups().ensure("/docker")
    os.close(host.cgroups().attachable("/docker"))


def test_attaching_to_a_cgroup_that_is_gone(host):
    """The container ended first."""
    with pytest.raises(ContainerGone):
        host.cgroups().attachable(f"/docker/{ID}")


@pytest.fixture
def scratch():
    """The path of a cgroup in the kernel's own tree, removed afterwards."""
    cgroups, path = Cgroups(), f"/enforcer-test-{os.getpid()}"
    yield path
    cgroups.remove(path)


def test_a_real_cgroup_with_a_process_in_it(scratch):
    """In the kernel's own tree: a process is found in the cgroup that holds it, which stays until the process ends."""
    cgroups = Cgroups()
    made = cgroups.ensure(scratch)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        (cgroups.root / scratch.lstrip("/") / "cgroup.procs").write_text(str(process.pid))
        assert cgroups.of_pid(process.pid) == scratch
        assert cgroups.id_of(cgroups.of_pid(process.pid)) == made
        with pytest.raises(EdgeError, match="processes must end first"):
            cgroups.remove(scratch)
    cgroups.remove(scratch)
    cgroups.remove(scratch)
    with pytest.raises(ContainerGone):
        cgroups.id_of(scratch)


def test_the_real_root_is_refused():
    """On the machine that runs the tests."""
    with pytest.raises(HostError):
        Cgroups().attachable("/")


def test_processes_are_those_of_a_cgroup_and_beneath(host):
    """A container's own cgroups count as it; one that holds threads only, or is gone, has none to tell."""
    for path, pids in (("docker/a", "1\n2\n"), ("docker/a/deeper", "3\n"), ("docker/b", "4\n")):
        (host.tree / path).mkdir(parents=True, exist_ok=True)
        (host.tree / path / "cgroup.procs").write_text(pids)
    (host.tree / "docker/a/threads").mkdir()
    assert host.cgroups().processes("/docker/a") == (1, 2, 3)
    assert host.cgroups().processes("/docker/gone") == ()
