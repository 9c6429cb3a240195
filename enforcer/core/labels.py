"""How much of a container's labels goes into each of its records: what selectors look at first, and no more than a bound.

Whoever starts a container chooses its labels, of any size, and every record repeats them, so that it can be judged again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from enforcer.core.model import Selector
from enforcer.core.words import escape

MOST = 16 << 10
"""Bytes of all names and values together, as they are written."""

_LONGEST = 10  # bytes that one character becomes: \U0001f4a9


def recorded(labels: Mapping[str, str], selectors: Iterable[Selector]) -> tuple[Mapping[str, str], int]:
    """The labels that fit whole, and how many were left out: those that ``selectors`` name come first, then as they stand.

    A label is never shortened: a glob would say something else of what is left of it.
    """
    if _LONGEST * sum(len(key) + len(value) for key, value in labels.items()) <= MOST:
        return labels, 0  # nearly always, and the same mapping each time: templates tell containers apart by it
    named = dict.fromkeys(key for selector in selectors for key in selector.label if key in labels)
    room, kept = MOST, set()
    for key in (*named, *(key for key in labels if key not in named)):
        if len(key) + len(labels[key]) > room:  # escaped it is no shorter; there may be a million of them
            continue
        size = len(escape(key).encode()) + len(escape(labels[key]).encode())
        if size <= room:
            room -= size
            kept.add(key)
    return {key: labels[key] for key in labels if key in kept}, len(labels) - len(kept)
