"""Does this kernel let us have BPF at all? Found out by loading the smallest program of the kind that every host needs."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

BTF = Path("/sys/kernel/btf/vmlinux")
_BPF, _PROG_LOAD, _RAW_TRACEPOINT = (
    321,
    5,
    17,
)  # syscall_64.tbl; enum bpf_cmd and bpf_prog_type of include/uapi/linux/bpf.h
_RETURN_0 = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)  # r0 = 0; exit
_ATTRIBUTES = struct.Struct("=IIQQ")  # union bpf_attr: prog_type, insn_cnt, insns, license

_libc = ctypes.CDLL(None, use_errno=True)


def why_no_bpf() -> str:
    """What the kernel says to a program of ours, or that it has no BTF; "" if it takes programs."""
    if not BTF.exists():
        return f"the kernel does not describe itself ({BTF} is missing)"
    instructions, licence = ctypes.create_string_buffer(_RETURN_0), ctypes.create_string_buffer(b"GPL")
    asked = _ATTRIBUTES.pack(_RAW_TRACEPOINT, 2, ctypes.addressof(instructions), ctypes.addressof(licence))
    fd = _libc.syscall(_BPF, _PROG_LOAD, ctypes.create_string_buffer(asked, 128), 128)
    if fd < 0:
        return f"bpf(2): {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return ""
