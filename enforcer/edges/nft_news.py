"""The news that somebody has changed the rules of the packet filter."""

from __future__ import annotations

import errno
import socket

from enforcer.edges.bell import await_any
from enforcer.errors import EdgeError, HostError

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
"""linux/netfilter/nfnetlink.h; written here because they are all that this needs of pyroute2, which takes 20 MB."""

LONGEST = 1 << 16


class Changes:
    """Tells that somebody, we ourselves too, has changed some table of this network namespace. Raises ``HostError``."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
            )
            self._socket.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
        except OSError as e:
            raise HostError(f"this kernel tells no news of nftables: {e.strerror}") from e

    def wait(self, seconds: float, *others: int) -> bool:
        """Whether there was a change within so many seconds; all that has gathered counts as one.

        ``others``: descriptors that end the wait, too, when they can be read.
        """
        if self._socket.fileno() not in await_any((self._socket.fileno(), *others), seconds):
            return False
        try:
            while self._socket.recv(LONGEST):
                pass
        except BlockingIOError:
            return True
        except OSError as e:
            if e.errno != errno.ENOBUFS:  # more has happened than the socket holds: a change all the same
                raise EdgeError(f"nftables: what changes cannot be followed: {e.strerror}") from e
        return True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()
