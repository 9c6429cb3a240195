"""Which containers a selector stands for, and how the globs of a policy match.

Globs are those of ``fnmatch`` (``*``, ``?``, ``[abc]``, ``[!abc]``), case-sensitive, and match the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import lru_cache
from typing import Protocol

from enforcer.core.model import Policy, Selector

PLACEHOLDER = "{name}"
"""Stands for the container's own name in the data objects of a rule."""

_META = re.compile(r"[*?[]")


class Selectable(Protocol):
    """What a selector looks at: a ``Container`` of the host, or the ``Who`` of a recorded event."""

    @property
    def name(self) -> str:
        """The container's name, without a leading slash."""

    @property
    def image(self) -> str:
        """The image as the container was created with it."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The container's labels."""


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


def glob_match(pattern: str, text: str) -> bool:
    """Whether ``pattern`` matches the whole of ``text``. A newline is a character like any other."""
    return pattern == text if is_plain(pattern) else _compiled(pattern).fullmatch(text) is not None


def is_plain(pattern: str) -> bool:
    """Whether ``pattern`` can match one text only: itself."""
    return _META.search(pattern) is None


def fill(pattern: str, container_name: str) -> str:
    """``pattern`` with the container's name for ``{name}``; the name matches literally, whatever characters it has."""
    return pattern.replace(PLACEHOLDER, _META.sub(r"[\g<0>]", container_name))


def may_overlap(one: str, other: str) -> bool:
    """Whether some text can match both globs. If neither is plain, ``True`` may be wrong; ``False`` never is."""
    if is_plain(one):
        return glob_match(other, one)
    if is_plain(other):
        return glob_match(one, other)
    return _agree(_head(one), _head(other)) and _agree(_tail(one), _tail(other))


def matches(selector: Selector, container: Selectable) -> bool:
    """Whether every criterion of ``selector`` holds for ``container`` and no ``except`` takes it out."""
    return (
        (selector.name is None or glob_match(selector.name, container.name))
        and (selector.image is None or glob_match(selector.image, container.image))
        and all(k in container.labels and glob_match(v, container.labels[k]) for k, v in selector.label.items())
        and not any(glob_match(e, container.name) for e in selector.excluded)
    )


def named(policy: Policy, container: Selectable) -> frozenset[str]:
    """The names under the policy's ``containers`` that stand for ``container``."""
    return frozenset(name for name, selector in policy.containers.items() if matches(selector, container))


def _head(pattern: str) -> str:
    return re.split(r"[*?[]", pattern, maxsplit=1)[0]


def _tail(pattern: str) -> str:
    """The literal end of ``pattern``, reversed so that it compares like a head."""
    return re.split(r"[*?\]]", pattern)[-1][::-1]


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
