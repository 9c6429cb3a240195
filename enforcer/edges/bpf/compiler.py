"""The one place that uses bcc: compiles ``probes/`` to the byte code that the kernel loads, and keeps what it compiled.

Compiling takes some seconds and all of LLVM (72 MB), and gives the same for the same text: a directory that only root may
look into keeps the results, each under the hash of its text. Loading them is ``edges.bpf.build``.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from enforcer.edges.bpf.libbpf import Libbpf, MapShape
from enforcer.edges.bpf.programs import MAPS, PROGRAMS, SOCKET_STORAGE
from enforcer.errors import AbiError

KEPT = 4
"""Results that are kept: those of the running kernel and of a few before it."""

INCLUDE = re.compile(r'^#include "(\w+\.[ch])"$', re.MULTILINE)
CFLAGS = ("-g0", "-Wno-unused-function", "-Wno-macro-redefined")
"""Without debug information: it is a quarter of the compiling, and nobody reads it."""

_INSTRUCTION = struct.Struct("=BBhi")  # struct bpf_insn: code, registers, offset, immediate
_LOAD_64, _MAP_FD = 0x18, 1  # BPF_LD | BPF_IMM | BPF_DW; BPF_PSEUDO_MAP_FD in the source register: the upper half
_IMMEDIATE_AT = 4

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


class Function(msgspec.Struct, array_like=True):
    """One C function as struct bpf_insn after struct bpf_insn; ``maps``: offset in bytes → the map whose descriptor goes there."""

    code: bytes
    maps: dict[int, str]

    def linked(self, fds: dict[str, int]) -> bytes:
        """The byte code with the descriptors of this process's maps."""
        code = bytearray(self.code)
        for at, name in self.maps.items():
            struct.pack_into("=i", code, at, fds[name])
        return bytes(code)


class Compiled(msgspec.Struct, array_like=True):
    """All of ``probes/`` for one kernel."""

    maps: dict[str, MapShape]
    functions: dict[str, Function]


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


def compiled(text: str, cache: Path, libbpf: Libbpf) -> Compiled:
    """The byte code of one flattened text: from ``cache`` (an existing private directory), or compiled and kept there.

    Raises ``AbiError`` where the C does not compile or the kernel refuses its maps: standard error has the compiler's words.
    """
    path = cache / hashlib.sha256(f"{text}{CFLAGS}{Path(__file__).read_text()}".encode()).hexdigest()[:32]
    try:
        found = msgspec.msgpack.decode(path.read_bytes(), type=Compiled)
        os.utime(path)
    except (FileNotFoundError, msgspec.DecodeError):
        found = _compile(text, libbpf)
        _keep(path, msgspec.msgpack.encode(found))
    return found


def _keep(path: Path, data: bytes) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(path)
    with suppress(FileNotFoundError):  # `doctor` may be tidying up just now
        for old in sorted(path.parent.iterdir(), key=lambda p: p.stat().st_mtime_ns, reverse=True)[KEPT:]:
            old.unlink()


def _compile(text: str, libbpf: Libbpf) -> Compiled:
    with tempfile.TemporaryDirectory(prefix="enforcer-") as scratch:
        _stub_tree(Path(scratch))
        os.environ["BCC_KERNEL_SOURCE"] = scratch
        from bcc import BPF, lib  # noqa: PLC0415 -- reads BCC_KERNEL_SOURCE, and loads all of LLVM

        class Module(BPF):  # type: ignore[misc]  # bcc has no types
            def _trace_autoload(self) -> None:
                """Load nothing: that is another module's work."""

        try:
            module = Module(text=text, cflags=list(CFLAGS)).module
        except Exception as e:  # bcc raises nothing narrower
            raise AbiError(str(e)) from e
    if absent := {p.source for p in PROGRAMS if not lib.bpf_function_start(module, p.source.encode())}:
        raise AbiError(f"the C files do not have {', '.join(sorted(absent))}")
    fds = {name: lib.bpf_table_fd(module, name.encode()) for name in MAPS}
    names = {fd: name for name, fd in fds.items()}
    functions = {
        source: _function(_code(lib, module, source), names) for source in dict.fromkeys(p.source for p in PROGRAMS)
    }
    shapes = {name: libbpf.shape(fd) for name, fd in fds.items()}
    return Compiled(shapes | {name: shapes[name].of_sockets() for name in SOCKET_STORAGE}, functions)


def _code(lib: ctypes.CDLL, module: int, source: str) -> bytes:
    start, size = (ask(module, source.encode()) for ask in (lib.bpf_function_start, lib.bpf_function_size))
    return ctypes.string_at(start, size)


def _function(code: bytes, names: dict[int, str]) -> Function:
    """bcc has put the descriptors of its own maps into the code: they are taken out."""
    maps, left = {}, bytearray(code)
    for number, (operation, registers, _, immediate) in enumerate(_INSTRUCTION.iter_unpack(code)):
        if operation == _LOAD_64 and registers >> 4 == _MAP_FD:
            at = number * _INSTRUCTION.size + _IMMEDIATE_AT
            maps[at] = names[immediate]
            struct.pack_into("=i", left, at, 0)
    return Function(bytes(left), maps)
