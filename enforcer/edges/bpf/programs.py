"""Every kernel program of ``probes/``: which hook it serves, by which mechanism, and where it is attached.

One hook may have several programs, best mechanism first; the agent attaches the first one that loads, attaches and is
seen to work (``runtime.probes``).
"""

from __future__ import annotations

from dataclasses import dataclass

from enforcer.core.model import Mechanism

# enum bpf_prog_type and enum bpf_attach_type of include/uapi/linux/bpf.h
RAW_TRACEPOINT, CGROUP_SOCK_ADDR, TRACING, LSM = 17, 18, 26, 29
CONNECT4, CONNECT6, SENDMSG4, SENDMSG6 = 10, 11, 14, 15


@dataclass(frozen=True)
class Program:
    """``function`` is its name in the C source; ``tracepoint`` where a raw tracepoint is attached; ``attach`` a cgroup hook."""

    hook: str
    mechanism: Mechanism
    function: str
    kind: int
    tracepoint: str = ""
    attach: int = -1


def _tracepoint(hook: str, name: str) -> Program:
    return Program(hook, Mechanism.TRACEPOINT, f"raw_tracepoint__{name}", RAW_TRACEPOINT, tracepoint=name)


PROGRAMS = (
    _tracepoint("birth", "cgroup_mkdir"),
    _tracepoint("arm", "sched_process_exec"),
    _tracepoint("death", "cgroup_rmdir"),
    Program("open", Mechanism.LSM, "lsm__file_open", LSM),
    Program("open", Mechanism.FMOD_RET, "kmod_ret__security_file_open", TRACING),
    _tracepoint("open", "sys_exit"),
    Program("unix", Mechanism.LSM, "lsm__unix_stream_connect", LSM),
    Program("unix", Mechanism.FMOD_RET, "kmod_ret__security_unix_stream_connect", TRACING),
    _tracepoint("unix", "sys_exit"),
    Program("refused", Mechanism.FEXIT, "kretfunc__do_filp_open", TRACING),
    _tracepoint("refused", "sys_exit"),
    Program("connect4", Mechanism.CGROUP, "enf_connect4", CGROUP_SOCK_ADDR, attach=CONNECT4),
    Program("connect6", Mechanism.CGROUP, "enf_connect6", CGROUP_SOCK_ADDR, attach=CONNECT6),
    Program("sendmsg4", Mechanism.CGROUP, "enf_sendmsg4", CGROUP_SOCK_ADDR, attach=SENDMSG4),
    Program("sendmsg6", Mechanism.CGROUP, "enf_sendmsg6", CGROUP_SOCK_ADDR, attach=SENDMSG6),
)

MAPS = (
    "config", "subjects", "prepared", "objects", "filesystems", "rows", "net_subjects", "net_rows", "endpoints",
    "members", "cidrs", "subnets", "counts", "losses", "recorded", "attempts", "events",
)  # fmt: skip
