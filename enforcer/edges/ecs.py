"""Events as documents of the Elastic Common Schema, and back, without a bit lost.

``enforcer.edges.ecs_line`` declares the documents. Every text that a container or an operator chose is escaped
(``enforcer.core.words.escape``), so no control character is in a line.
"""

from __future__ import annotations

from typing import Any

import msgspec

from enforcer.core.event import Event, Notice
from enforcer.core.words import escape
from enforcer.edges import ecs_line as ecs
from enforcer.edges.ecs_reading import OLDER, item_of
from enforcer.edges.ecs_writing import line_of
from enforcer.errors import EdgeError

_ENCODER = msgspec.json.Encoder()
_HEADERS = msgspec.json.Decoder(ecs.Header)


def to_ecs(item: Event | Notice) -> dict[str, Any]:
    """The ECS document of ``item``, made of plain JSON types."""
    document: dict[str, Any] = msgspec.json.decode(encode(item, item.sequence))
    return document


def from_ecs(document: dict[str, Any]) -> Event | Notice:
    """The inverse of ``to_ecs``. Raises ``EdgeError`` for a document that is not ours or of an unknown schema."""
    try:
        return decode(msgspec.json.encode(document))
    except (TypeError, UnicodeEncodeError, RecursionError) as e:
        raise EdgeError(f"not a record of this journal: {escape(str(e))}") from e


def encode(item: Event | Notice, sequence: int) -> bytes:
    """One journal line, newline included, numbered ``sequence``."""
    return _ENCODER.encode(line_of(item, sequence)) + b"\n"


def decode(line: bytes) -> Event | Notice:
    """The inverse of ``encode``. Raises ``EdgeError`` that says why the line is none of ours."""
    try:
        return item_of(line)
    except (ValueError, RecursionError) as e:  # msgspec's errors and unescape's are ValueErrors
        raise EdgeError(_reason(line, e)) from e


def _reason(line: bytes, error: Exception) -> str:
    try:
        schema = _HEADERS.decode(line).enforcer.schema
    except msgspec.ValidationError:
        return "JSON, but not a record of this journal"
    except (ValueError, RecursionError):
        return "not JSON"
    if schema not in (OLDER, ecs.SCHEMA):
        reads = f"which reads schemas {OLDER} and {ecs.SCHEMA}"
        return f"schema {schema} is unknown to this version, {reads}: use the one that wrote it"
    return f"not a record of schema {schema}: {escape(str(error))}"
