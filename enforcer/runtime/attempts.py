"""What the canary tries: a program of its own, with the standard library alone, which ``canary.py`` starts.

``attempts.py DIRECTORY PROCS LIFE PID NAME…``: DIRECTORY is the forbidden one, PROCS the ``cgroup.procs`` of the canary's
cgroup, LIFE that of a container that is about to start, PID a process of the host. Each attempt is made by a child of its
own, since it may cost the child's life, and is told in a line: its name, and ``refused``, ``killed``, ``done`` or the
name of another error. Nothing can leave the machine: the network namespace has no route.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable

NEWNS, NEWNET = 0x00020000, 0x40000000  # include/uapi/linux/sched.h
BIND, REMOUNT, READ_ONLY, PRIVATE = 0x1000, 0x20, 0x1, 0x44000  # include/uapi/linux/mount.h; private with all beneath

# RFC 5737 and RFC 3849: no network carries them. Port 9 is discard.
OUTSIDE4, OUTSIDE6 = ("203.0.113.1", 9), ("2001:db8::1", 9)
libc = ctypes.CDLL(None, use_errno=True)


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


def join(procs: str) -> None:
    """Move this process into a cgroup."""
    with open(procs, "w") as file:
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


class Attempts:
    """What is prepared while this is still a process of the host, and one method for each attempt, named as its hook."""

    def __init__(self, host_pid: int) -> None:
        self._host_pid = host_pid
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind("socket")
        self._listener.listen()
        here, self._there = socket.socketpair()
        with open("file") as file, here:
            socket.send_fds(here, [b"x"], [file.fileno()])

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

    def receive(self) -> None:
        """An open file comes over a socket. One that is refused is left out of the message."""
        if not socket.recv_fds(self._there, 1, 1)[1]:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def unix(self) -> None:
        """A socket that is a file is connected to."""
        socket.socket(socket.AF_UNIX).connect("socket")

    def trace(self) -> None:
        """The memory of a process of the host is asked for, at an address that it has not."""
        nowhere = (ctypes.c_ulong * 2)(0, 1)  # struct iovec: base, length
        one = ctypes.c_ulong(1)
        must(libc.process_vm_readv(self._host_pid, nowhere, one, nowhere, one, ctypes.c_ulong(0)))

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


def outcome(deed: Callable[[], None]) -> str:
    """Have a child do it, and tell what became of it."""
    child = os.fork()
    if child == 0:
        try:
            deed()
        except OSError as e:
            os._exit(e.errno or errno.EIO)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code in (0, errno.EPERM, -signal.SIGKILL):
        return {0: "done", errno.EPERM: "refused"}.get(code, "killed")
    return errno.errorcode.get(code, f"exit status {code}")


def start_container(life: str) -> None:
    """The first program of a container: it is in the container's cgroup and mount namespace, and starts."""
    join(life)
    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", ""])  # noqa: S606 -- our own interpreter


def main(directory: str, procs: str, life: str, host_pid: str, *names: str) -> None:
    """Prepare, become the canary, try."""
    own_world(directory)
    attempts = Attempts(int(host_pid))
    if "arm" in names:
        print("arm", outcome(lambda: start_container(life)), flush=True)
    join(procs)
    for name in names:
        if name != "arm":
            print(name, outcome(getattr(attempts, name)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
