"""Sockets below TCP and UDP that are open: raw ones and packet ones, and their numbers in the kernel.

They are found in /proc/PID/net: of packet sockets sock_diag does not tell the cgroup, and of raw ones few kernels tell anything
(CONFIG_INET_RAW_DIAG). SOCK_DESTROY would not end a raw socket: it may be used again after one error (net/ipv4/raw.c, raw_abort).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from enforcer.edges.procfs import PROC
from enforcer.errors import ContainerGone, EdgeError, HostError

RAW, PACKET = "raw", "packet"

_PIDFD_GETFD = 438  # syscall_64.tbl; Linux 5.6
_COOKIE = 57  # SO_COOKIE, asm-generic/socket.h

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class RawSocket:
    """``kind`` is RAW or PACKET, ``protocol`` an IPPROTO number, 0 of a packet socket; ``inode``: as /proc/PID/fd names it."""

    kind: str
    protocol: int
    inode: int
    uid: int


class RawSockets:
    """Answers what a network namespace has of them. ``root`` is where procfs is mounted."""

    def __init__(self, root: Path = PROC) -> None:
        self._root = root

    def all(self, pid: int) -> list[RawSocket]:
        """Every one in the namespace of a process, whoever's but the kernel's own. Raises ``ContainerGone``, ``EdgeError``."""
        raw = [line for name in ("raw", "raw6") for line in self._lines(pid, name)]
        # 0: 0100007F:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000 UID TIMEOUT INODE
        found = [RawSocket(RAW, int(w[1].rpartition(":")[2], 16), int(w[9]), int(w[7])) for w in raw]
        # POINTER REFERENCES TYPE PROTOCOL INTERFACE RUNNING MEMORY UID INODE
        return found + [RawSocket(PACKET, 0, int(w[8]), int(w[7])) for w in self._lines(pid, "packet")]

    def cookie(self, pid: int, descriptor: int, inode: int) -> int:
        """The kernel's number of a socket that a process holds, which its programs know too; 0 if it holds it no longer.

        Raises ``HostError`` if the process cannot be asked for it.
        """
        try:
            held = _taken(pid, descriptor, inode)
        except OSError as e:
            raise HostError(f"{os.strerror(e.errno or 0)} (pidfd_getfd: Linux 5.6, CAP_SYS_PTRACE)") from e
        if held is None:
            return 0
        with held:
            return int.from_bytes(held.getsockopt(socket.SOL_SOCKET, _COOKIE, 8), "little")

    def _lines(self, pid: int, name: str) -> list[list[str]]:
        """The words of each line of a table, its heading aside; none if the kernel has no such table."""
        try:
            return [line.split() for line in (self._root / str(pid) / "net" / name).read_text().splitlines()[1:]]
        except OSError as e:
            if e.errno == errno.ENOENT and (self._root / str(pid)).exists():
                return []
            if e.errno in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
                raise ContainerGone(f"process {pid} ended") from e
            raise EdgeError(f"cannot read {self._root}/{pid}/net/{name}: {e.strerror}") from e


def _taken(pid: int, descriptor: int, inode: int) -> socket.socket | None:
    """A descriptor of our own for a process's socket, None if it does not hold it there any more. Raises ``OSError``."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        taken = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    finally:
        os.close(process)
    if taken < 0 and ctypes.get_errno() not in (errno.EBADF, errno.ESRCH):
        raise OSError(ctypes.get_errno(), "pidfd_getfd")
    if taken >= 0 and os.fstat(taken).st_ino == inode:
        return socket.socket(fileno=taken)
    if taken >= 0:
        os.close(taken)  # the number was given to something else meanwhile
    return None
