"""Which inodes stand for a path, on real mounts in a mount namespace of the test's own."""

import json
import os
import subprocess
import sys

import pytest

from enforcer.core.model import Inode
from enforcer.edges import inodes
from enforcer.edges.inodes import Inodes
from enforcer.edges.procfs import Procfs
from enforcer.errors import HostError


def stat_of(path):
    """What stat says, in the kernel's numbering."""
    found = os.stat(path)
    return Inode(os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino)


def in_own_mounts(script, directory):
    """Run Python in a new mount namespace, so that what it mounts is gone with it; its answer as JSON."""
    argv = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", script, str(directory)]
    found = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


PREAMBLE = """
import json, os, subprocess, sys
from enforcer.edges import inodes
from enforcer.edges.inodes import Inodes
from enforcer.edges.procfs import Procfs
def mount(*words):
    subprocess.run(["mount", *words], check=True)
def pair(inode):
    return [inode.device, inode.inode]
def stat_of(path):
    found = os.stat(path)
    return [os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino]
os.chdir(sys.argv[1])
here = sys.argv[1]
"""


def test_a_file_is_its_inode_whatever_path_leads_there(tmp_path):
    """Links, dots and doubled slashes end at the same inode."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    inodes = Inodes()
    expected = stat_of(tmp_path / "dir")
    for path in ("dir", "link", "./link/../dir", "/dir/"):
        assert inodes.inode_of(f"{tmp_path}/{path}") == expected


def test_what_is_not_there_has_no_inode(tmp_path):
    """A path of the policy that does not exist yet is no object."""
    (tmp_path / "file").touch()
    assert Inodes().inode_of(tmp_path / "none") is None
    assert Inodes().inode_of(tmp_path / "file" / "below") is None
    assert Inodes().roots_of(tmp_path / "none") == ()


def test_what_may_not_be_seen_is_said(tmp_path):
    """A loop of links is no missing file: a policy that protects it cannot hold, and the operator must know."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(HostError, match="cannot hold"):
        Inodes().inode_of(tmp_path / "loop")


def test_a_socket_is_a_protected_file_too(tmp_path):
    """Looking at docker.sock opens nothing: a socket cannot be opened."""
    os.mknod(tmp_path / "sock", 0o140600)
    assert Inodes().inode_of(tmp_path / "sock") == stat_of(tmp_path / "sock")


def test_mounts_beneath_a_directory_belong_to_it(tmp_path):
    """A protected directory covers the filesystems mounted in it, and not those beside it that have a like name."""
    script = """
for name in ("data", "data/in", "data2"):
    os.mkdir(name)
mount("-t", "tmpfs", "inner", "data/in")
os.mkdir("data/in/deep")
mount("-t", "tmpfs", "deep", "data/in/deep")
mount("-t", "tmpfs", "beside", "data2")
found = Inodes().roots_of(here + "/data")
expected = [stat_of(p) for p in ("data", "data/in", "data/in/deep")]
print(json.dumps([found[0] and pair(found[0]), sorted(map(pair, found)), expected]))
"""
    first, found, expected = in_own_mounts(PREAMBLE + script, tmp_path)
    assert first == expected[0]
    assert found == sorted(expected)
    assert len({device for device, _ in found}) == 3


def test_a_bound_volume_has_the_stubs_inode_before_and_the_devices_after_the_first_mount(tmp_path):
    """Until Docker mounts it `_data` is an empty directory of its own; both keys stand from the beginning."""
    script = """
os.mkdir("_data"); os.mkdir("device")
stub = stat_of("_data")
before = [pair(i) for i in Inodes().volume(here + "/_data", here + "/device")]
mount("--bind", "device", "_data")
after = [pair(i) for i in Inodes().volume(here + "/_data", here + "/device")]
print(json.dumps([before, after, stub, stat_of("device")]))
"""
    before, after, stub, device = in_own_mounts(PREAMBLE + script, tmp_path)
    assert stub != device
    assert before == [stub, device]
    assert after == [device]


def test_an_overlays_root_is_known_on_the_overlays_own_device(tmp_path):
    """The layer is its upper directory on the disk, and the same inode number on the overlay that a process sees."""
    script = """
mount("-t", "tmpfs", "disk", here)
os.chdir(here)
for name in ("lower", "upper", "work", "merged"):
    os.mkdir(name)
mount("-t", "overlay", "o", "-o", "lowerdir=lower,upperdir=upper,workdir=work", "merged")
stopped = [pair(i) for i in Inodes().layer(here + "/upper", here + "/merged", pid=0)]
running = [pair(i) for i in Inodes().layer(here + "/upper", here + "/merged", pid=1)]
print(json.dumps([stopped, running, stat_of("upper"), stat_of("merged")]))
"""
    stopped, running, upper, merged = in_own_mounts(PREAMBLE + script, tmp_path)
    assert stopped == [upper]
    assert upper in running
    assert merged in running
    assert [merged[0], upper[1]] in running
    assert merged[0] != upper[0]


def test_a_layer_without_a_merged_mount_is_seen_through_its_process(tmp_path):
    """An engine in a mount namespace of its own shows no merged directory: the process's root is asked."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        found = Inodes().layer(str(tmp_path), "/none/merged", pid=process.pid)
    assert found[0] == stat_of(tmp_path)
    assert stat_of("/") in found


def test_a_container_without_any_known_layer_has_no_inodes():
    """Neither an upper directory nor a process: nothing to key."""
    assert Inodes().layer("", "", pid=0) == ()


def test_a_number_that_comes_back_has_another_version(tmp_path):
    """ext4, where CI runs, gives a number again at once; the version tells the two files apart."""
    seen = {}
    for _ in range(200):
        place = tmp_path / "volume"
        place.mkdir()
        found = Inodes().inode_of(place)
        place.rmdir()
        if found.inode in seen:
            break
        seen[found.inode] = found
    assert seen[found.inode] == found  # as names in a set they are one
    assert 0 != seen[found.inode].version != found.version != 0


def test_files_with_names_elsewhere_are_found(tmp_path):
    """Only those: two names within the object are its own affair."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "deep").mkdir(parents=True)
    outside.mkdir()
    for name in ("alone", "twice", "deep/leads"):
        (inside / name).write_text("x")
    os.link(inside / "twice", inside / "deep" / "again")
    os.link(inside / "deep" / "leads", outside / "in")
    assert Inodes().links(inside) == ((stat_of(outside / "in"),), True)


def test_too_many_files_to_look_at_is_said(tmp_path, monkeypatch):
    """The look has a bound, and an object past it is not taken for one without links."""
    monkeypatch.setattr(inodes, "LINK_FILES", 3)
    for n in range(5):
        (tmp_path / str(n)).touch()
    assert Inodes().links(tmp_path) == ((), False)


def test_the_disk_beneath_a_filesystem(tmp_path):
    """The device that a filesystem was mounted from is found, and what it is a partition of."""
    root = Inodes().inode_of("/")
    source = next(m.source for m in Procfs().mounts() if m.point == "/")
    found = Inodes().disks([root.device])
    if source.startswith("/dev/"):
        rdev = os.stat(source).st_rdev
        assert os.major(rdev) << 20 | os.minor(rdev) in found
    assert Inodes().disks([stat_of("/proc").device]) == frozenset()
