"""Where the running kernel keeps the fields that ``probes/kernel.h`` reads, taken from the kernel's own BTF.

Format: Documentation/bpf/btf.rst of the kernel. Only what is needed to find members of structs is decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from enforcer.errors import HostError

BTF_PATH = Path("/sys/kernel/btf/vmlinux")
CALL = re.compile(r"^ENF_CALL\((\w+), (\w+)\)$", re.MULTILINE)
FIELD = re.compile(r"ENF_(?:FIELD|RENAMED)\(\s*(\w+)\s*,[^,;]+,\s*(\w+)\s*(?:,\s*(\w+)\s*)?\);")

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_ARRAY, _STRUCT, _UNION, _FUNCTION = 3, 4, 5, 12
# bytes that follow the 12-byte common part, by kind; those that grow with vlen have a size for each element
_FIXED = {1: 4, _ARRAY: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_ALIASES = frozenset({8, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag


@dataclass(frozen=True)
class Field:
    """One ENF_FIELD of ``probes/kernel.h``; ``later`` is the name that later kernels use, or the same."""

    struct: str
    name: str
    later: str

    @property
    def macro(self) -> str:
        """The macro that tells the C compiler where the field is."""
        return f"ENF_AT_{self.struct}_{self.name}"


def wanted(kernel_h: str) -> tuple[Field, ...]:
    """The fields that a text in the form of ``probes/kernel.h`` asks for."""
    body = kernel_h[kernel_h.find("struct ns_common") :]
    return tuple(Field(s, n, later or n) for s, n, later in FIELD.findall(body))


PREFIXES = {"LSM": "bpf_lsm_", "FMR": "security_"}
"""What a hook is called by mechanism: the function that LSM programs are attached to, and the one that fmod_ret modifies."""


class Btf:
    """The types of one kernel. ``data`` is the raw content of a BTF file, ``functions`` those whose arguments are asked for."""

    def __init__(self, data: bytes, functions: Iterable[str] = ()) -> None:
        if len(data) < _HEADER.size:
            raise HostError(f"{BTF_PATH} is empty: the kernel needs CONFIG_DEBUG_INFO_BTF=y")
        magic, _version, _flags, header, types, types_len, strings, strings_len = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise HostError(f"{BTF_PATH} is not BTF: the kernel needs CONFIG_DEBUG_INFO_BTF=y")
        self._data = data
        self._strings = data[header + strings : header + strings + strings_len]
        self._at = [0]
        self._by_name: dict[bytes, int] = {}
        at = {name: self._strings.find(b"\0" + name.encode() + b"\0") + 1 for name in functions}
        self._wanted = {offset: name for name, offset in at.items() if offset}
        self._prototypes: dict[str, int] = {}
        self._index(header + types, header + types + types_len)

    def _index(self, at: int, end: int) -> None:
        unpack = struct.Struct("<III").unpack_from
        while at < end:
            name, info, other = unpack(self._data, at)
            kind = (info >> 24) & 0x1F
            if kind == _FUNCTION and name in self._wanted:
                self._prototypes[self._wanted[name]] = other
            if kind in (_STRUCT, _UNION) and name:
                self._by_name.setdefault(self._string(name), len(self._at))
            self._at.append(at)
            at += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)

    def _string(self, offset: int) -> bytes:
        return self._strings[offset : self._strings.index(b"\0", offset)]

    def _members(self, type_id: int) -> list[tuple[bytes, int, int]]:
        """Name, type and byte offset of each member; none for what is no struct or union."""
        while True:
            _, info, other = struct.unpack_from("<III", self._data, self._at[type_id])
            kind, count = (info >> 24) & 0x1F, info & 0xFFFF
            if kind not in _ALIASES:
                break
            type_id = other
        if kind not in (_STRUCT, _UNION):
            return []
        bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF  # with kind_flag the upper byte is a bitfield's size
        rows = struct.iter_unpack("<III", self._data[self._at[type_id] + 12 : self._at[type_id] + 12 + 12 * count])
        return [(self._string(name), member, (offset & bits) // 8) for name, member, offset in rows]

    def _find(self, type_id: int, name: bytes) -> int | None:
        for member, member_type, offset in self._members(type_id):
            if member == name:
                return offset
            if (not member or self._is_union(member_type)) and (inner := self._find(member_type, name)) is not None:
                return offset + inner
        return None

    def _is_union(self, type_id: int) -> bool:
        info: int = struct.unpack_from("<I", self._data, self._at[type_id] + 4)[0]
        return info >> 24 & 0x1F == _UNION

    def arguments(self, function: str) -> tuple[str, ...]:
        """The names of a function's arguments; none if the kernel has no such function."""
        if function not in self._prototypes:
            return ()
        at = self._at[self._prototypes[function]]
        count = struct.unpack_from("<I", self._data, at + 4)[0] & 0xFFFF
        names = struct.iter_unpack("<II", self._data[at + 12 : at + 12 + 8 * count])
        return tuple(self._string(name).decode() for name, _ in names)

    def offset(self, field: Field) -> int:
        """Bytes from the start of the struct to the field. Raises ``HostError`` naming a field that is not there."""
        type_id = self._by_name.get(field.struct.encode())
        for name in (field.name, field.later):
            if type_id is not None and (found := self._find(type_id, name.encode())) is not None:
                return found
        raise HostError(
            f"this kernel's struct {field.struct} has no field {field.name}, which the probes read: "
            "report the kernel version; this release does not support it"
        )


def header(kernel_h: str, btf_path: Path = BTF_PATH) -> str:
    """The text of ``offsets.h`` for the running kernel. Raises ``HostError`` without BTF or where a field is missing."""
    calls = CALL.findall(kernel_h)
    try:
        btf = Btf(btf_path.read_bytes(), [prefix + hook for hook, _ in calls for prefix in PREFIXES.values()])
    except OSError as e:
        raise HostError(
            f"cannot read {btf_path} ({e.strerror}): the kernel needs CONFIG_DEBUG_INFO_BTF=y, as distributions have since 2020"
        ) from e
    lines = [f"#define {field.macro} {btf.offset(field)}" for field in wanted(kernel_h)]
    return "\n".join(["/* generated from the running kernel's BTF */", *lines, *_positions(btf, calls), ""])


def _positions(btf: Btf, calls: Iterable[tuple[str, str]]) -> Iterator[str]:
    for mechanism, prefix in PREFIXES.items():
        for hook, argument in calls:
            names = btf.arguments(prefix + hook)
            at = names.index(argument) if argument in names else 0
            yield f"#define ENF_{mechanism}_{hook}_{argument} {at}"
