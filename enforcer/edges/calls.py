"""Run as a program: makes calls from a container's network namespace, and then from its cgroup too, and says how each ended.

It imports nothing of ours and opens no file once it is in the container's cgroup, where it is governed as the container is.
Standard input: one JSON document (see ``enforcer.edges.inside``). Standard output: one line of JSON for each round. It ends
by itself after ``bound`` seconds, with its parent, and with the container: while it is in there, the cgroup cannot go.
"""

import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence

Target = tuple[str, int, int]
"""Address, port, IPPROTO number."""

NAME = b"enforcer-verify"
"""What the kernel, and so each event, calls this process (TASK_COMM_LEN is 16)."""

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15  # include/uapi/linux/prctl.h
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
TCP = 6
AT_ONCE = 200
"""Sockets open at a time; the usual limit of descriptors is 1024."""

QUERY = b"\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
"""What is sent by UDP: a DNS question for the root's servers (RFC 1035), which a resolver answers, and an echo too."""

_WORDS = {
    0: "reached",
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.EPERM: "forbidden",
    errno.EACCES: "forbidden",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.EADDRNOTAVAIL: "unreachable",
    errno.EAFNOSUPPORT: "unreachable",
    errno.ETIMEDOUT: "silent",
}


def begin(address: str, port: int, protocol: int) -> tuple[socket.socket | None, int]:
    """A call under way: its socket, or None and the errno if it has ended at once."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        made = socket.socket(family, socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM)
    except OSError as e:
        return None, _number(e)
    made.setblocking(False)
    try:
        failed = made.connect_ex((address, port))
        if protocol != TCP and not failed:
            made.send(QUERY)
    except OSError as e:
        failed = _number(e)
    if failed in (0, errno.EINPROGRESS):
        return made, 0
    made.close()
    return None, failed


def _number(error: OSError) -> int:
    return error.errno or errno.EIO


def ended(made: socket.socket, protocol: int) -> int:
    """The errno with which a call that has something to say has ended; 0 for an accepted or answered one."""
    failed = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed or protocol == TCP:
        return failed
    try:
        made.recv(2048)
    except OSError as e:
        return _number(e)
    return 0


def attempt(targets: Sequence[Target], seconds: float, container: int) -> list[int]:
    """The errno of each call; all are made at once, and those still under way after ``seconds`` are ETIMEDOUT."""
    found: dict[int, int] = {}
    waiting: dict[int, tuple[int, socket.socket, int]] = {}
    poll = select.poll()
    if container >= 0:
        poll.register(container, select.POLLIN)  # a pidfd is readable once its process has ended
    for number, (address, port, protocol) in enumerate(targets):
        made, failed = begin(address, port, protocol)
        if made is None:
            found[number] = failed
            continue
        waiting[made.fileno()] = (number, made, protocol)
        poll.register(made, select.POLLOUT if protocol == TCP else select.POLLIN)
    end = time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            if fd == container:
                os._exit(0)
            number, made, protocol = waiting.pop(fd)
            found[number] = ended(made, protocol)
            poll.unregister(fd)
            made.close()
    for number, made, _ in waiting.values():
        found[number] = errno.ETIMEDOUT
        made.close()
    return [found[number] for number in range(len(targets))]


def calls(targets: Sequence[Target], seconds: float, container: int) -> list[str]:
    """How each call ended, in the order of ``targets``. ``container``: a pidfd of its first process, or -1."""
    found: list[int] = []
    for first in range(0, len(targets), AT_ONCE):
        found += attempt(targets[first : first + AT_ONCE], seconds, container)
    return [_WORDS.get(failed, "untried") for failed in found]


def say(what: Mapping[str, object]) -> None:
    """One line, past Python's buffers."""
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Read what is asked, enter, call; enter the cgroup, call again."""
    asked = json.load(sys.stdin)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_NAME, NAME)
    signal.setitimer(signal.ITIMER_REAL, asked["bound"])  # its default action ends the process
    if asked["namespace"] >= 0 and libc.setns(asked["namespace"], CLONE_NEWNET):
        say({"why": f"its network namespace cannot be entered: {os.strerror(ctypes.get_errno())}"})
        return
    say({"found": calls(asked["targets"], asked["seconds"], asked["container"])})
    if asked["cgroup"] < 0:
        return
    try:
        os.write(asked["cgroup"], b"0")
    except OSError as e:
        say({"why": f"its cgroup cannot be entered: {e.strerror}"})
        return
    say({"found": calls(asked["targets"], asked["seconds"], asked["container"])})


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing of Python's own ending runs in the container's cgroup
