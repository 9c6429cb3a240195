"""The open connections of a network namespace, whose they are, and their end: the kernel's sock_diag (sock_diag(7)).

Layouts: include/uapi/linux/{inet_diag,tcp}.h. pyroute2 speaks this protocol too, but drops the kernel's errors (a listing that was
refused looks empty), takes 70 µs for each socket, and 12 MB.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from types import TracebackType
from typing import NamedTuple, Self

from enforcer.errors import ContainerGone, EdgeError, HostError

TCP, UDP, SCTP, UDPLITE = 6, 17, 132, 136
PROTOCOLS = (TCP, UDP, SCTP, UDPLITE)
"""Those whose sockets have a peer and that the kernel may list; it is asked for nothing that it has not loaded."""

_NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 4, 20, 21
SS_SYN_SENT, SS_LISTEN = 2, 10  # include/net/tcp_states.h
SS_CONN = 0xFFF & ~(1 << SS_LISTEN | 1 << 7 | 1 << 6 | 1 << 3)  # all but LISTEN, CLOSE, TIME_WAIT, SYN_RECV
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_ID = struct.Struct("=4s16s16sI8s")  # struct inet_diag_sockid: ports in network order, addresses, interface, cookie
_REQUEST = struct.Struct("=BBBBI")  # struct inet_diag_req_v2 before its id
_MESSAGE = struct.Struct(f"=BBBB{_ID.size}sIIIII")  # struct inet_diag_msg
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_REQUESTED, _ACK, _DUMP, _CHANGED = 0x1, 0x4, 0x300, 0x10  # NLM_F_*
_INFO, _CGROUP = 2, 21  # INET_DIAG_INFO, INET_DIAG_CGROUP_ID
_TCP_INFO = struct.Struct("=120xQ16xI52xQQ")
"""What we read of struct tcp_info: bytes_acked, notsent_bytes, bytes_sent, bytes_retrans (Linux 4.19 and later)."""

_FINISHED = frozenset({4, 5, 9, 11})  # FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING: this side has sent its FIN
_READ = 1 << 17
_TIMEOUT_S = 5.0
_ROUNDS = 4
"""A listing that changed while it was read is read again, so often."""


_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    """Enter a network namespace, this thread only (setns(2))."""
    if _libc.setns(fd, _NEWNET) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@dataclass(frozen=True)
class Flow:
    """A connection. Addresses are textual, IPv4-mapped ones as IPv4; ``protocol`` is an IPPROTO number.

    ``opened``: its owner has; else the other side. ``cgroup``: where the socket was made, the kernel's word for whose it is.
    ``inode``: by which /proc/PID/fd names it, 0 if no process holds it any more. ``cookie``: its number in the kernel, which
    its programs know too, and which is never given again. ``uid`` is as the host sees it.
    """

    protocol: int
    address: str
    port: int
    local: str
    local_port: int
    cgroup: int
    inode: int
    cookie: int
    uid: int
    opened: bool
    key: bytes
    """By which the kernel finds it: family and struct inet_diag_sockid."""


class _Socket(NamedTuple):
    """One of the kernel's answers. ``sure``: it tells who opened it."""

    flow: Flow
    listens: bool
    sure: bool


_TIMER_AT, _TIME_WAIT = 2, 3  # struct inet_diag_msg


class Flows:
    """The connections of the network namespace that a process is in, as a context. Raises ``ContainerGone``, ``HostError``."""

    def __init__(self, pid: int) -> None:
        with ExitStack() as stack:
            try:
                there = stack.enter_context(open(f"/proc/{pid}/ns/net", "rb"))
            except (FileNotFoundError, ProcessLookupError) as e:
                raise ContainerGone(f"process {pid} ended") from e
            except OSError as e:
                raise HostError(f"the network of process {pid} cannot be entered: {e.strerror} (CAP_SYS_PTRACE)") from e
            self.namespace = os.fstat(there.fileno()).st_ino
            own = stack.enter_context(open("/proc/thread-self/ns/net", "rb"))
            try:
                _setns(there.fileno())  # this thread only; its socket stays there
                stack.callback(_setns, own.fileno())
                self._socket = socket.socket(
                    socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
                )
            except OSError as e:
                raise HostError(f"sockets cannot be listed: {e.strerror} (CONFIG_INET_DIAG, CAP_SYS_ADMIN)") from e
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def all(self) -> list[Flow]:
        """Every connection of the namespace, whoever's. Raises ``EdgeError``, ``HostError``.

        TCP tells which side began by what it counts: the SYN is acknowledged as a byte that was never sent as data. Where that
        is not to be had, an own port on which somebody listens has been connected to. A connected UDP socket is one that has
        connected.
        """
        found: list[Flow] = []
        for protocol in PROTOCOLS:
            sockets = [s for family in (socket.AF_INET, socket.AF_INET6) for s in self._list(family, protocol)]
            heard = {(s.flow.local, s.flow.local_port) for s in sockets if s.listens}
            found += [s.flow if s.sure else _guessed(s.flow, heard) for s in sockets if not s.listens]
        return found

    def cut(self, flow: Flow) -> str:
        """End a connection: its owner's next call fails with ECONNABORTED, a TCP peer is sent a reset.

        Why it cannot be ended; "" if it is no more. Raises ``EdgeError`` if the kernel does not answer.
        """
        head = _REQUEST.pack(flow.key[0], flow.protocol, 0, 0, 0)
        self._send(SOCK_DESTROY, _REQUESTED | _ACK, head + flow.key[1:])
        try:
            for _ in self._answers():
                pass
        except _AnswerError as e:
            if e.number == errno.ENOENT:
                return ""  # it has ended by itself
            if e.number == errno.EOPNOTSUPP:
                return "this kernel ends no such connections (CONFIG_INET_DIAG_DESTROY)"
            return e.reason
        return ""

    def _list(self, family: int, protocol: int) -> list[_Socket]:
        """Every socket of a family and protocol that has a peer or listens."""
        for _ in range(_ROUNDS):
            try:
                return self._read(family, protocol)
            except InterruptedError:
                continue
            except _AnswerError as e:
                if e.number == errno.ENOENT:
                    return []  # the protocol is not loaded, so nobody has such a socket
                raise
        raise EdgeError("the sockets change faster than they can be listed")

    def _read(self, family: int, protocol: int) -> list[_Socket]:
        states = SS_CONN | 1 << SS_LISTEN
        request = _REQUEST.pack(family, protocol, 1 << (_INFO - 1), 0, states) + bytes(_ID.size)
        self._send(SOCK_DIAG_BY_FAMILY, _REQUESTED | _DUMP, request)
        # what waits for its end (idiag_timer 3) is no socket of anybody's any more, and has no cgroup
        return [_socket(protocol, message) for message in self._answers() if message[_TIMER_AT] != _TIME_WAIT]

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        try:
            self._socket.send(_HEAD.pack(_HEAD.size + len(body), kind, flags, self._sequence, 0) + body)
        except OSError as e:
            raise EdgeError(f"sock_diag: {e.strerror}") from e

    def _answers(self) -> Iterator[bytes]:
        """The answers to the last question, to their end."""
        changed = False
        while True:
            try:
                data = memoryview(self._socket.recv(_READ))
            except OSError as e:
                raise EdgeError(f"sock_diag does not answer: {e}") from e
            while data:
                length, kind, flags, sequence, _ = _HEAD.unpack_from(data)
                body, data = data[_HEAD.size : length], data[(length + 3) & ~3 :]
                if sequence != self._sequence:
                    continue  # the rest of a listing that was given up
                changed |= bool(flags & _CHANGED)
                if kind in (_DONE, _ERROR):
                    _ended(body, changed=changed)
                    return
                yield bytes(body)


class _AnswerError(EdgeError):
    """The kernel's answer was an error."""

    def __init__(self, number: int) -> None:
        super().__init__(f"sock_diag: {os.strerror(number)}")
        self.number, self.reason = number, os.strerror(number)


def _ended(body: memoryview, *, changed: bool) -> None:
    (number,) = struct.unpack_from("=i", body) if len(body) >= 4 else (0,)
    if number < 0:
        raise _AnswerError(-number)
    if changed:
        raise InterruptedError


def _guessed(flow: Flow, heard: Container[tuple[str, int]]) -> Flow:
    local = (flow.local, "0.0.0.0", "::")  # noqa: S104 -- what was bound, not a bind
    return replace(flow, opened=not any((address, flow.local_port) in heard for address in local))


def _socket(protocol: int, message: bytes) -> _Socket:
    family, state, _, _, key, _, _, waiting, uid, inode = _MESSAGE.unpack_from(message)
    ports, source, destination, _, cookie = _ID.unpack(key)
    own_port, port = struct.unpack("!HH", ports)
    attributes = dict(_attributes(message[_MESSAGE.size :]))
    if _CGROUP not in attributes:
        raise HostError(
            "the kernel does not tell whose a socket is: INET_DIAG_CGROUP_ID, Linux 5.9 with CONFIG_CGROUP_BPF"
        )
    opened = _opened(protocol, state, waiting, attributes.get(_INFO, b""))
    flow = Flow(
        protocol=protocol,
        address=_text(family, destination),
        port=port,
        local=_text(family, source),
        local_port=own_port,
        cgroup=int.from_bytes(attributes[_CGROUP], "little"),
        inode=inode,
        cookie=int.from_bytes(cookie, "little"),
        uid=uid,
        opened=bool(opened),
        key=bytes((family,)) + key,
    )
    return _Socket(flow, listens=state == SS_LISTEN, sure=opened is not None)


def _opened(protocol: int, state: int, waiting: int, info: bytes) -> bool | None:
    """Has this side opened it? None if the numbers do not tell: an old kernel, or the socket was at work while they were read."""
    if protocol in (UDP, UDPLITE) or state == SS_SYN_SENT:
        return True
    if protocol != TCP or len(info) < _TCP_INFO.size:
        return None
    acked, unsent, sent, again = _TCP_INFO.unpack_from(info)
    # what is acknowledged beyond data: the SYN of the side that began; and our FIN, which on its way counts as waiting, too
    finished = state in _FINISHED and not unsent
    beyond = acked - (sent - again - (waiting - unsent)) - finished
    return {0: False, 1: True}.get(beyond)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _text(family: int, raw: bytes) -> str:
    if family == socket.AF_INET:
        return socket.inet_ntop(family, raw[:4])
    address = IPv6Address(raw)
    return str(address.ipv4_mapped or address)
