"""Every way to another's data that is tried, and what each mechanism makes of it.

What stands here is what the README's table shows; the tests hold it to what happens, exactly: a way that ends better than
declared fails as well.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from enforcer.core.model import Mechanism


class Word(enum.StrEnum):
    """What became of a way."""

    STOPPED = "stopped"
    """Refused before the fact, and counted."""
    KILLED = "killed"
    """The process was killed before it had anything, and that was counted."""
    LATE = "killed, too late"
    """The process was killed when it had what it wanted; counted."""
    SEEN = "seen"
    """It had what it wanted; that was counted and recorded."""
    NOT_SEEN = "not seen"
    """It had what it wanted, and nothing was counted."""
    VM_ONLY = "(VM only)"
    """This machine gives no container what the way needs; under the other mechanisms it is tried in the VM."""


class Proof(enum.Enum):
    """What shows that a way has led to its end."""

    BYTES = "the secret's bytes"
    CHANGE = "another state of the victim, seen from the host"
    WORD = "what the call alone can say"


STOPPED, KILLED, LATE, SEEN, NOT_SEEN, VM_ONLY = Word
PREVENTION = (Mechanism.LSM, Mechanism.FMOD_RET)


@dataclass(frozen=True)
class Way:
    """A way of attacker.c (``name``) in a container of ground.py (``place``). ``row``: its line in the README.

    ``held``: what becomes of it under ``lsm`` and under ``fmod_ret``; ``traced``: under ``tracepoint``.
    """

    name: str
    place: str
    row: str
    held: Word
    traced: Word
    proof: Proof = Proof.BYTES

    @property
    def key(self) -> str:
        """Its name in results."""
        return f"{self.place}/{self.name}"

    def expected(self, mechanism: Mechanism) -> Word:
        """The declared word."""
        return self.held if mechanism in PREVENTION else self.traced


def _all(place: str, row: str, names: str, words: tuple[Word, Word], proof: Proof = Proof.BYTES) -> tuple[Way, ...]:
    """Ways that share a row: they need the same and end alike."""
    return tuple(Way(name, place, row, *words, proof) for name in names.split())


HELD = (STOPPED, KILLED)
"""Refused by what can refuse; the rest kills when the call returns."""
PREVENTED = (STOPPED, NOT_SEEN)
"""What returns no descriptor is out of sight of a mechanism that looks at descriptors."""
NOBODY = (NOT_SEEN, NOT_SEEN)

STRANGER = (
    *_all("stranger", "open, openat, openat2", "open openat openat2", HELD),
    *_all(
        "stranger",
        "openat2 with each RESOLVE flag",
        "no-xdev no-magiclinks no-symlinks beneath in-root cached",
        HELD,
    ),
    *_all("stranger", "open by the 32-bit system call", "int80", HELD),
    *_all("stranger", "open for writing", "write", HELD, Proof.CHANGE),
    *_all("stranger", "creat, O_TRUNC", "creat o-trunc", (STOPPED, LATE), Proof.CHANGE),
    *_all("stranger", "a new file (O_CREAT)", "create", (STOPPED, LATE), Proof.CHANGE),
    *_all("stranger", "a nameless file (O_TMPFILE)", "o-tmpfile", HELD, Proof.WORD),
    *_all("stranger", "listing a directory", "list", HELD, Proof.WORD),
    *_all("stranger", "O_PATH, then reopened through /proc/self/fd", "reopen", HELD),
    *_all("stranger", "symbolic link", "symlink", HELD),
    *_all("stranger", "hard link made before the policy, outside the volume", "link-before", HELD),
    *_all("stranger", "hard link made after it, from a mount of the parent", "link-after", HELD),
    *_all("stranger", "mount of a parent directory", "parent", HELD),
    *_all("stranger", "mount of a directory inside (volume-subpath by hand: the engine has none)", "subpath", HELD),
    *_all("stranger", "symlink-swap race, rename race", "symlink-race rename-race", HELD),
    *_all("stranger", "a second thread reads the descriptor", "thread", (STOPPED, LATE)),
    *_all("stranger", "a path of 4,096 bytes", "long-path", HELD),
    *_all("stranger", "300 directories deep; 600, past what is walked", "deep-300 deep-600", HELD),
    *_all("stranger", "names with newlines, escape sequences, invalid UTF-8", "newline escape bad-utf8", HELD),
    *_all("stranger", "a volume made anew with the inode of one that is gone", "inode-returns", HELD),
    *_all("stranger", "exec, execveat of a program in the volume", "exec execveat", HELD, Proof.WORD),
    *_all("stranger", "that program as a script's interpreter", "script-program", HELD, Proof.WORD),
    *_all("stranger", "that program as another's ELF interpreter", "elf-program", PREVENTED, Proof.WORD),
    *_all("stranger", "a program in a memfd, which opens", "memfd", HELD),
    *_all("stranger", "connect to docker.sock", "docker.sock", HELD, Proof.WORD),
    *_all("stranger", "connect a datagram socket to one in the volume", "datagram-conn", HELD, Proof.WORD),
    *_all("stranger", "a datagram to a socket in the volume", "datagram", PREVENTED, Proof.WORD),
    *_all("stranger", "descriptor over SCM_RIGHTS, read or mapped", "scm scm-mmap", PREVENTED),
    *_all("stranger", "directory descriptor over SCM_RIGHTS, openat from it", "scm-directory", HELD),
    *_all("stranger", "stat (size, times, owner)", "stat", NOBODY, Proof.WORD),
    *_all("stranger", "readlink, getxattr", "readlink getxattr", NOBODY),
    *_all("stranger", "inotify (names of what others open)", "inotify", NOBODY, Proof.WORD),
)

MIGHTY = (
    *_all("mighty", "open_by_handle_at through the mount of its own volume", "handle handle-free", HELD),
    *_all(
        "mighty", "io_uring openat: at once, async, by a kernel thread", "io_uring io_uring-async io_uring-sqpoll", HELD
    ),
    *_all("mighty", "bind mount of the directory, of the file, of a parent", "bind bind-file bind-parent", HELD),
    *_all("mighty", "open_tree", "open-tree", HELD),
    *_all("mighty", "mount of the same device again: mount, fsopen", "mount-device fsopen-device", HELD),
    *_all("mighty", "reading the raw block device; by a node of its own", "raw-device own-node", (STOPPED, VM_ONLY)),
    *_all(
        "mighty",
        "overlay with the directory as lower layer, or as upper",
        "overlay-lower overlay-ro overlay-upper overlay-fsopen overlay-userns",
        PREVENTED,
    ),
    *_all("mighty", "chroot", "chroot", HELD),
    *_all("mighty", "unshare of mount, user, cgroup namespace", "unshare-mount unshare-user unshare-cgroup", HELD),
    *_all("mighty", "nested cgroup", "cgroup-nested", HELD),
    *_all(
        "mighty",
        "moving itself to another cgroup: root, the owner's, a new one",
        "cgroup-root cgroup-owner cgroup-new",
        HELD,
    ),
    *_all("mighty", "moving a child there", "cgroup-child", HELD),
    *_all("mighty", "clone3 with CLONE_INTO_CGROUP", "clone3 clone3-path", HELD),
    *_all(
        "mighty",
        "--pid=host: /proc/PID/root, cwd, fd, map_files of another",
        "proc-root proc-cwd proc-fd map_files",
        HELD,
    ),
    *_all("mighty", "/proc/1/root of the host", "host-root", (STOPPED, VM_ONLY)),
    *_all("mighty", "setns into another's mount namespace (nsenter)", "setns setns-pidfd", HELD),
    *_all("mighty", "fanotify (open files of others)", "fanotify", PREVENTED),
    *_all(
        "mighty",
        "bpf(2): the agent's maps, programs, links by pin or id",
        "map-by-pin prog-by-pin link-by-pin map-by-id prog-by-id link-by-id",
        PREVENTED,
        Proof.WORD,
    ),
    *_all(
        "mighty",
        "the agent's policy, state, journal rewritten",
        "policy-file state-file journal-file",
        HELD,
        Proof.WORD,
    ),
    *_all("mighty", "the agent's pins unlinked, renamed", "unlink-pin rename-pins", PREVENTED, Proof.WORD),
)

MIGHTY_IN_VM = _all(
    "mighty", "a program that the kernel starts for the host (core_pattern)", "core_pattern", (NOT_SEEN, VM_ONLY)
)

PEER = (
    *_all(
        "peer",
        "--pid=container: /proc/PID/root, cwd, fd of another",
        "proc-root proc-cwd proc-fd",
        HELD,
    ),
    *_all("peer", "pidfd_getfd of another's descriptor", "pidfd_getfd", PREVENTED),
    *_all("peer", "ptrace, process_vm_readv on another's process", "ptrace vm_readv", PREVENTED),
    *_all("peer", "/proc/PID/mem of another's process", "proc-mem", PREVENTED),
)

CHANGES = (
    ("unlink, rmdir", "unlink rmdir"),
    (
        "rename within, out, in, over, exchange, of a directory",
        "rename rename-out rename-in rename-over exchange rename-dir-out",
    ),
    ("link out, in", "link-out link-in"),
    ("symlink, mkdir, mknod, mkfifo, a socket", "symlink-make mkdir mknod mkfifo bind-socket"),
    ("truncate", "truncate"),
    ("chmod, chown, utimensat", "chmod chown utimensat utime-now chmod-path"),
    ("setxattr, removexattr, an access list", "setxattr removexattr set-acl"),
)
BY_DESCRIPTOR = (
    ("fchmod, fchown, futimens by a read-only descriptor", "fchmod fchown futimens"),
    ("fsetxattr, fremovexattr by a read-only descriptor", "fsetxattr fremovexattr"),
    ("inode flags (chattr) by a read-only descriptor", "flags"),
)
BY_WRITER = (("ftruncate, fallocate by a descriptor of its own", "ftruncate fallocate"),)


def _changes(place: str, of: str, rows: tuple[tuple[str, str], ...], words: tuple[Word, Word]) -> tuple[Way, ...]:
    return tuple(w for row, names in rows for w in _all(place, f"{of}: {row}", names, words, Proof.CHANGE))


OTHERS = (
    *_changes("stranger", "another's volume", CHANGES, PREVENTED),
    *_changes("stranger", "another's volume", (*BY_DESCRIPTOR, *BY_WRITER), HELD),
    *_changes("reader", "a volume granted read-only", CHANGES, PREVENTED),
    *_changes("reader", "a volume granted read-only", BY_DESCRIPTOR, PREVENTED),
    *_changes("reader", "a volume granted read-only", BY_WRITER, HELD),
)

BORN = (
    Way("first", "first", "a container whose first instruction is the attack", *HELD),
    Way("born-busy", "busy", "a container born while the machine is busy", *HELD),
    Way("volumes-from", "inheritor", "--volumes-from", *HELD),
)

WAYS = (*STRANGER, *OTHERS, *MIGHTY, *MIGHTY_IN_VM, *PEER, *BORN)
MECHANISMS = (Mechanism.LSM, Mechanism.FMOD_RET, Mechanism.TRACEPOINT)
