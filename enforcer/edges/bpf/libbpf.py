"""libbpf by ctypes: the few calls that an agent needs once programs are loaded. No compiler, 3 MB instead of 72.

Every call raises ``EdgeError`` with the errno's text. Source: libbpf's bpf.h (Debian package libbpf1).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from enforcer.errors import EdgeError, HostError

SONAME = "libbpf.so.1"
_INSTRUCTION_BYTES, _LOG_BYTES = 8, 1 << 20
_BTF_INT, _BTF_ARRAY, _BTF_FUNC = 1, 3, 12  # BTF_KIND_*
_SK_STORAGE, _NO_PREALLOC = 24, 1  # BPF_MAP_TYPE_SK_STORAGE, BPF_F_NO_PREALLOC
_ROWS = 1024  # read in one call: as many as a bucket of a hash map will not hold
# struct bpf_map_info, bpf_prog_info and bpf_link_info all begin with a type and the id; the others are a map's MapShape
_INFO_BYTES, _ID_AT, _SHAPE_AT = 256, 4, (0, 8, 12, 16, 20)


class _LinkOptions(ctypes.Structure):
    """struct bpf_link_create_opts, up to the cookie of a tracing program."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("flags", ctypes.c_uint32),
        ("iter_info", ctypes.c_void_p),
        ("iter_info_len", ctypes.c_uint32),
        ("target_btf_id", ctypes.c_uint32),
        ("cookie", ctypes.c_uint64),
    )


class _MapOptions(ctypes.Structure):
    """struct bpf_map_create_opts, up to the flags."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("types", ctypes.c_uint32 * 4),
        ("inner", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class _ProgramOptions(ctypes.Structure):
    """struct bpf_prog_load_opts, whole."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("attach", ctypes.c_uint32),
        ("btf_fd_flags_interface_version", ctypes.c_uint32 * 4),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_fds", ctypes.c_uint32 * 2),
        ("fd_array", ctypes.c_void_p),
        ("functions", ctypes.c_void_p),
        ("functions_count_size", ctypes.c_uint32 * 2),
        ("lines", ctypes.c_void_p),
        ("lines_count_size", ctypes.c_uint32 * 2),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log", ctypes.c_char_p),
    )


class MapShape(NamedTuple):
    """What bpf(BPF_MAP_CREATE) is told; sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int

    def of_sockets(self) -> MapShape:
        """The same value, kept with each socket rather than in a table."""
        return self._replace(kind=_SK_STORAGE, entries=0, flags=_NO_PREALLOC)

    def types(self) -> bytes:
        """What the kernel wants to know of such a key and value: a number, and so many. Source: Documentation/bpf/btf.rst."""
        number = struct.pack("=IIII", 1, _BTF_INT << 24, self.key_size, 1 << 24 | self.key_size * 8)
        value = struct.pack("=IIIIII", 0, _BTF_ARRAY << 24, 0, 1, 1, self.value_size // self.key_size)
        words = b"\0int\0"
        size = len(number + value)
        return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, size, size, len(words)) + number + value + words


class Libbpf:
    """The library, loaded once. Raises ``HostError`` where it is not installed."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL(SONAME, use_errno=True)
        except OSError as e:
            raise HostError(f"{SONAME} is missing: install Debian's package libbpf1") from e
        self._lib.libbpf_set_print(None)

    def _call(self, name: str, *arguments: object) -> int:
        result: int = getattr(self._lib, name)(*arguments)
        if result < 0:
            number = ctypes.get_errno() or -result
            raise EdgeError(f"{name}: {os.strerror(number)}")
        return result

    def open(self, pin: Path) -> int:
        """A descriptor of a pinned map, program or link."""
        return self._call("bpf_obj_get", str(pin).encode())

    def pin(self, fd: int, path: Path) -> None:
        """Pin what ``fd`` refers to: it lives on without us."""
        self._call("bpf_obj_pin", fd, str(path).encode())

    def attach_tracepoint(self, program: int, name: str) -> int:
        """A link: ``program`` runs at the raw tracepoint ``name``; without a name, where it was loaded for (fexit)."""
        return self._call("bpf_raw_tracepoint_open", name.encode() if name else None, program)

    def attach_security(self, program: int, attach: int, cookie: int) -> int:
        """A link: ``program`` (LSM, fmod_ret) answers the function that it was loaded for, and can read ``cookie``."""
        options = _LinkOptions(sz=ctypes.sizeof(_LinkOptions), cookie=cookie)
        return self._call("bpf_link_create", program, 0, attach, ctypes.byref(options))

    def attach_iterator(self, program: int, attach: int) -> int:
        """A link: whoever reads it as a file, once it is pinned, has ``program`` run over what it was loaded for."""
        return self._call("bpf_link_create", program, 0, attach, None)

    def number(self, fd: int) -> int:
        """The kernel's id of a map, a program or a link."""
        return int.from_bytes(self._info(fd)[_ID_AT : _ID_AT + 4], "little")

    def _info(self, fd: int) -> bytes:
        info, size = ctypes.create_string_buffer(_INFO_BYTES), ctypes.c_uint32(_INFO_BYTES)
        self._call("bpf_obj_get_info_by_fd", fd, info, ctypes.byref(size))
        return info.raw

    def shape(self, fd: int) -> MapShape:
        """What a map was made as."""
        info = self._info(fd)
        return MapShape(*(int.from_bytes(info[at : at + 4], "little") for at in _SHAPE_AT))

    def create_map(self, name: str, shape: MapShape) -> int:
        """A descriptor of a new map."""
        options = _MapOptions(sz=ctypes.sizeof(_MapOptions), flags=shape.flags)
        types = -1
        if shape.kind == _SK_STORAGE:
            blob = shape.types()
            types = self._call("bpf_btf_load", blob, ctypes.c_size_t(len(blob)), None)
            options.types[:3] = types, 1, 2
        made = (shape.kind, name.encode(), shape.key_size, shape.value_size, shape.entries)
        try:
            return self._call("bpf_map_create", *made, ctypes.byref(options))
        finally:
            if types >= 0:
                os.close(types)

    def load(self, name: str, code: bytes, *, kind: int, attach: int, target: int) -> int:
        """A descriptor of a new program; ``target``: the BTF id of the function it is for. The verifier may refuse: ``EdgeError``.

        ``code``: struct bpf_insn after struct bpf_insn. What the verifier says of one that it refuses goes to standard error.
        """
        options = _ProgramOptions(sz=ctypes.sizeof(_ProgramOptions), attach=attach, attach_btf_id=target)
        count = ctypes.c_size_t(len(code) // _INSTRUCTION_BYTES)
        given = (kind, name.encode(), b"GPL", code, count, ctypes.byref(options))
        try:
            return self._call("bpf_prog_load", *given)
        except EdgeError:
            text = ctypes.create_string_buffer(_LOG_BYTES)
            options.log_level, options.log_size = 1, _LOG_BYTES
            options.log = ctypes.cast(text, ctypes.c_char_p)
            with suppress(EdgeError):
                os.close(self._call("bpf_prog_load", *given))
            print(name, text.value.decode(errors="replace"), sep="\n", file=sys.stderr)
            raise

    def functions(self, names: Iterable[str]) -> dict[str, int]:
        """The BTF ids of the kernel's functions; none for those it does not have. Raises ``EdgeError`` without BTF."""
        self._lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
        types = ctypes.c_void_p(self._lib.btf__load_vmlinux_btf())
        if not types:
            raise EdgeError(f"btf__load_vmlinux_btf: {os.strerror(ctypes.get_errno())}")
        try:
            found = {name: self._lib.btf__find_by_name_kind(types, name.encode(), _BTF_FUNC) for name in names}
            return {name: number for name, number in found.items() if number > 0}
        finally:
            self._lib.btf__free(types)

    def has_program(self, number: int) -> bool:
        """Whether the kernel still has the program with this id."""
        fd = self._lib.bpf_prog_get_fd_by_id(number)
        if fd >= 0:
            os.close(fd)
        return bool(fd >= 0)

    def attach_cgroup(self, program: int, cgroup: int, attach: int) -> int:
        """A link: ``program`` answers the cgroup hook ``attach`` for ``cgroup`` and all under it, beside others' programs."""
        return self._call("bpf_link_create", program, cgroup, attach, None)

    def put(self, fd: int, key: bytes, value: bytes) -> None:
        """Write one row, new or not."""
        self._call("bpf_map_update_elem", fd, key, value, ctypes.c_uint64(0))

    def delete(self, fd: int, key: bytes) -> bool:
        """Remove one row; False if there was none."""
        if self._lib.bpf_map_delete_elem(fd, key) < 0:
            if ctypes.get_errno() != errno.ENOENT:
                raise EdgeError(f"bpf_map_delete_elem: {os.strerror(ctypes.get_errno())}")
            return False
        return True

    def get(self, fd: int, key: bytes, size: int) -> bytes | None:
        """The value of a row, ``size`` bytes (per-CPU maps: for all CPUs together), or None."""
        value = ctypes.create_string_buffer(size)
        if self._lib.bpf_map_lookup_elem(fd, key, value) < 0:
            if ctypes.get_errno() != errno.ENOENT:
                raise EdgeError(f"bpf_map_lookup_elem: {os.strerror(ctypes.get_errno())}")
            return None
        return value.raw

    def next_key(self, fd: int, key: bytes | None, size: int) -> bytes | None:
        """The key after ``key`` (the first for None), or None at the end."""
        following = ctypes.create_string_buffer(size)
        if self._lib.bpf_map_get_next_key(fd, key, following) < 0:
            if ctypes.get_errno() != errno.ENOENT:
                raise EdgeError(f"bpf_map_get_next_key: {os.strerror(ctypes.get_errno())}")
            return None
        return following.raw

    def rows(self, fd: int, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
        """Every row of a hash map, in a few calls; rows that come or go meanwhile may be missed. ``value_size`` as of ``get``."""
        for number, keys, values in self.blocks(fd, key_size, value_size):
            for n in range(number):
                yield keys[n * key_size : (n + 1) * key_size], values[n * value_size : (n + 1) * value_size]

    def blocks(self, fd: int, key_size: int, value_size: int) -> Iterator[tuple[int, bytes, bytes]]:
        """The same, many at a time: how many, their keys one after the other, and their values."""
        keys, values = (ctypes.create_string_buffer(_ROWS * size) for size in (key_size, value_size))
        at, count, more = ctypes.c_uint32(), ctypes.c_uint32(_ROWS), True
        begin = None
        while more:
            count.value = _ROWS
            if self._lib.bpf_map_lookup_batch(fd, begin, ctypes.byref(at), keys, values, ctypes.byref(count), None) < 0:
                if ctypes.get_errno() != errno.ENOENT:
                    raise EdgeError(f"bpf_map_lookup_batch: {os.strerror(ctypes.get_errno())}")
                more = False
            begin = ctypes.byref(at)
            number = count.value
            yield number, keys.raw[: number * key_size], values.raw[: number * value_size]

    def put_all(self, fd: int, rows: Mapping[bytes, bytes]) -> None:
        """Write rows, new or not, in one call, which no signal interrupts: who is killed has written all of them or none.

        Raises ``EdgeError`` at the first row that the kernel refuses; those before it are written.
        """
        self.put_rows(fd, len(rows), b"".join(rows), b"".join(rows.values()))

    def put_rows(self, fd: int, number: int, keys: bytes, values: bytes) -> None:
        """The same for so many rows whose keys, and whose values, stand one after the other."""
        self._call("bpf_map_update_batch", fd, keys, values, ctypes.byref(ctypes.c_uint32(number)), None)

    def delete_all(self, fd: int, keys: Sequence[bytes]) -> None:
        """Remove rows that are there, in one call."""
        self.delete_rows(fd, len(keys), b"".join(keys))

    def delete_rows(self, fd: int, number: int, keys: bytes) -> None:
        """The same for so many keys that stand one after the other."""
        self._call("bpf_map_delete_batch", fd, keys, ctypes.byref(ctypes.c_uint32(number)), None)

    def cpus(self) -> int:
        """CPUs that per-CPU maps hold a slot for."""
        return self._call("libbpf_num_possible_cpus")
