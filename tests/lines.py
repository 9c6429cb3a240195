"""Every line of a journal that a test makes or meets is held to the shipped JSON Schema, to the letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

import enforcer
from enforcer.edges.segments import blocks, segments_of

SCHEMA = Path(enforcer.__file__).parent / "schemas" / "event-2.json"


def _to_the_letter(part: Any) -> Any:
    """The schema with nothing allowed that it does not name: what we write has no other members."""
    if isinstance(part, list):
        return [_to_the_letter(item) for item in part]
    if not isinstance(part, dict):
        return part
    strict = {key: _to_the_letter(value) for key, value in part.items()}
    return strict | {"additionalProperties": False} if "properties" in part else strict


_VALIDATOR = jsonschema_rs.validator_for(_to_the_letter(json.loads(SCHEMA.read_bytes())), validate_formats=True)


def checked(line: str | bytes) -> dict[str, Any]:
    """The document of a line. Raises ``AssertionError`` that says what is wrong with it."""
    check_line(line)
    document: dict[str, Any] = json.loads(line)
    return document


def check_line(line: str | bytes) -> None:
    """Raises ``AssertionError`` that says what is wrong with the line."""
    document = json.loads(line)
    errors = [f"{error.instance_path}: {error.message}" for error in _VALIDATOR.iter_errors(document)]
    assert not errors, f"{errors}: {line!r}"


def check_journal(path: Path) -> int:
    """Every whole line of a journal; how many there are."""
    number = 0
    for segment in segments_of(path) if path.exists() else ():
        for block in blocks(segment):
            for line in block.split(b"\n")[:-1]:
                check_line(line)
                number += 1
    return number
