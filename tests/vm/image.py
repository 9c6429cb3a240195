"""Builds what a machine boots: Debian's own kernel, a 2 MB initramfs and an ext4 root, all from Debian packages.

The packages are unpacked, not configured (mmdebstrap's ``extract`` variant): that takes seconds, and no maintainer
script has to run. The few results of those scripts that a test needs are made here: users, alternatives, caches, byte
code.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import MachineError, require

GUEST = Path(__file__).parent / "guest"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
PACKAGES = (
    KERNEL_PACKAGE,
    *(
        "bash",
        "dash",
        "coreutils",
        "util-linux",
        "mount",
        "grep",
        "sed",
        "mawk",
        "tar",
        "gzip",
        "findutils",
        "hostname",
    ),
    *("base-files", "base-passwd", "libc-bin", "kmod", "procps", "iproute2", "iptables", "nftables", "ca-certificates"),
    # python3-yaml: where a host has it, pip finds PyYAML there and leaves it out of the virtual environment.
    *("python3", "python3-distutils", "python3-bpfcc", "python3-yaml", "libbpf1"),
    *("docker.io", "apparmor", "busybox-static", "gcc", "libc6-dev"),
)
UNUSED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/icons",
    "var/lib/dpkg/info",
)
ALTERNATIVES = {
    "iptables": "iptables-nft",
    "iptables-save": "iptables-nft-save",
    "iptables-restore": "iptables-nft-restore",
}
BOOT_MODULES = ("virtio_pci", "virtio_blk")
ROOT_SIZE = "4G"  # sparse; the room above the packages is for what tests write
TOOLS = ("mmdebstrap", "mkfs.ext4", "apt-get", "apt-config", "chroot")


@dataclass(frozen=True)
class Image:
    """A bootable machine on disk. ``release`` is the kernel's ``uname -r``; ``root`` is never written to."""

    kernel: Path
    initramfs: Path
    root: Path
    release: str

    @property
    def types(self) -> Path:
        """The kernel's own description of its types, once a boot has been asked for it."""
        return self.root.with_name("types")


def build(cache: Path) -> Image:
    """The image of the current recipe, from ``cache`` if a whole one is there. Needs root. Raises ``MachineError``."""
    require(*TOOLS)
    if os.geteuid() != 0:
        raise MachineError("the VM image can only be built by root; run as root")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        # Inherited, so that what a killed build started still holds the lock while it goes on writing.
        os.set_inheritable(lock.fileno(), True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = cache / recipe()
        if not whole.exists():
            for stale in cache.glob("*/"):
                _remove(stale)
            _build_into(whole, partial=Path(tempfile.mkdtemp(prefix="partial-", dir=cache)))
    return Image(whole / "vmlinuz", whole / "initramfs", whole / "root.ext4", (whole / "release").read_text())


def recipe() -> str:
    """A name for everything that the image depends on and that this repository or the host's release decides."""
    parts = (Path(__file__).read_bytes(), (GUEST / "initramfs-init").read_bytes(), platform.python_version().encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _build_into(whole: Path, *, partial: Path) -> None:
    """Build in ``partial``; ``whole`` appears by a rename, so that it is either complete or not there."""
    try:
        tree = partial / "tree"
        unpack_packages(tree, PACKAGES)
        _finish_tree(tree)
        release = next((tree / "lib/modules").iterdir()).name
        _call("chroot", tree, "depmod", "-a", release)
        shutil.copy(tree / f"boot/vmlinuz-{release}", partial / "vmlinuz")
        (partial / "release").write_text(release)
        _make_initramfs(tree, release=release, to=partial / "initramfs")
        make_filesystem(tree, to=partial / "root.ext4", size=ROOT_SIZE)
        _remove(tree)
        partial.rename(whole)
    finally:
        _remove(partial)


def unpack_packages(tree: Path, packages: tuple[str, ...]) -> None:
    """Fetch and unpack with the host's own mirrors and the host's own settings for reaching them. Needs root."""
    sources = _debian_sources()
    if not sources:
        _call("apt-get", "-qq", "update")
        sources = _debian_sources()
    if not sources:
        raise MachineError(
            "apt has no Debian mirror on this host, and the VM image is made of Debian packages; add one"
        )
    acquire = [line for line in _call("apt-config", "dump", "Acquire").splitlines() if not line.endswith(' "";')]
    options = [f"--aptopt={line}" for line in (*acquire, 'APT::Install-Recommends "false"')]
    hook = "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr"
    command = ("mmdebstrap", "--quiet", "--mode=root", "--variant=extract", hook, *options)
    _call(*command, f"--include={','.join(packages)}", "-", tree, "-", given=sources)


def _debian_sources() -> str:
    """The host's own lines for the host's own Debian release; empty if apt has not read any mirror's index yet."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    fields = "$(CODENAME) deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    known = _call("apt-get", "indextargets", "--format", fields, "Created-By: Packages", "Origin: Debian")
    return "\n".join(line.split(" ", 1)[1] for line in known.splitlines() if codename and line.startswith(codename))


def _finish_tree(tree: Path) -> None:
    """Do what the maintainer scripts would have done, as far as it is used here."""
    for name in ("passwd", "group"):
        shutil.copy(tree / f"usr/share/base-passwd/{name}.master", tree / f"etc/{name}")
    with (tree / "etc/group").open("a") as group:
        group.write("docker:x:999:\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost vm\n::1 localhost\n")
    (tree / "etc/hostname").write_text("vm\n")
    for name, target in ALTERNATIVES.items():
        (tree / f"usr/sbin/{name}").symlink_to(target)
        (tree / f"usr/sbin/{name.replace('ip', 'ip6', 1)}").symlink_to(target.replace("ip", "ip6", 1))
    (tree / "usr/bin/awk").symlink_to("mawk")
    for path in UNUSED:
        _remove(tree / path)
    for name in ("mnt", "media", "opt", "srv", "vm"):
        (tree / name).mkdir(exist_ok=True)
    _call("chroot", tree, "ldconfig")
    # Byte code is made here because compiling under emulation would cost each boot seconds.
    compiled = [tree / "usr/lib/python3/dist-packages", tree / "usr/lib/python3.11"]
    skip = r"/(test|lib2to3|idlelib|dist-packages/.*/tests)/"
    _call(sys.executable, "-m", "compileall", "-q", "-j", "0", "-x", skip, "-s", tree, "-p", "/", *compiled)


def _make_initramfs(tree: Path, *, release: str, to: Path) -> None:
    """Busybox, the modules that reach the disks, in loading order, and an init that goes over to the root."""
    small = to.with_suffix(".tree")
    (small / "bin").mkdir(parents=True)
    shutil.copy(tree / "usr/bin/busybox", small / "bin/busybox")
    shutil.copy(GUEST / "initramfs-init", small / "init")
    (small / "init").chmod(0o755)
    listed = _call("chroot", tree, "modprobe", "-S", release, "-a", "--show-depends", *BOOT_MODULES)
    modules = dict.fromkeys(line.split()[1].lstrip("/") for line in listed.splitlines() if line.startswith("insmod"))
    (small / "modules").mkdir()
    for number, module in enumerate(modules):
        shutil.copy(tree / module, small / f"modules/{number:02}-{Path(module).name}")
    names = "\n".join(str(path.relative_to(small)) for path in sorted(small.rglob("*")))
    packed = subprocess.run(
        [tree / "usr/bin/busybox", "cpio", "-o", "-H", "newc"],
        cwd=small,
        input=names.encode(),
        capture_output=True,
        check=True,
    )
    to.write_bytes(gzip.compress(packed.stdout, compresslevel=1))
    _remove(small)


def make_filesystem(tree: Path, *, to: Path, size: str) -> None:
    """An ext4 file system with the contents of ``tree``. ``size`` as mkfs takes it; the file is sparse."""
    features = "^has_journal,^metadata_csum"  # thrown away after the run, and checksums are dear under emulation
    _call("mkfs.ext4", "-q", "-F", "-O", features, "-E", "lazy_itable_init=1", "-m", "0", "-d", tree, to, size)


def _call(*command: str | Path, given: str = "") -> str:
    """Run a program of the host and return what it prints. Raises ``MachineError`` with its complaint."""
    # close_fds: what is started holds the lock of build().
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, close_fds=False)
    if done.returncode:
        raise MachineError(
            f"{command[0]} failed ({done.returncode}) while building the VM image:\n{done.stderr[-3000:]}"
        )
    return done.stdout


def _remove(path: Path) -> None:
    """Delete a tree, but nothing that is mounted in it."""
    subprocess.run(["rm", "-rf", "--one-file-system", path], check=True)
