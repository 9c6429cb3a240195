"""The format of a journal line as a JSON Schema, made of the declarations in ``enforcer.edges.ecs_line``.

It is shipped as ``enforcer/schemas/event-<schema>.json``; ``enforcer log schema`` prints it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from enforcer.edges import ecs_line as ecs

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The schema as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(event_schema()), indent=2).decode() + "\n"


def event_schema() -> dict[str, Any]:
    """Of one line: an attempt or a notice. Members that it does not name may come with later versions of the same schema."""
    (attempt, notice), parts = msgspec.json.schema_components(
        (ecs.AttemptLine, ecs.NoticeLine), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": _DIALECT,
        "title": f"A line of the enforcer's journal, schema {ecs.SCHEMA}",
        "anyOf": [attempt, notice],
        "$defs": parts,
    }
