"""Every kernel program of ``probes/``: which group of hooks it belongs to, by which mechanism, and where it is attached.

A group's programs of one mechanism hold it together; mechanisms stand best first, and the agent takes the first one whose
programs all load, attach and are seen to work (``runtime.probes``). One program may serve several hooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from enforcer.core.model import Hook, Mechanism

# enum bpf_prog_type and enum bpf_attach_type of include/uapi/linux/bpf.h
CGROUP_SKB, CGROUP_SOCK, RAW_TRACEPOINT, CGROUP_SOCK_ADDR, TRACING, LSM = 8, 9, 17, 18, 26, 29
INGRESS, EGRESS, SOCK_CREATE, CONNECT4, CONNECT6, SENDMSG4, SENDMSG6 = 0, 1, 2, 10, 11, 14, 15
FEXIT, MODIFY_RETURN, LSM_MAC, ITERATOR = 25, 26, 27, 28


@dataclass(frozen=True)
class Program:
    """One program of the kernel's: the C function ``source``, pinned under the name ``function`` for one hook.

    ``kind`` and ``attach``: its type and where it may be attached; ``target``: the raw tracepoint, or the kernel's function
    that a security or tracing program stands at. ``cookie`` tells a program that serves many
    hooks which one asks. ``optional``: a kernel that lacks the hook lacks the operation, too.
    """

    group: str
    mechanism: Mechanism
    function: str
    kind: int
    source: str
    target: str = ""
    attach: int = 0
    cookie: int = 0
    optional: bool = False


def _tracepoint(group: str, name: str) -> Program:
    function = f"raw_tracepoint__{name}"
    return Program(group, Mechanism.TRACEPOINT, function, RAW_TRACEPOINT, function, target=name)


def _cgroup(group: str, attach: int, kind: int = CGROUP_SOCK_ADDR) -> Program:
    return Program(group, Mechanism.CGROUP, f"enf_{group}", kind, f"enf_{group}", attach=attach)


def _iterator(group: str, name: str, kind: str) -> Program:
    return Program(group, Mechanism.SWEEP, name, TRACING, name, target=f"bpf_iter_{kind}", attach=ITERATOR)


def _security(group: str, hooks: Iterable[tuple[str, Hook, str]], *, optional: bool = False) -> Iterator[Program]:
    """The programs of one group of security hooks by both mechanisms; a hook is (kernel's name, ours, C function)."""
    for mechanism, prefix, target, kind, attach in (
        (Mechanism.LSM, "lsm__", "bpf_lsm_", LSM, LSM_MAC),
        (Mechanism.FMOD_RET, "fmod_ret__", "security_", TRACING, MODIFY_RETURN),
    ):
        for name, hook, source in hooks:
            place = (target + name, attach, hook | mechanism << 8, optional)
            yield Program(
                group, mechanism, prefix + name, kind, source.format(mechanism=mechanism.name.lower()), *place
            )


_OPEN = (("file_open", Hook.OPEN, "enf_file_open"),)
_CHANGE = (
    ("inode_create", Hook.CREATE, "enf_change"),
    ("inode_mkdir", Hook.MKDIR, "enf_change"),
    ("inode_mknod", Hook.MKNOD, "enf_change"),
    ("inode_symlink", Hook.SYMLINK, "enf_change"),
    ("inode_link", Hook.LINK, "enf_link"),
    ("inode_unlink", Hook.UNLINK, "enf_change"),
    ("inode_rmdir", Hook.RMDIR, "enf_change"),
    ("inode_rename", Hook.RENAME, "enf_rename"),
    ("inode_setattr", Hook.SETATTR, "enf_attributes_{mechanism}"),
    ("inode_setxattr", Hook.SETXATTR, "enf_change"),
    ("inode_removexattr", Hook.SETXATTR, "enf_change"),
    ("file_ioctl", Hook.SETATTR, "enf_ioctl"),
)
_CHANGE_LATER = (
    ("file_ioctl_compat", Hook.SETATTR, "enf_ioctl"),
    ("inode_set_acl", Hook.SETXATTR, "enf_change"),
    ("inode_remove_acl", Hook.SETXATTR, "enf_change"),
)
_UNIX = (
    ("unix_stream_connect", Hook.UNIX, "enf_unix_stream_connect"),
    ("unix_may_send", Hook.UNIX, "enf_unix_may_send"),
)
OPENED_FILES, MAPPED_FILES = "enf_opened_files", "enf_mapped_files"
_GUARD = (("bpf_map", Hook.BPF, "enf_bpf_map"), ("bpf_prog", Hook.BPF, "enf_bpf_prog"), ("bpf", Hook.BPF, "enf_bpf"))

PROGRAMS = (
    _tracepoint("birth", "cgroup_mkdir"),
    _tracepoint("arm", "sched_process_exec"),
    _tracepoint("leave", "cgroup_attach_task"),
    _tracepoint("death", "cgroup_rmdir"),
    *_security("open", _OPEN),
    _tracepoint("open", "sys_exit"),
    *_security("exec", _OPEN),
    _tracepoint("exec", "sched_process_exec"),
    *_security("io_uring", _OPEN),
    _tracepoint("io_uring", "io_uring_create"),
    *_security("change", _CHANGE),
    *_security("change", _CHANGE_LATER, optional=True),
    *_security("receive", [("file_receive", Hook.RECEIVE, "enf_file_receive")]),
    *_security("unix", _UNIX),
    _tracepoint("unix", "sys_exit"),
    *_security("trace", [("ptrace_access_check", Hook.TRACE, "enf_trace")]),
    *_security("mount", [("sb_set_mnt_opts", Hook.MOUNT, "enf_mount")]),
    *_security("escape", [("task_alloc", Hook.ESCAPE, "enf_clone")]),
    _tracepoint("escape", "task_newtask"),
    *_security("packet", [("socket_create", Hook.SOCKET, "enf_socket_create")]),
    _tracepoint("packet", "sys_exit"),
    *_security("guard", _GUARD),
    Program(
        "refused", Mechanism.FEXIT, "kretfunc__do_filp_open", TRACING, "kretfunc__do_filp_open", "do_filp_open", FEXIT
    ),
    _tracepoint("refused", "sys_exit"),
    _iterator("opened", OPENED_FILES, "task_file"),
    _iterator("opened", MAPPED_FILES, "task_vma"),
    _cgroup("connect4", CONNECT4),
    _cgroup("connect6", CONNECT6),
    _cgroup("sendmsg4", SENDMSG4),
    _cgroup("sendmsg6", SENDMSG6),
    _cgroup("socket", SOCK_CREATE, CGROUP_SOCK),
    _cgroup("egress", EGRESS, CGROUP_SKB),
    _cgroup("ingress", INGRESS, CGROUP_SKB),
)

SOCKET_STORAGE = frozenset({"recent"})
"""Maps that are not tables but kept with each socket: bcc, which we have write no type information, knows them as hash maps."""

MAPS = (
    "config", "subjects", "subject_slots", "object_slots", "gone", "prepared", "objects", "filesystems", "guarded",
    "strays", "rows", "net_subjects", "net_rows", "endpoints", "members", "cidrs", "subnets", "names", "flows",
    "refusals", "inbound", "recent", "cut", "packets", "counts", "losses", "repeats", "blank", "shares", "taken",
    "accounts", "recording", "accesses", "opened", "told", "attempts", "events",
)  # fmt: skip
