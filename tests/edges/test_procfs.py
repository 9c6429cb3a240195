"""What /proc says, from recorded lines and from this very process."""

import os
import socket

import pytest

from enforcer.edges.procfs import Mount, Procfs, host_addresses, overlay_upper, s_dev
from enforcer.errors import ContainerGone, EdgeError

OVERLAY = (
    "1 0 0:55 / / rw,relatime master:3 - overlay overlay rw,lowerdir=/l/A:/l/B,upperdir=/d/overlay2/x/diff,workdir=/w\n"
    "2 1 8:17 /volumes/a\\040b/_data /app/data\\011x rw - ext4 /dev/sdb1 rw\n"
)


@pytest.fixture
def proc(tmp_path):
    """A /proc with one process in a container."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "mountinfo").write_text(OVERLAY)
    return tmp_path


def test_a_mount_has_the_kernels_device_and_plain_paths(proc):
    """Device numbers are the kernel's; blanks that mountinfo escapes are blanks again."""
    root, data = Procfs(proc).mounts(7)
    assert (root.device, root.kind, root.point) == (55, "overlay", "/")
    assert data == Mount(2, 8 << 20 | 17, "/volumes/a b/_data", "/app/data\tx", "ext4", "rw", "/dev/sdb1")


def test_the_upper_directory_of_a_container_is_in_its_root_mount(proc):
    """For engines that do not tell where the layer is."""
    assert overlay_upper(Procfs(proc).mounts(7)) == "/d/overlay2/x/diff"


def test_a_root_that_is_no_overlay_has_no_upper_directory(proc):
    """The host's own root, or a container of the vfs driver."""
    (proc / "7" / "mountinfo").write_text(OVERLAY.replace("- overlay", "- ext4"))
    assert overlay_upper(Procfs(proc).mounts(7)) == ""


def test_an_ended_process_is_a_container_gone(proc):
    """Between the question for the pid and this one the container may end."""
    with pytest.raises(ContainerGone):
        Procfs(proc).mounts(8)


def test_a_process_without_a_unified_cgroup_is_an_error_with_a_remedy(proc):
    """On a host with cgroup v1 only."""
    (proc / "7" / "cgroup").write_text("3:cpu:/docker/x\n")
    with pytest.raises(EdgeError, match="mount cgroup2"):
        Procfs(proc).cgroup(7)


def test_this_processs_mounts_have_the_device_that_stat_gives():
    """The real /proc: the root's device is what stat says, in the kernel's numbering."""
    roots = [m for m in Procfs().mounts() if m.point == "/"]
    assert roots[-1].device == s_dev(os.stat("/").st_dev)


def test_the_hosts_own_addresses_have_no_scope():
    """The loopback's addresses, textual, without interface names and hardware addresses."""
    found = host_addresses()["lo"]
    assert "127.0.0.1" in found
    for address in (a for addresses in host_addresses().values() for a in addresses):
        socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def test_sockets_are_told_by_their_inodes():
    """What a process holds open, by the number that the kernel lists a socket with; a file is none."""
    with socket.socket() as held, open("/proc/self/stat") as file:
        found = Procfs().sockets(os.getpid())
        assert found[os.fstat(held.fileno()).st_ino] == held.fileno()
        assert os.fstat(file.fileno()).st_ino not in found


def test_a_process_is_in_a_network_namespace():
    """By the inode that nsfs gives it."""
    assert Procfs().network(os.getpid()) == os.stat("/proc/self/ns/net").st_ino


def test_a_process_that_is_gone_holds_nothing_and_is_nowhere(tmp_path):
    """It ended while it was being looked at."""
    assert (Procfs(tmp_path).sockets(7), Procfs(tmp_path).network(7)) == ({}, 0)
