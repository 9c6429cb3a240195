"""The words of DESIGN section 1 that are numbers in the kernel: the values of ``probes/contract.h``."""

from __future__ import annotations

import enum


class Access(enum.IntFlag):
    """What a task asks for, or what a row grants."""

    NONE = 0
    READ = 1
    WRITE = 2
    EXEC = 4
    CONNECT = 8
    TRACE = 16


class Sockets(enum.IntFlag):
    """Kinds of socket whose packets no address is known of when they are made: raw ones for ICMP, other raw ones, all others."""

    NONE = 0
    ICMP = 1
    RAW = 2
    PACKET = 4


READ_ONLY = Access.READ | Access.EXEC
READ_WRITE = Access.READ | Access.WRITE | Access.EXEC


class Mode(enum.IntEnum):
    """What becomes of an access that no rule grants."""

    MONITOR = 0
    ENFORCE = 1


class Verdict(enum.IntEnum):
    """What became of it. ``OBSERVED`` would have been ``DENIED`` in enforce mode."""

    ALLOWED = 0
    OBSERVED = 1
    DENIED = 2
    KILLED = 3


class Mechanism(enum.IntEnum):
    """What produced the verdict. ``MOUNT``: a read-only mount or the file's mode had refused before any hook.

    ``FEXIT`` produces none: it sees what a kernel function returned, and so such refusals.
    """

    LSM = 1
    FMOD_RET = 2
    TRACEPOINT = 3
    CGROUP = 4
    NFT = 5
    AUDIT = 6
    SWEEP = 7
    MOUNT = 8
    FEXIT = 9


class Hook(enum.IntEnum):
    """What a task was doing when the kernel asked for the decision; ``BORN`` and ``DIED`` are no attempts."""

    OPEN = 1
    UNIX = 2
    REFUSED = 3
    CONNECT4 = 4
    CONNECT6 = 5
    SENDMSG4 = 6
    SENDMSG6 = 7
    BORN = 8
    DIED = 9
    CREATE = 10
    MKDIR = 11
    MKNOD = 12
    SYMLINK = 13
    LINK = 14
    UNLINK = 15
    RMDIR = 16
    RENAME = 17
    SETATTR = 18
    SETXATTR = 19
    RECEIVE = 20
    TRACE = 21
    MOUNT = 22
    ESCAPE = 23
    BPF = 24
    EXEC = 25
    IO_URING = 26
    SOCKET = 27
    EGRESS = 28
    SWEEP = 29
    NAME = 30


class NameKind(enum.IntEnum):
    """enum enf_name_kind: whether Docker's resolver tells capital letters in a name apart; if not, its key has none.

    ``BACKWARDS``: an address as PTR asks for it. The others are asked for by A, AAAA and MX.
    """

    AS_WRITTEN = 1
    ANY_CASE = 2
    BACKWARDS = 3


class Kind(enum.StrEnum):
    """The kinds of data object, and two of what no rule can grant: another's ``process``, and parts of the ``host``."""

    VOLUME = "volume"
    PATH = "path"
    LAYER = "layer"
    PROCESS = "process"
    HOST = "host"
