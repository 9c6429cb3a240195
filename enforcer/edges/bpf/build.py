"""The one place that uses bcc: compiles ``probes/``, loads each program, pins programs and maps, and exits.

Runs as a child process (``python -m enforcer.edges.bpf.build``), because bcc brings all of LLVM: 72 MB that the agent then
does not carry. It reads one JSON object on standard input (``Job``) and answers with one on standard output (``Built``).
The verifier's own words go to standard error.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
import tempfile
from pathlib import Path

import msgspec

from enforcer.core.model import Mechanism
from enforcer.edges.bpf.programs import MAPS, PROGRAMS, Program

INCLUDE = re.compile(r'^#include "(\w+\.[ch])"$', re.MULTILINE)

# What bcc includes from a kernel's headers, which this host need not have: the least that its own helpers.h needs.
STUBS = {
    "include/linux/kconfig.h": """
#define CONFIG_BPF_SYSCALL 1
#define PAGE_SIZE 4096
typedef signed char __s8; typedef unsigned char __u8; typedef short __s16; typedef unsigned short __u16;
typedef int __s32; typedef unsigned int __u32; typedef long long __s64; typedef unsigned long long __u64;
typedef __s8 s8; typedef __u8 u8; typedef __s16 s16; typedef __u16 u16;
typedef __s32 s32; typedef __u32 u32; typedef __s64 s64; typedef __u64 u64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64; typedef __u16 __le16; typedef __u32 __wsum;
typedef __u16 __sum16; typedef unsigned long size_t; typedef unsigned long uintptr_t; typedef int pid_t;
typedef _Bool bool;
#define true 1
#define false 0
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __always_inline inline __attribute__((always_inline))
""",
    "include/linux/types.h": "",
    "include/linux/version.h": "#define LINUX_VERSION_CODE 0\n#define KERNEL_VERSION(a, b, c) 0\n",
    "include/linux/log2.h": "",
    "include/linux/bpf.h": "",
    "include/linux/bpf_common.h": "",
    "include/uapi/linux/bpf.h": "",
    "include/uapi/linux/if_packet.h": "",
    "include/asm/page.h": "",
}


class Job(msgspec.Struct):
    """``source``: directory of the C files. ``offsets``: text of offsets.h. ``pins``: an existing empty bpffs directory.

    ``mechanisms``: which of LSM and FMOD_RET to load programs for; those of the other mechanisms are always loaded.
    """

    source: str
    offsets: str
    pins: str
    mechanisms: list[int]


class Built(msgspec.Struct):
    """``loaded``: functions that the kernel accepted. ``refused``: function → why not. ``error``: nothing was built."""

    loaded: list[str]
    refused: dict[str, str]
    error: str = ""


def flatten(source: Path, offsets: str, name: str = "main.c") -> str:
    """One text out of ``main.c`` and what it includes: bcc rewrites only the main file, not what it includes."""

    def text_of(found: re.Match[str]) -> str:
        if found[1] == "offsets.h":
            return offsets
        return f'#line 1 "{found[1]}"\n' + flatten(source, offsets, found[1])

    return INCLUDE.sub(text_of, (source / name).read_text())


def _stub_tree(root: Path) -> None:
    for name, text in STUBS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _load(module: int, program: Program, pins: Path) -> str:
    """Load and pin one program; the reason if the kernel refuses it.

    Not by bcc's ``load_func``, which loads a C function under its own name only: one of ours serves many hooks, and what bcc
    attaches to is in the name.
    """
    from bcc import lib  # noqa: PLC0415 -- 72 MB: only in this child

    source, name = program.source.encode(), program.function.encode()
    code = (lib.bpf_function_start(module, source), lib.bpf_function_size(module, source))
    licence, version = lib.bpf_module_license(module), lib.bpf_module_kern_version(module)
    fd = lib.bcc_func_load(module, program.kind, name, *code, licence, version, 0, None, 0, None, program.attach)
    if fd < 0:
        number = ctypes.get_errno()
        # root is what we are
        return "not permitted for programs of this kind" if number == errno.EPERM else os.strerror(number)
    try:
        if lib.bpf_obj_pin(fd, str(pins / "programs" / program.function).encode()) < 0:
            return "cannot be pinned"
    finally:
        os.close(fd)
    return ""


def build(job: Job) -> Built:
    """Compile and load everything in ``job``. Programs that the kernel refuses are reported, not fatal."""
    with tempfile.TemporaryDirectory(prefix="enforcer-") as scratch:
        _stub_tree(Path(scratch))
        os.environ["BCC_KERNEL_SOURCE"] = scratch
        from bcc import BPF, lib  # noqa: PLC0415 -- reads BCC_KERNEL_SOURCE, and only this child carries it

        class Module(BPF):  # type: ignore[misc]  # bcc has no types
            def _trace_autoload(self) -> None:
                """Load nothing by name: each program is loaded in its own try."""

        text = flatten(Path(job.source), job.offsets)
        try:
            # without debug information: it is a quarter of the compiling, and nobody reads it
            bpf = Module(text=text, cflags=["-g0", "-Wno-unused-function", "-Wno-macro-redefined"])
        except Exception as e:  # noqa: BLE001 -- bcc raises nothing narrower
            return Built([], {}, error=str(e))
    pins = Path(job.pins)
    for directory in ("programs", "maps"):
        (pins / directory).mkdir(mode=0o700)
    for name in MAPS:
        if lib.bpf_obj_pin(lib.bpf_table_fd(bpf.module, name.encode()), str(pins / "maps" / name).encode()) < 0:
            return Built([], {}, error=f"map {name} cannot be pinned")
    if absent := {p.source for p in PROGRAMS if not lib.bpf_function_start(bpf.module, p.source.encode())}:
        return Built([], {}, error=f"the C files do not have {', '.join(sorted(absent))}")
    unasked = {Mechanism.LSM, Mechanism.FMOD_RET} - set(job.mechanisms)
    programs = {p.function: p for p in PROGRAMS if p.mechanism not in unasked}  # one may serve several groups
    refused = {name: why for name, p in programs.items() if (why := _load(bpf.module, p, pins))}
    return Built([name for name in programs if name not in refused], refused)


if __name__ == "__main__":
    answer = build(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))
    sys.stdout.buffer.write(msgspec.json.encode(answer))
