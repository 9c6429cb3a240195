"""Audit rules as bytes: struct audit_rule_data of include/uapi/linux/audit.h, and the key by which we know our own.

The key says whose a rule is, which data object it watches, and what the kernel's settings were before: so what an agent that
was killed has left can be told apart from others' rules and undone by whoever finds it, with no file to keep.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

EXIT_LIST, ALWAYS = 0x04, 2  # AUDIT_FILTER_EXIT, AUDIT_ALWAYS
NEVER, TASK_LIST = 0, 0x01  # AUDIT_NEVER, AUDIT_FILTER_TASK
ARCH, WATCH, DIR, FILTERKEY = 11, 105, 107, 210
EQUAL = 0x40000000
MASK_WORDS = FIELDS = 64
MARKER = "enforcer"

_HEAD = struct.Struct("=3I")
_WORDS = struct.Struct(f"={MASK_WORDS}I")
_LENGTH = struct.Struct("=I")
_FIXED = _HEAD.size + 4 * _WORDS.size + _LENGTH.size
_STRINGS = frozenset({WATCH, DIR, FILTERKEY, 112, *range(13, 18), *range(19, 24)})
"""Fields whose value is a length: their text follows in the buffer (AUDIT_EXE and the security labels among them)."""


@dataclass(frozen=True)
class Key:
    """The filter key of a rule of ours: ``owner`` names the agent's place, ``pid`` the agent, ``number`` the data object.

    ``enabled`` and ``backlog``: what the kernel had before this agent changed it.
    """

    owner: str
    pid: int
    enabled: int
    backlog: int
    number: int

    def __str__(self) -> str:
        return f"{MARKER}:{self.owner}:{self.pid}:{self.enabled}:{self.backlog}:{self.number}"

    @staticmethod
    def of(text: bytes) -> Key | None:
        """The key in a record or a rule; None for somebody else's."""
        marker, *rest = text.decode("ascii", "replace").split(":")
        try:
            owner, *numbers = rest
            return Key(owner, *(int(n) for n in numbers)) if marker == MARKER else None
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Rule:
    """Watch ``path`` (a directory with all beneath it, or one file) for some system calls of one architecture."""

    key: Key
    path: str
    directory: bool
    arch: int
    calls: tuple[int, ...]

    def packed(self) -> bytes:
        """struct audit_rule_data."""
        mask = [0] * MASK_WORDS
        for number in self.calls:
            mask[number // 32] |= 1 << number % 32
        path, key = self.path.encode("utf-8", "surrogateescape"), str(self.key).encode("ascii")
        fields = [(ARCH, self.arch), (DIR if self.directory else WATCH, len(path)), (FILTERKEY, len(key))]
        rest = [0] * (FIELDS - len(fields))
        columns = ([kind for kind, _ in fields], [value for _, value in fields], [EQUAL] * len(fields))
        head = _HEAD.pack(EXIT_LIST, ALWAYS, len(fields))
        words = _WORDS.pack(*mask) + b"".join(_WORDS.pack(*column, *rest) for column in columns)
        return head + words + _LENGTH.pack(len(path) + len(key)) + path + key


@dataclass(frozen=True)
class Listed:
    """A rule that the kernel has: ``packed`` removes it. ``key`` None: it is not ours. ``hides``: it keeps calls unrecorded."""

    packed: bytes
    key: Key | None
    hides: bool


def listed(packed: bytes) -> Listed | None:
    """A rule of AUDIT_LIST_RULES; None if it is cut short."""
    if len(packed) < _FIXED:
        return None
    flags, action, count = _HEAD.unpack_from(packed)
    kinds = _WORDS.unpack_from(packed, _HEAD.size + _WORDS.size)[:count]
    values = _WORDS.unpack_from(packed, _HEAD.size + 2 * _WORDS.size)[:count]
    at, key = _FIXED, b""
    for kind, value in zip(kinds, values, strict=True):
        if kind in _STRINGS:
            text, at = packed[at : at + value], at + value
            key = text if kind == FILTERKEY else key
    hides = action == NEVER and flags & 0x0F in (EXIT_LIST, TASK_LIST)
    return Listed(packed[:at], Key.of(key), hides)
