"""A debugger's calls on a child: process_vm_readv, pidfd_getfd, kcmp and /proc/PID/mem."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_PROCESS_VM_READV, SYS_PIDFD_GETFD, SYS_KCMP = 310, 438, 312  # x86-64


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def main() -> None:
    """Print what the parent learns."""
    text, room = ctypes.create_string_buffer(b"memory of the child"), ctypes.create_string_buffer(19)
    file = os.memfd_create("file")
    os.write(file, b"file of the child")
    if not (child := os.fork()):
        signal.pause()
    os.close(os.open(f"/proc/{child}/environ", os.O_RDONLY))
    there, here = Vector(ctypes.addressof(text), 19), Vector(ctypes.addressof(room), 19)
    n = LIBC.syscall(SYS_PROCESS_VM_READV, child, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    fd = LIBC.syscall(SYS_PIDFD_GETFD, os.pidfd_open(child), file, 0)
    same = LIBC.syscall(SYS_KCMP, os.getpid(), child, 0, file, file)
    with Path(f"/proc/{child}/mem").open("rb") as memory:
        memory.seek(ctypes.addressof(text))
        print(n, room.value, os.pread(fd, 99, 0), same, memory.read(6))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
