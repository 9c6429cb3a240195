"""Records as Timesketch imports them: JSON Lines with ``message``, ``datetime`` and ``timestamp_desc``.

What it asks for: https://timesketch.org/guides/user/import-from-json-csv/ -- these three in each line, ``timestamp`` in
microseconds, and a file that is called ``.jsonl``. The fields of the Elastic Common Schema follow, their names joined by dots.
Labels and a notice's own fields are lists of ``key=value``: as fields of their own, whoever starts containers could
fill an index with names of his choice, or give one field two types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import msgspec

from enforcer.core.event import Event, Notice
from enforcer.core.timestamp import to_rfc3339
from enforcer.edges.ecs import to_ecs

SUFFIX = ".jsonl"
"""What the name of a file must end in for Timesketch to take it."""

_DESCRIPTIONS = {True: "Access attempt", False: "Enforcer notice"}
_OPEN = ("container.labels", "enforcer.fields")


def write_timesketch(items: Iterable[Event | Notice], file: BinaryIO) -> int:
    """Write all of ``items``, one by one; how many there were. Errors of ``file`` are those of ``OSError``."""
    encoder, number = msgspec.json.Encoder(), 0
    for number, item in enumerate(items, start=1):  # noqa: B007 -- how many there were
        file.write(encoder.encode(timesketch(item)) + b"\n")
    return number


def timesketch(item: Event | Notice) -> dict[str, Any]:
    """One line's object. ``datetime`` and ``timestamp`` to the microsecond, ``@timestamp`` exact."""
    attempt = isinstance(item, Event)
    return {
        **dict(_flat("", to_ecs(item))),
        "datetime": f"{to_rfc3339(item.time_ns)[:26]}+00:00",
        "timestamp": item.time_ns // 1000,
        "timestamp_desc": _DESCRIPTIONS[attempt],
        "data_type": f"enforcer:{'attempt' if attempt else 'notice'}",
    }


def _flat(prefix: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in document.items():
        name = f"{prefix}{key}"
        if name in _OPEN:
            yield name, _listed(value)
        elif isinstance(value, dict):
            yield from _flat(f"{name}.", value)
        else:
            yield name, value


def _listed(found: Mapping[str, Any]) -> list[str]:
    """The document's texts are escaped already."""
    return sorted(f"{key.replace('=', chr(92) + 'x3d')}={value}" for key, value in found.items())
