"""Which system calls reach data, by their numbers on x86-64 and i386, and what each asks for.

Numbers: arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl. The x32 numbers (0x40000000 and above) are beyond what an
audit rule's mask can name (kernel/auditfilter.c, AUDIT_BITMASK_SIZE): a kernel with that ABI switched on does not tell of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from enforcer.core.model import Access, Hook

X86_64, I386 = 0xC000003E, 0x40000003
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386 of include/uapi/linux/audit.h."""

AT_FDCWD = -100
_REMOVEDIR = 0x200  # AT_REMOVEDIR, include/uapi/linux/fcntl.h
_ACCESS = {os.O_RDONLY: Access.READ, os.O_WRONLY: Access.WRITE}
_EVERY = Access.READ | Access.WRITE
_SOCKETCALL_CONNECT = 3  # SYS_CONNECT, include/uapi/linux/net.h
HOW = -1
"""Stands for the argument of openat2 that is a structure: its flags come in a record of their own (AUDIT_OPENAT2)."""


@dataclass(frozen=True)
class Call:
    """A system call. ``flags``: which argument holds its open flags; ``directory``: which one a relative path starts from.

    ``fd``: the argument is the file itself. ``both``: two paths are reached, which may lie in two data objects.
    """

    name: str
    hook: Hook
    asked: Access
    numbers: tuple[int | None, int | None]
    flags: int | None = None
    directory: int | None = None
    fd: bool = False
    both: bool = False


W, X = Access.WRITE, Access.READ | Access.EXEC  # whoever starts a program reads it
CALLS = (
    Call("open", Hook.OPEN, Access.NONE, (2, 5), flags=1),
    Call("openat", Hook.OPEN, Access.NONE, (257, 295), flags=2, directory=0),
    Call("openat2", Hook.OPEN, Access.NONE, (437, 437), flags=HOW, directory=0),
    Call("open_by_handle_at", Hook.OPEN, Access.NONE, (304, 342), flags=2),
    Call("creat", Hook.OPEN, W, (85, 8)),
    Call("execve", Hook.EXEC, X, (59, 11)),
    Call("execveat", Hook.EXEC, X, (322, 358), directory=0),
    Call("connect", Hook.UNIX, Access.CONNECT, (42, 362)),
    Call("socketcall", Hook.UNIX, Access.CONNECT, (None, 102)),
    Call("mkdir", Hook.MKDIR, W, (83, 39)),
    Call("mkdirat", Hook.MKDIR, W, (258, 296), directory=0),
    Call("mknod", Hook.MKNOD, W, (133, 14)),
    Call("mknodat", Hook.MKNOD, W, (259, 297), directory=0),
    Call("symlink", Hook.SYMLINK, W, (88, 83)),
    Call("symlinkat", Hook.SYMLINK, W, (266, 304), directory=1),
    Call("link", Hook.LINK, W, (86, 9), both=True),
    Call("linkat", Hook.LINK, W, (265, 303), directory=0, both=True),
    Call("unlink", Hook.UNLINK, W, (87, 10)),
    Call("unlinkat", Hook.UNLINK, W, (263, 301), directory=0),
    Call("rmdir", Hook.RMDIR, W, (84, 40)),
    Call("rename", Hook.RENAME, W, (82, 38), both=True),
    Call("renameat", Hook.RENAME, W, (264, 302), directory=0, both=True),
    Call("renameat2", Hook.RENAME, W, (316, 353), directory=0, both=True),
    Call("truncate", Hook.SETATTR, W, (76, 92)),
    Call("truncate64", Hook.SETATTR, W, (None, 193)),
    Call("chmod", Hook.SETATTR, W, (90, 15)),
    Call("fchmod", Hook.SETATTR, W, (91, 94), fd=True),
    Call("fchmodat", Hook.SETATTR, W, (268, 306), directory=0),
    Call("fchmodat2", Hook.SETATTR, W, (452, 452), directory=0),
    Call("chown", Hook.SETATTR, W, (92, 212)),
    Call("chown16", Hook.SETATTR, W, (None, 182)),
    Call("fchown", Hook.SETATTR, W, (93, 207), fd=True),
    Call("fchown16", Hook.SETATTR, W, (None, 95), fd=True),
    Call("lchown", Hook.SETATTR, W, (94, 198)),
    Call("lchown16", Hook.SETATTR, W, (None, 16)),
    Call("fchownat", Hook.SETATTR, W, (260, 298), directory=0),
    Call("utime", Hook.SETATTR, W, (132, 30)),
    Call("utimes", Hook.SETATTR, W, (235, 271)),
    Call("futimesat", Hook.SETATTR, W, (261, 299), directory=0),
    Call("utimensat", Hook.SETATTR, W, (280, 320), directory=0),
    Call("utimensat_time64", Hook.SETATTR, W, (None, 412), directory=0),
    Call("setxattr", Hook.SETXATTR, W, (188, 226)),
    Call("lsetxattr", Hook.SETXATTR, W, (189, 227)),
    Call("fsetxattr", Hook.SETXATTR, W, (190, 228), fd=True),
    Call("setxattrat", Hook.SETXATTR, W, (463, 463), directory=0),
    Call("removexattr", Hook.SETXATTR, W, (197, 235)),
    Call("lremovexattr", Hook.SETXATTR, W, (198, 236)),
    Call("fremovexattr", Hook.SETXATTR, W, (199, 237), fd=True),
    Call("removexattrat", Hook.SETXATTR, W, (466, 466), directory=0),
)

CHANGES = frozenset(
    {
        *(Hook.CREATE, Hook.MKDIR, Hook.MKNOD, Hook.SYMLINK, Hook.LINK, Hook.UNLINK, Hook.RMDIR, Hook.RENAME),
        *(Hook.SETATTR, Hook.SETXATTR),
    }
)
"""What the hold group ``change`` consists of. A file that an open makes is told of by the open."""

ALL = CHANGES | {Hook.OPEN, Hook.EXEC, Hook.UNIX}

_BY_NUMBER = {
    (arch, number): call for call in CALLS for arch, number in zip((X86_64, I386), call.numbers, strict=True) if number
}


def call_of(arch: int, number: int) -> Call | None:
    """The system call behind a number; None for one that reaches no data."""
    return _BY_NUMBER.get((arch, number))


def numbers_of(hooks: Iterable[Hook], arch: int) -> tuple[int, ...]:
    """The numbers of every system call that does one of ``hooks``: what a rule has to name."""
    wanted = frozenset(hooks)
    return tuple(sorted(number for (of, number), call in _BY_NUMBER.items() if of == arch and call.hook in wanted))


def deed_of(call: Call, arguments: tuple[int, ...], how: int | None, *, made: bool) -> tuple[Hook, Access]:
    """What was done and what it asked for. ``how``: the flags of openat2; ``made``: an open made the file.

    NONE if it asks for nothing: an O_PATH open, a socket call that does not connect.
    """
    if call.name == "socketcall" and arguments[0] != _SOCKETCALL_CONNECT:
        return call.hook, Access.NONE
    if call.name == "unlinkat" and arguments[2] & _REMOVEDIR:
        return Hook.RMDIR, call.asked
    if call.hook is not Hook.OPEN:
        return call.hook, call.asked
    asked = call.asked if call.flags is None else _opened(how if call.flags == HOW else arguments[call.flags])
    return (Hook.CREATE, asked | W) if made else (Hook.OPEN, asked)


def _opened(flags: int | None) -> Access:
    if flags is None:
        return _EVERY  # an openat2 whose record of flags is missing: what it may have asked for
    if flags & os.O_PATH:
        return Access.NONE
    asked = _ACCESS.get(flags & os.O_ACCMODE, _EVERY)
    return asked | W if flags & os.O_TRUNC else asked
