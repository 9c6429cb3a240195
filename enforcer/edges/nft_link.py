"""The netlink socket to nftables: questions and transactions."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from enforcer.edges.pyroute import (
    NETLINK_NETFILTER,
    NFNL_SUBSYS_NFTABLES,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    nfgen_msg,
)
from enforcer.errors import EdgeError, HostError

INET = 1
"""NFPROTO_INET: rules for both families."""

NLMSG_ERROR, NLMSG_DONE = 2, 3
BATCH_BEGIN, BATCH_END = 0x10, 0x11
HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""

SO_SNDBUFFORCE = 32
"""asm-generic/socket.h: a transaction is one datagram, however long."""

TIMEOUT_S = 5.0
LONGEST = 1 << 18
RECEIVE_BYTES = 1 << 20

NO_TABLES = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM})
"""What a kernel without nf_tables answers to a question about tables, or one that does not let us at it."""

NO_EXPRESSION = NO_TABLES | {errno.ENOENT}
"""What it answers to rules whose expressions it lacks, besides."""

Netlink = Any
"""A message of pyroute2's, which has no types."""

Message = tuple[int, int, Netlink]
"""Type of message, flags, message."""


class Kernel:
    """One conversation, a context manager. Raises ``HostError`` where the kernel cannot, ``EdgeError`` where it does not."""

    def __init__(self) -> None:
        self._sequence = 0

    def __enter__(self) -> Kernel:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        except OSError as e:
            raise _cannot(e) from e
        self._socket.settimeout(TIMEOUT_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def one(self, kind: int, message: Netlink) -> Netlink:
        """The answer to a question about one thing, None if there is no such thing."""
        try:
            return next(self._answers(kind, message, 0), None)
        except OSError as e:
            if e.errno == errno.ENOENT:
                return None
            raise _failed(e, NO_TABLES) from e

    def every(self, kind: int, message: Netlink) -> list[Netlink]:
        """The answers to a question about many."""
        try:
            return list(self._answers(kind, message, NLM_F_DUMP))
        except OSError as e:
            raise _failed(e, NO_TABLES) from e

    def commit(self, messages: Sequence[Message]) -> None:
        """Have all of it done as one transaction, or nothing."""
        begin, end = nfgen_msg(), nfgen_msg()
        for edge in (begin, end):
            edge["res_id"] = NFNL_SUBSYS_NFTABLES
        sent = self._encoded(BATCH_BEGIN, 0, begin)
        for number, (kind, flags, message) in enumerate(messages, 1):
            # errors are told of each; that all is done, by the last one
            sent += self._encoded(_type(kind), flags | (NLM_F_ACK if number == len(messages) else 0), message)
        last = self._sequence
        sent += self._encoded(BATCH_END, 0, end)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 2 * len(sent))
            self._socket.send(sent)
            while last not in [sequence for _, sequence, _ in self._received()]:
                pass
        except OSError as e:
            raise _failed(e, NO_EXPRESSION) from e

    def _answers(self, kind: int, message: Netlink, flags: int) -> Iterator[Netlink]:
        self._socket.send(self._encoded(_type(kind), flags | NLM_F_ACK, message))
        asked = self._sequence
        while True:
            for answered, sequence, raw in self._received():
                if sequence != asked:
                    continue
                if answered in (NLMSG_ERROR, NLMSG_DONE):
                    return
                answer = type(message)(raw)
                answer.decode()
                yield answer

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        """One datagram's messages: type, sequence, the whole. Raises ``OSError`` for the first error in it."""
        data = self._socket.recv(LONGEST)
        while len(data) >= HEADER.size:
            length, kind, _, sequence, _ = HEADER.unpack_from(data)
            if kind == NLMSG_ERROR and (code := struct.unpack_from("=i", data, HEADER.size)[0]):
                raise OSError(-code, os.strerror(-code))
            yield kind, sequence, data[:length]
            data = data[length + 3 & ~3 :]

    def _encoded(self, kind: int, flags: int, message: Netlink) -> bytes:
        self._sequence += 1
        message["header"]["type"] = kind
        message["header"]["flags"] = flags | NLM_F_REQUEST
        message["header"]["sequence_number"] = self._sequence
        message.encode()
        return bytes(message.data)


def _type(kind: int) -> int:
    return int(NFNL_SUBSYS_NFTABLES) << 8 | kind


def _cannot(error: OSError) -> HostError:
    return HostError(
        f"this kernel does not let us at nftables ({error.strerror}): it needs CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and "
        "CONFIG_NFT_CT (modprobe nf_tables nft_ct, if they are modules), and the agent CAP_NET_ADMIN"
    )


def _failed(error: OSError, missing: frozenset[int]) -> HostError | EdgeError:
    return _cannot(error) if error.errno in missing else EdgeError(f"nftables: {error.strerror or error}")
