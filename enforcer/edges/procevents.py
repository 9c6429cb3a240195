"""Who begets whom: the kernel's process events (fork, exec, exit), as they happen, for every process of the host.

Layouts: include/uapi/linux/{connector,cn_proc}.h. Only the host's own network namespace gets any. pyroute2 speaks this
protocol too, through an event loop and a dictionary for each message: a busy host forks too often for that.
"""

from __future__ import annotations

import enum
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from enforcer.errors import EdgeError, HostError

_NETLINK_CONNECTOR = 11
_INDEX, _VALUE = 1, 1  # CN_IDX_PROC, CN_VAL_PROC
_LISTEN, _IGNORE = 1, 2  # enum proc_cn_mcast_op
_DONE = 3
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_MESSAGE = struct.Struct("=IIIIHH")  # struct cn_msg
_EVENT = struct.Struct("=IIQIIII")  # struct proc_event: what, cpu, timestamp, then up to four of pid and tgid
_SO_RCVBUFFORCE = 33
_RECEIVE = 4 << 20
"""Some 40,000 events: a second of a host that does nothing but fork."""


class What(enum.IntEnum):
    """enum proc_cn_event, the three that say who is who."""

    FORK = 0x1
    EXEC = 0x2
    EXIT = 0x80000000


class ProcEvent(NamedTuple):
    """``pid`` is a process (thread group); ``parent`` the one that made it (FORK only). Threads are left out."""

    what: What
    pid: int
    parent: int


class ProcEvents:
    """The stream of process events. Raises ``HostError`` where the kernel has none or does not give them to us."""

    def __init__(self) -> None:
        try:
            kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            self._socket = socket.socket(socket.AF_NETLINK, kind, _NETLINK_CONNECTOR)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE)
            self._socket.bind((0, _INDEX))
            self._say(_LISTEN)
        except OSError as e:
            raise HostError(
                f"the kernel tells of no processes ({e.strerror}): CONFIG_PROC_EVENTS, CAP_NET_ADMIN"
            ) from e
        self.overruns = 0

    def _say(self, word: int) -> None:
        body = _MESSAGE.pack(_INDEX, _VALUE, 0, 0, 4, 0) + struct.pack("=I", word)
        self._socket.send(_HEAD.pack(_HEAD.size + len(body), _DONE, 0, 0, os.getpid()) + body)

    def fileno(self) -> int:
        """For select: readable when an event waits."""
        return self._socket.fileno()

    def close(self) -> None:
        """Listen no more; the kernel counts its listeners and stops when there are none."""
        self._say(_IGNORE)
        self._socket.close()

    def read(self, most: int) -> Iterator[ProcEvent]:
        """Up to ``most`` events that wait."""
        for _ in range(most):
            try:
                data = self._socket.recv(4096)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise EdgeError(f"process events cannot be read: {e.strerror}") from e
                self.overruns += 1
                continue
            if event := _event(data[_HEAD.size + _MESSAGE.size :]):
                yield event


def _event(data: bytes) -> ProcEvent | None:
    what, _, _, a, b, c, d = _EVENT.unpack_from(data.ljust(_EVENT.size, b"\0"))
    if what == What.FORK and c == d:
        return ProcEvent(What.FORK, pid=c, parent=b)
    if what in (What.EXEC, What.EXIT) and a == b:
        return ProcEvent(What(what), pid=a, parent=0)
    return None
