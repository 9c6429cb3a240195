"""Holds a dashboard against the classes that Grafana's makers generate from its schema (grafana-foundation-sdk).

The classes drop the names that they do not know, and take any value: so what comes back is compared, and what they hold is
held against the types that they declare.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from collections.abc import Iterator

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

register_default_plugins()


def back(parsed: object) -> typing.Any:
    """One of Grafana's objects as JSON, as Grafana would write it."""
    return json.loads(json.dumps(parsed, cls=JSONEncoder))


def mistakes(shipped: dict[str, typing.Any]) -> list[str]:
    """Every name that the schema has not, and every value that is not of its type; each with its place."""
    parsed = Dashboard.from_json(shipped)
    return [*lost(shipped, back(parsed)), *misfits(parsed, Dashboard)]


def lost(shipped: object, returned: object, path: str = "") -> Iterator[str]:
    """Where what was shipped is not in what came back. What comes back besides are defaults."""
    if isinstance(shipped, dict) and isinstance(returned, dict):
        for key, value in shipped.items():
            yield from lost(value, returned.get(key, "(nothing)"), f"{path}.{key}")
    elif isinstance(shipped, list) and isinstance(returned, list) and len(shipped) == len(returned):
        for n, (one, other) in enumerate(zip(shipped, returned, strict=True)):
            yield from lost(one, other, f"{path}[{n}]")
    elif shipped != returned:
        yield f"{path}: {shipped!r} comes back as {returned!r}"


def misfits(value: object, declared: typing.Any, path: str = "") -> Iterator[str]:
    """Where a value is not of the declared type, all the way down."""
    origin, inner = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType):
        yield from _of_one(value, inner, path)
    elif origin is typing.Literal:
        if value not in inner:
            yield f"{path}: {value!r} is none of {inner}"
    elif origin in (list, dict):
        yield from _of_all(value, origin, inner, path)
    elif isinstance(value, dict) and hasattr(declared, "from_json"):  # some lists are left as they came
        read = declared.from_json(value)
        yield from lost(value, back(read), path)
        yield from misfits(read, declared, path)
    elif isinstance(declared, type) and not _fits(value, declared):
        yield f"{path}: {value!r} is no {declared.__name__}"
    elif hasattr(value, "to_json"):
        for name, kind in typing.get_type_hints(type(value)).items():
            yield from misfits(getattr(value, name), kind, f"{path}.{name}")


def _of_one(value: object, kinds: tuple[typing.Any, ...], path: str) -> Iterator[str]:
    """A value of a union: of the class that it is, or else of any."""
    if type(value) in kinds:
        yield from misfits(value, type(value), path)
        return
    found = [list(misfits(value, kind, path)) for kind in kinds if value is None or kind is not types.NoneType]
    if all(found):
        yield from found[0]


def _of_all(value: object, origin: type, inner: tuple[typing.Any, ...], path: str) -> Iterator[str]:
    """A list or a mapping, and what is in it."""
    if not isinstance(value, list | dict) or not isinstance(value, origin):
        yield f"{path}: {value!r} is no {origin.__name__}"
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from misfits(one, inner[-1], f"{path}[{key}]")


def _fits(value: object, declared: type) -> bool:
    """JSON has one kind of number; true is none."""
    if issubclass(declared, enum.Enum):
        return value in {member.value for member in declared}
    if isinstance(value, bool):
        return declared in (bool, object)
    return isinstance(value, int | float if declared is float else declared)
