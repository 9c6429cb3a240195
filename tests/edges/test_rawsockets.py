"""Raw and packet sockets as /proc lists them, and their numbers in the kernel, asked of another process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from enforcer.edges.procfs import Procfs
from enforcer.edges.rawsockets import PACKET, RAW, RawSocket, RawSockets
from enforcer.errors import ContainerGone, EdgeError, HostError

HOLDER = (
    "import os, socket, sys\n"
    "made = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 1), socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58),\n"
    "        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0), socket.socket(socket.AF_INET, socket.SOCK_STREAM)]\n"
    "for s in made:\n"
    "    print(os.fstat(s.fileno()).st_ino, int.from_bytes(s.getsockopt(socket.SOL_SOCKET, 57, 8), 'little'))\n"
    "sys.stdout.flush()\n"
    "sys.stdin.read()\n"
)
"""Says inode and cookie of one socket of each kind."""


def test_each_is_found_and_its_number_told() -> None:
    """Of every kind, with protocol and user; a stream socket is none. What the holder does not hold has no number."""
    words = ["unshare", "-n", sys.executable, "-c", HOLDER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        said = [tuple(map(int, holder.stdout.readline().split())) for _ in range(4)]
        sockets, (inodes, cookies) = RawSockets(), zip(*said, strict=True)
        assert sockets.all(holder.pid) == [
            RawSocket(RAW, 1, inodes[0], os.getuid()),
            RawSocket(RAW, 58, inodes[1], os.getuid()),
            RawSocket(PACKET, 0, inodes[2], os.getuid()),
        ]
        held = Procfs().sockets(holder.pid)
        assert tuple(sockets.cookie(holder.pid, held[inode], inode) for inode in inodes) == cookies
        assert [sockets.cookie(holder.pid, *at) for at in ((held[inodes[0]], inodes[1]), (99, inodes[0]))] == [0, 0]
        holder.communicate()
    with pytest.raises(ContainerGone):
        sockets.all(holder.pid)
    assert sockets.cookie(holder.pid, held[inodes[0]], inodes[0]) == 0


def test_a_kernel_without_a_table_has_no_such_sockets(tmp_path: Path) -> None:
    """No IPv6, no packet sockets; a table that cannot be read is an error."""
    (tmp_path / "7/net").mkdir(parents=True)
    assert RawSockets(tmp_path).all(7) == []
    (tmp_path / "7/net/raw").mkdir()
    with pytest.raises(EdgeError):
        RawSockets(tmp_path).all(7)


def test_a_process_that_cannot_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it takes."""
    with socket.socket() as made:
        monkeypatch.setattr("enforcer.edges.rawsockets._PIDFD_GETFD", 100_000)  # no such system call
        with pytest.raises(HostError, match="CAP_SYS_PTRACE"):
            RawSockets().cookie(os.getpid(), made.fileno(), os.fstat(made.fileno()).st_ino)
