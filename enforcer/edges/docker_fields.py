"""Fields of the engine's answers, of the kind that its API says.

One that is not raises KeyError, TypeError or ValueError, which ``docker_errors.asking`` turns into our error.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from enforcer.abi import DOCKER_ID


def text_of(found: Mapping[str, Any], key: str) -> str:
    """A text, "" if it is not there."""
    value = found.get(key) or ""
    if not isinstance(value, str):
        raise TypeError(f"{key} is no text but {value!r}")
    return value


def number_of(found: Mapping[str, Any], key: str) -> int:
    """A number that is not negative, 0 if it is not there."""
    return max(0, int(found.get(key) or 0))


def name_of(found: Mapping[str, Any], key: str = "Name") -> str:
    """A text that must be there."""
    if not (name := text_of(found, key)):
        raise KeyError(key)
    return name


def identity_of(found: Mapping[str, Any]) -> str:
    """A container's id."""
    identity = text_of(found, "Id")
    if len(identity) != DOCKER_ID or not set(identity) <= set(string.hexdigits.lower()):
        raise ValueError(f"Id is {identity!r}")
    return identity


def labels_of(found: Mapping[str, Any]) -> dict[str, str]:
    """A mapping of texts to texts."""
    labels = found.get("Labels") or {}
    return {text_of({"label": name}, "label"): text_of(labels, name) for name in labels}


def joined(mode: str) -> str:
    """The container (id or name) whose network namespace a network mode joins, "" if none."""
    return mode.removeprefix("container:") if mode.startswith("container:") else ""


def texts_of(found: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """A list of texts, empty if it is not there."""
    return tuple(text_of({key: item}, key) for item in found.get(key) or ())
