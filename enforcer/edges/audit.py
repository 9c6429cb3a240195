"""The kernel's audit: rules in, records out, over its netlink socket. For hosts that allow no BPF; it sees, it stops nothing.

Rules and settings go over NETLINK_AUDIT as requests; records come from the multicast group AUDIT_NLGRP_READLOG, which takes
nothing away from an auditd. Layouts: include/uapi/linux/audit.h, include/uapi/linux/netlink.h. pyroute2 knows the
protocol's number and no more of it, hence the few calls here.

What we change of the machine's settings (auditing on, a longer backlog) goes back when the last rule of ours goes.
"""

from __future__ import annotations

import errno
import os
import platform
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from enforcer.edges.audit_rules import Key, Listed, Rule, listed
from enforcer.errors import EdgeError, HostError

NETLINK_AUDIT = 9
GET, SET, ADD_RULE, DELETE_RULE, LIST_RULES = 1000, 1001, 1011, 1012, 1013
_ERROR, _DONE = 2, 3  # NLMSG_ERROR, NLMSG_DONE
_REQUEST_ACK = 0x05  # NLM_F_REQUEST | NLM_F_ACK
_HEAD = struct.Struct("=IHHII")  # struct nlmsghdr
_STATUS = struct.Struct("=8I")  # struct audit_status, as old as any kernel that we run on
_SET_ENABLED, _SET_BACKLOG = 0x01, 0x10  # AUDIT_STATUS_ENABLED, AUDIT_STATUS_BACKLOG_LIMIT
LOCKED, _PANIC = 2, 2  # `enabled` until the next boot; `failure`: AUDIT_FAIL_PANIC
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_READLOG = 1  # AUDIT_NLGRP_READLOG
_SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h: beyond net.core.rmem_max, for CAP_NET_ADMIN
_DATAGRAM = 1 << 16
_ANSWER_S = 5.0

BACKLOG = 8192
"""Records that may wait in the kernel; its own default of 64 lost thousands in a burst."""

RECEIVE = 16 << 20
"""Bytes of records that may wait in our socket: some 20,000 events."""


class Status(NamedTuple):
    """struct audit_status, the part that every kernel has. ``lost``: records that the kernel has dropped since it booted."""

    mask: int
    enabled: int
    failure: int
    pid: int
    rate_limit: int
    backlog_limit: int
    lost: int
    backlog: int


class Audit:
    """The audit of this kernel, for the agent that ``owner`` names. Raises ``HostError`` where it cannot be had."""

    def __init__(self, owner: str) -> None:
        if platform.machine() != "x86_64":
            raise HostError(f"audit: the system calls of {platform.machine()} are not known to this version")
        self._owner = owner
        self._sequence = 0
        try:
            self._requests = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_AUDIT)
        except OSError as e:
            raise HostError(f"this kernel has no audit ({e.strerror})") from e
        self._requests.settimeout(_ANSWER_S)
        self._before = Status(*[0] * 8)

    def __enter__(self) -> Audit:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the kernel's socket; rules stay."""
        self._requests.close()

    def status(self) -> Status:
        """What the kernel says of itself. Raises ``HostError`` without CAP_AUDIT_CONTROL."""
        [answer] = self._ask(GET)
        return Status(*_STATUS.unpack_from(answer))

    def begin(self) -> Status:
        """Undo what a killed agent of this place has left, switch auditing on; the settings that were there before.

        Where other agents watch already, that is before the first of them.
        """
        self.clear()
        found = self.status()
        first = next((rule.key for rule in self.rules() if rule.key), None)
        was = (first.enabled, first.backlog) if first else (found.enabled, found.backlog_limit)
        self._before = found._replace(enabled=was[0], backlog_limit=was[1])
        if found.enabled == LOCKED:
            raise HostError(
                "audit's configuration is locked until the next boot (enabled 2): remove `-e 2` from its rules"
            )
        if found.failure == _PANIC:
            raise HostError("audit would halt this machine if it lost a record (failure 2): set `auditctl -f 1` first")
        if found.backlog_limit and found.backlog_limit < BACKLOG:
            self._set(_SET_BACKLOG, backlog=BACKLOG)
        if not found.enabled:
            self._set(_SET_ENABLED, enabled=1)
        return self._before

    def key(self, number: int) -> Key:
        """The key of a rule for this data object."""
        return Key(self._owner, os.getpid(), self._before.enabled, self._before.backlog_limit, number)

    def add(self, rules: Iterable[Rule]) -> None:
        """Put rules in force; all or none. Raises ``EdgeError``."""
        with ExitStack() as failing:
            for rule in rules:
                try:
                    self._ask(ADD_RULE, rule.packed())
                except OSError as e:
                    raise EdgeError(f"audit: no watch on {rule.path}: {e.strerror}") from e
                failing.callback(self._remove, rule.packed())
            failing.pop_all()

    def remove(self, rules: Iterable[Rule]) -> None:
        """Take rules out; one that went with its directory is fine."""
        for rule in rules:
            self._remove(rule.packed())

    def rules(self) -> tuple[Listed, ...]:
        """Every rule that the kernel has, others' too."""
        return tuple(rule for answer in self._ask(LIST_RULES) if (rule := listed(answer)))

    def clear(self) -> int:
        """Remove every rule of this place and undo what their agent has changed; how many went.

        Raises ``HostError`` while the agent that made them runs.
        """
        ours = [(rule, rule.key) for rule in self.rules() if rule.key and rule.key.owner == self._owner]
        for _, key in ours:
            if key.pid != os.getpid() and runs(key.pid):
                raise HostError(f"an agent (process {key.pid}) watches by these audit rules: stop it first")
        for rule, _ in ours:
            self._remove(rule.packed)
        if ours:
            self._undo(ours[0][1])
        return len(ours)

    def end(self) -> None:
        """Remove what is ours and undo what we changed. Whoever has other rules keeps what they need."""
        if not self.clear():
            self._undo(self.key(0))

    def _undo(self, was: Key) -> None:
        if any(rule.key for rule in self.rules()):
            return  # another agent's rules: the last one to go undoes it
        now = self.status()
        if was.backlog and now.backlog_limit == BACKLOG != was.backlog:
            self._set(_SET_BACKLOG, backlog=was.backlog)
        if not was.enabled and now.enabled == 1 and not now.pid and not self.rules():
            self._set(_SET_ENABLED, enabled=0)

    def _remove(self, packed: bytes) -> None:
        try:
            self._ask(DELETE_RULE, packed)
        except OSError as e:
            if e.errno != errno.ENOENT:
                raise EdgeError(f"audit: a rule stays: {e.strerror}") from e

    def _set(self, mask: int, *, enabled: int = 0, backlog: int = 0) -> None:
        self._ask(SET, _STATUS.pack(mask, enabled, 0, 0, 0, backlog, 0, 0))

    def _ask(self, kind: int, data: bytes = b"") -> list[bytes]:
        """Send one request; the answers until the kernel says that there are no more. OSError as the kernel gave it."""
        self._sequence += 1
        request = _HEAD.pack(_HEAD.size + len(data), kind, _REQUEST_ACK, self._sequence, 0) + data
        try:
            self._requests.sendto(request, (0, 0))
            return list(self._answers(kind))
        except (ConnectionRefusedError, PermissionError) as e:
            raise HostError("audit is refused: it needs CAP_AUDIT_CONTROL in the host's own namespaces") from e
        except TimeoutError as e:
            raise EdgeError(f"audit gave no answer within {_ANSWER_S:.0f} s") from e

    def _answers(self, kind: int) -> Iterator[bytes]:
        """GET has its answer after the acknowledgement, LIST_RULES its own end; the others are acknowledged only."""
        while True:
            message = self._requests.recv(_DATAGRAM)
            length, of, _, sequence, _ = _HEAD.unpack_from(message)
            if sequence != self._sequence:
                continue
            if of == _ERROR:
                if number := -int.from_bytes(message[16:20], "little", signed=True):
                    raise OSError(number, os.strerror(number))
                if kind not in (GET, LIST_RULES):
                    return
            elif of == _DONE:
                return
            else:
                yield message[_HEAD.size : length]
                if kind == GET:
                    return


class Records:
    """The stream of audit records, everybody's. Only in the host's own network namespace does the kernel send any."""

    def __init__(self) -> None:
        if _elsewhere():
            raise HostError("audit's records reach the host's own network namespace only: run the agent there")
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_AUDIT)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _READLOG)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE)
        except OSError as e:
            raise HostError(f"audit's records may not be read ({e.strerror}): it needs CAP_AUDIT_READ") from e
        self._socket.setblocking(False)
        self.overruns = 0
        """How often the socket was full: records are missing then (their serials tell how many events)."""

    def fileno(self) -> int:
        """For select: readable when a record waits."""
        return self._socket.fileno()

    def close(self) -> None:
        """Leave the group."""
        self._socket.close()

    def read(self, most: int) -> Iterator[tuple[int, bytes]]:
        """(type, text) of up to ``most`` records that wait. The length in the header of a record is not to be trusted."""
        for _ in range(most):
            try:
                message = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.ENOBUFS:
                    raise EdgeError(f"audit's records cannot be read: {e.strerror}") from e
                self.overruns += 1
                continue
            yield _HEAD.unpack_from(message)[1], message[_HEAD.size :].rstrip(b"\0\n")


def _elsewhere() -> bool:
    """Is this surely not the network namespace of the kernel's own threads? Who may not look there learns it by waiting."""
    try:
        return os.readlink("/proc/2/ns/net") != os.readlink("/proc/self/ns/net")  # kthreadd
    except OSError:
        return False


def runs(pid: int) -> bool:
    """Is that process there, and an enforcer?"""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"enforcer" in file.read()
    except OSError:
        return False
