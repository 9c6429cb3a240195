"""Run as a program: tries to write in directories of a container, as its first process would, and says how each attempt ended.

For each directory a child of its own enters the container's mount namespace and its cgroup, becomes the container's user with
the container's capabilities, and asks for a file without a name (O_TMPFILE): nothing stays behind, whatever ends it. It has no
shell and no file of the container to run; it imports and opens nothing in there but what is tried. Standard input: one JSON
document (see ``enforcer.edges.writes``). Standard output: one line of JSON.
"""

import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

NAME = b"enforcer-verify"
"""What the kernel, and so each event, calls this process (TASK_COMM_LEN is 16)."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME = 1, 4, 15  # include/uapi/linux/prctl.h
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CLONE_NEWNS = 0x00020000  # include/uapi/linux/sched.h
CAPABILITIES_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, include/uapi/linux/capability.h
NO_ENTRY = 255
"""What a child ends with that came not so far as to try; errno has no such number."""

NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOTDIR, errno.EINVAL)
"""What a filesystem says that has no nameless files, and a mount that is a file: then the kernel is asked, and nothing is tried."""

libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def tie() -> None:
    """Ends with its parent. Whoever changes credentials has to say it again."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def become(asked: Mapping[str, Any]) -> None:
    """The container's user, and no capability that the container has not. Raises OSError."""
    os.setgroups(asked["groups"])
    os.setresgid(asked["gid"], asked["gid"], asked["gid"])
    os.setresuid(asked["uid"], asked["uid"], asked["uid"])
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    if asked["uid"] == 0:  # for anybody else the change of user has taken them all away
        words = (asked["capabilities"] & 0xFFFFFFFF, asked["capabilities"] >> 32)
        sets = (_Sets * 2)(*(_Sets(word, word, 0) for word in words))
        if libc.capset(ctypes.byref(_Header(CAPABILITIES_3, 0)), sets):
            raise OSError(ctypes.get_errno(), "capset")
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def attempt(path: str) -> int:
    """0, or the errno of what stopped it."""
    try:
        os.close(os.open(path, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as e:
        if e.errno not in NO_NAMELESS:
            return e.errno or errno.EIO
        return 0 if os.access(path, os.W_OK, effective_ids=True) else errno.EACCES
    return 0


def child(asked: Mapping[str, Any], path: str) -> int:
    """What the child that tries one directory ends with."""
    try:
        tie()
        if libc.setns(asked["namespace"], CLONE_NEWNS):
            return NO_ENTRY
        os.write(asked["cgroup"], b"0")
        for fd in (asked["namespace"], asked["cgroup"], asked["container"], 0, 1, 2):
            os.close(fd)
        become(asked)
        tie()
    except OSError:
        return NO_ENTRY
    return attempt(path)


def ended(asked: Mapping[str, Any], path: str) -> int:
    """How the child's attempt ended: 0, an errno, ``NO_ENTRY``, or a signal as a negative number."""
    pid = os.fork()
    if pid == 0:
        found = NO_ENTRY
        try:
            found = child(asked, path)
        finally:
            os._exit(found)  # whatever happens: nothing of Python's own ending runs in the container
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    """Read what is asked, try each path, say how it ended."""
    asked = json.load(sys.stdin)
    tie()
    libc.prctl(PR_SET_NAME, NAME)
    signal.setitimer(signal.ITIMER_REAL, asked["bound"])  # its default action ends the process
    for path in asked["paths"]:
        os.write(1, json.dumps({"path": path, "ended": ended(asked, path)}).encode() + b"\n")


if __name__ == "__main__":
    main()
