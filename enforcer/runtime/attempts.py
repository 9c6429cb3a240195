"""What the canary tries: a program of its own, with the standard library alone, which ``canary.py`` starts.

Its words are TARGETS NAME…: TARGETS is what ``word_of`` makes. Each attempt is made by a child of its own, since it may
cost the child's life, and is told in a line: its name, and ``refused``, ``killed``, ``done`` or the name of another
error. Nothing can leave the machine: the network namespace has no route.
It runs every minute, and its start costs most: it imports what it cannot do without, and no more.
"""

from __future__ import annotations

import _socket as socket  # socket.py makes enumerations of its numbers, which takes longer than all that is done here
import ctypes
import errno
import fcntl
import marshal
import os
import struct
import sys

if TYPE_CHECKING := False:  # as typing says it, which takes 4 ms
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

SIGKILL, SIGCHLD = 9, 17  # signal(7)
NEWNS, NEWNET = 0x00020000, 0x40000000  # include/uapi/linux/sched.h
BIND, REMOUNT, READ_ONLY, PRIVATE = 0x1000, 0x20, 0x1, 0x44000  # include/uapi/linux/mount.h; private with all beneath

# RFC 5737 and RFC 3849: no network carries them. Port 9 is discard.
OUTSIDE4, OUTSIDE6 = ("203.0.113.1", 9), ("2001:db8::1", 9)

SYS_BPF, SYS_IO_URING_SETUP, SYS_CLONE3 = 321, 425, 435  # arch/x86/entry/syscalls/syscall_64.tbl
GET_FD_BY_ID = {"map": 14, "program": 13, "link": 30}  # enum bpf_cmd of include/uapi/linux/bpf.h
EXPERIMENT = 253  # RFC 3692; ENF_EXPERIMENT of probes/socket.c
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # netdevice(7)
YAMA = "/proc/sys/kernel/yama/ptrace_scope"  # Documentation/admin-guide/LSM/Yama.rst: 3 allows it to nobody
INTO_CGROUP = 0x200000000  # CLONE_INTO_CGROUP
EMPTY_ACL = b"\x02\0\0\0" + b"".join(struct.pack("<HHI", tag, 6, 0xFFFFFFFF) for tag in (1, 4, 32))  # acl(5)

libc = ctypes.CDLL(None, use_errno=True)


def word_of(**targets: object) -> str:
    """What is aimed at, as one word: ``directory`` is the forbidden one; ``cgroup`` the canary's, ``life`` that of a container
    to be, ``outside`` one of the host; ``pid`` a process of the host, ``guarded`` the kernel's numbers of what the agent holds.
    """
    return marshal.dumps(targets).hex()


def smallest_program() -> bytes:
    """The smallest program that Linux on x86-64 runs: an ELF header (elf(5)), one segment, and exit(0)."""
    code = b"\x6a\x3c\x58\x31\xff\x0f\x05"  # push 60; pop rax; xor edi, edi; syscall
    base, start = 0x400000, 120
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = start + len(code)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + code


def must(result: int) -> None:
    """Raise the OSError that a C call's result means."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source: str, target: str, flags: int) -> None:
    """mount(2) without a filesystem's type or data."""
    must(libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None))


def join(cgroup: str) -> None:
    """Move this process into a cgroup."""
    with open(f"{cgroup}/cgroup.procs", "w") as file:
        file.write("0")


def own_world(directory: str) -> None:
    """Namespaces of our own, the directory bound so that it can be executed from, and once more so that it cannot be written."""
    must(libc.unshare(NEWNS | NEWNET))
    mount("none", "/", PRIVATE)
    mount(directory, directory, BIND)
    mount("none", directory, BIND | REMOUNT)
    mount(directory, f"{directory}/read-only", BIND)
    mount("none", f"{directory}/read-only", BIND | REMOUNT | READ_ONLY)
    os.chdir(directory)
    any_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(any_socket.fileno(), SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


class Attempts:
    """What is prepared while this is still a process of the host, and one method for each attempt, named as its hook."""

    def __init__(self, targets: Mapping[str, Any]) -> None:
        self._targets = targets
        self._outside = os.open(targets["outside"], os.O_RDONLY | os.O_DIRECTORY)
        self._way_out = os.open("cgroup.procs", os.O_WRONLY, dir_fd=self._outside)
        self._listener, self._box = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind("socket")
        self._listener.listen()
        self._box.bind("box")
        self._nobody_traces = os.path.exists(YAMA) and os.read(os.open(YAMA, os.O_RDONLY), 1) == b"3"
        here, self._there = socket.socketpair()
        with open("file") as file:
            rights = struct.pack("=i", file.fileno())
            here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        here.close()

    def open(self) -> None:
        """A file is opened."""
        os.open("file", os.O_RDONLY)

    def exec(self) -> None:
        """A program is started."""
        os.execv("./program", ["program"])  # noqa: S606 -- what is tried

    def create(self) -> None:
        """A file is made."""
        os.open("created", os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def mkdir(self) -> None:
        """A directory is made."""
        os.mkdir("made")

    def mknod(self) -> None:
        """A special file is made."""
        os.mkfifo("node")

    def symlink(self) -> None:
        """A symbolic link is made."""
        os.symlink("file", "symlinked")

    def link(self) -> None:
        """A file gets a second name."""
        os.link("file", "linked")

    def unlink(self) -> None:
        """A file is removed."""
        os.unlink("gone")

    def rmdir(self) -> None:
        """A directory is removed."""
        os.rmdir("empty")

    def rename(self) -> None:
        """A file gets another name."""
        os.rename("old", "new")

    def setattr(self) -> None:
        """A file's mode is changed."""
        os.chmod("file", 0o640)

    def setxattr(self) -> None:
        """A file gets an extended attribute."""
        os.setxattr("file", "user.canary", b"x")

    def removexattr(self) -> None:
        """A file loses an extended attribute."""
        os.removexattr("file", "user.canary")

    def acl(self) -> None:
        """A file gets an access control list."""
        os.setxattr("file", "system.posix_acl_access", EMPTY_ACL)

    def receive(self) -> None:
        """An open file comes over a socket. One that is refused is left out of the message."""
        if not self._there.recvmsg(1, socket.CMSG_LEN(4))[1]:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def unix(self) -> None:
        """A socket that is a file is connected to."""
        socket.socket(socket.AF_UNIX).connect("socket")

    def datagram(self) -> None:
        """Something is sent to a socket that is a file."""
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "box")

    def trace(self) -> None:
        """The memory of a process of the host is asked for, at an address that it has not. A host may forbid that to all."""
        if self._nobody_traces:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        nowhere = (ctypes.c_ulong * 2)(0, 1)  # struct iovec: base, length
        one = ctypes.c_ulong(1)
        must(libc.process_vm_readv(self._targets["pid"], nowhere, one, nowhere, one, ctypes.c_ulong(0)))

    def leave(self) -> None:
        """A task moves a child of its own to a cgroup of the host, by a file that was open before."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the mover has ended
            os._exit(0)
        os.close(reading)
        os.write(self._way_out, str(child).encode())
        os.close(writing)

    def escape(self) -> None:
        """A task has a child born in a cgroup of the host."""
        # struct clone_args: flags, three addresses, exit_signal, stack, its size, tls, set_tid, its size, cgroup
        arguments = (ctypes.c_uint64 * 11)(INTO_CGROUP, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, self._outside)
        child = libc.syscall(SYS_CLONE3, arguments, ctypes.sizeof(arguments))
        if child == 0:
            os._exit(0)
        must(child)

    def io_uring(self) -> None:
        """A ring is made. EPERM is the host's own setting (kernel.io_uring_disabled)."""
        try:
            must(libc.syscall(SYS_IO_URING_SETUP, 1, (ctypes.c_uint32 * 30)()))  # struct io_uring_params: 120 bytes
        except PermissionError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None

    def held_map(self) -> None:
        """A map of the agent is got hold of."""
        self._get("map")

    def held_program(self) -> None:
        """A program of the agent is got hold of."""
        self._get("program")

    def held_link(self) -> None:
        """A link of the agent is got hold of."""
        self._get("link")

    def _get(self, kind: str) -> None:
        attributes = (ctypes.c_uint32 * 3)(self._targets["guarded"][kind])  # union bpf_attr: id, next_id, open_flags
        must(libc.syscall(SYS_BPF, GET_FD_BY_ID[kind], attributes, ctypes.sizeof(attributes)))

    def refused(self) -> None:
        """A file is written to through a read-only mount."""
        os.open("read-only/file", os.O_WRONLY)

    def connect4(self) -> None:
        """A datagram socket is given a peer."""
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(OUTSIDE4)

    def connect6(self) -> None:
        """The same with IPv6."""
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(OUTSIDE6)

    def sendmsg4(self) -> None:
        """A datagram is sent."""
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", OUTSIDE4)

    def sendmsg6(self) -> None:
        """The same with IPv6."""
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", OUTSIDE6)

    def socket(self) -> None:
        """A raw socket is made."""
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def packet(self) -> None:
        """A packet socket is made."""
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)

    def egress(self) -> None:
        """A packet leaves that no call is judged for: of an experimental protocol, for which alone the canary gets a raw socket."""
        socket.socket(socket.AF_INET, socket.SOCK_RAW, EXPERIMENT).sendto(b"x", ("127.0.0.1", 0))


def outcome(deed: Callable[[], None]) -> str:
    """Have a child do it; what became of it."""
    child = os.fork()
    if child == 0:
        try:
            deed()
        except OSError as e:
            os._exit(e.errno or errno.EIO)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code in (0, errno.EPERM, -SIGKILL):
        return {0: "done", errno.EPERM: "refused"}.get(code, "killed")
    return errno.errorcode.get(code, f"exit status {code}")


def start_container(life: str) -> None:
    """The first program of a container: it is in the container's cgroup and mount namespace, and starts."""
    program = os.memfd_create("first")
    os.write(program, smallest_program())
    join(life)
    os.execve(program, ["first"], {})  # noqa: S606 -- our own program


def main(targets: Mapping[str, Any], names: Sequence[str]) -> None:
    """Prepare, become the canary, try."""
    own_world(targets["directory"])
    attempts = Attempts(targets)
    if "arm" in names:
        print("arm", outcome(lambda: start_container(targets["life"])), flush=True)
    join(targets["cgroup"])
    for name in names:
        if name != "arm":
            print(name, outcome(getattr(attempts, name)), flush=True)


if __name__ == "__main__":
    main(marshal.loads(bytes.fromhex(sys.argv[1])), sys.argv[2:])  # noqa: S302 -- our own word
