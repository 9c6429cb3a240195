"""From records to bytes and back, by the layout of their ctypes classes: strictly. What does not fit raises ``AbiError``."""

from __future__ import annotations

import ctypes
from typing import Any, TypeVar

from enforcer.errors import AbiError


class Record(ctypes.Structure):
    """The parent of every mirrored struct."""


S = TypeVar("S", bound=Record)


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


def decode(kind: type[S], data: bytes | bytearray | memoryview) -> S:
    """The record in ``data``. Raises ``AbiError`` unless it has exactly the size of the struct."""
    if len(data) != ctypes.sizeof(kind):
        raise AbiError(f"{kind.__name__} has {ctypes.sizeof(kind)} bytes, the kernel gave {len(data)}")
    return kind.from_buffer_copy(data)
