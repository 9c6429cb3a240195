"""From records to bytes and back, by the layout of their ctypes classes: strictly. What does not fit raises ``AbiError``."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable
from itertools import starmap
from typing import Any, TypeVar

from enforcer.errors import AbiError


class Record(ctypes.Structure):
    """The parent of every mirrored struct."""


_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Bytes of a number without sign → how struct calls it."""

S = TypeVar("S", bound=Record)
Packing = Callable[[Iterable[Any]], bytes]
"""Values → their bytes, one after the other."""


def pack(kind: type[ctypes.Structure] | type[ctypes._SimpleCData[int]], value: object) -> bytes:
    """The bytes of a key or value: a plain int, or a NamedTuple whose fields are named as the struct's. Padding is zero."""
    return bytes(_filled(kind, value))


def _filled(kind: Any, value: Any) -> Any:  # noqa: ANN401 -- ctypes types are known at run time only
    if isinstance(value, int):
        return kind(value)
    if isinstance(value, bytes):
        return kind.from_buffer_copy(value)
    record = kind()
    types = {field[0]: field[1] for field in kind._fields_}
    for name, part in value._asdict().items():
        if isinstance(part, tuple):
            array = getattr(record, name)
            for i, element in enumerate(part):
                array[i] = _filled(types[name]._type_, element)
        else:
            setattr(record, name, part if isinstance(part, int) else _filled(types[name], part))
    return record


def packing(kind: type[ctypes.Structure] | type[ctypes._SimpleCData[int]], sample: Any) -> Packing:  # noqa: ANN401 -- as above
    """``pack`` for many values of the shape of ``sample``, one after the other: by one format if they are flat, without Python."""
    if isinstance(sample, int):
        number = struct.Struct(f"={_CODES[ctypes.sizeof(kind)]}")
        return lambda values: b"".join(map(number.pack, values))
    form, at, names = "=", 0, []
    for name, *_ in getattr(kind, "_fields_", ()):
        place, value = getattr(kind, name), getattr(sample, name, None)
        if value is None:
            continue  # padding
        if isinstance(value, bytes) and len(value) == place.size:
            code = f"{place.size}s"
        elif isinstance(value, int) and place.size in _CODES:
            code = _CODES[place.size]
        else:
            return lambda values: b"".join(pack(kind, value) for value in values)
        form, at = f"{form}{place.offset - at}x{code}", place.offset + place.size
        names.append(name)
    if tuple(names) != getattr(sample, "_fields", None):
        return lambda values: b"".join(pack(kind, value) for value in values)
    whole = struct.Struct(f"{form}{ctypes.sizeof(kind) - at}x")
    return lambda values: b"".join(starmap(whole.pack, values))


def decode(kind: type[S], data: bytes | bytearray | memoryview) -> S:
    """The record in ``data``. Raises ``AbiError`` unless it has exactly the size of the struct."""
    if len(data) != ctypes.sizeof(kind):
        raise AbiError(f"{kind.__name__} has {ctypes.sizeof(kind)} bytes, the kernel gave {len(data)}")
    return kind.from_buffer_copy(data)
