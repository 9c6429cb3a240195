"""Where the running kernel keeps the fields that ``probes/kernel.h`` reads, taken from the kernel's own BTF.

Format: Documentation/bpf/btf.rst of the kernel. Only what is needed to find members of structs is decoded.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from enforcer.errors import HostError

BTF_PATH = Path("/sys/kernel/btf/vmlinux")
FIELD = re.compile(r"ENF_(?:FIELD|RENAMED)\(\s*(\w+)\s*,[^,;]+,\s*(\w+)\s*(?:,\s*(\w+)\s*)?\);")

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_ARRAY, _STRUCT, _UNION = 3, 4, 5
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


class Btf:
    """The types of one kernel. ``data`` is the raw content of a BTF file."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size:
            raise HostError(f"{BTF_PATH} is empty: the kernel needs CONFIG_DEBUG_INFO_BTF=y")
        magic, _version, _flags, header, types, types_len, strings, strings_len = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise HostError(f"{BTF_PATH} is not BTF: the kernel needs CONFIG_DEBUG_INFO_BTF=y")
        self._data = data
        self._strings = data[header + strings : header + strings + strings_len]
        self._at = [0]
        self._by_name: dict[bytes, int] = {}
        self._index(header + types, header + types + types_len)

    def _index(self, at: int, end: int) -> None:
        unpack = struct.Struct("<III").unpack_from
        while at < end:
            name, info, _ = unpack(self._data, at)
            kind = (info >> 24) & 0x1F
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
            if not member and (inner := self._find(member_type, name)) is not None:
                return offset + inner
        return None

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
    try:
        btf = Btf(btf_path.read_bytes())
    except OSError as e:
        raise HostError(
            f"cannot read {btf_path} ({e.strerror}): the kernel needs CONFIG_DEBUG_INFO_BTF=y, as distributions have since 2020"
        ) from e
    lines = [f"#define {field.macro} {btf.offset(field)}" for field in wanted(kernel_h)]
    return "\n".join(["/* generated from the running kernel's BTF */", *lines, ""])
