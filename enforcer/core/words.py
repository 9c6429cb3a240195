"""Text that is safe to show: names that a container chose, escaped reversibly, and an attempt told in one line.

A container chooses its file names, its command names and its labels. Shown raw they could move the cursor, forge a
line of the log or hide one. ``escape`` leaves only printable characters, and ``unescape`` gives back what was there::

    backslash                        \\\\
    control byte, or a byte that is  \\xNN        (kernel bytes are decoded with ``surrogateescape``, so a byte
    no UTF-8                                      that is no UTF-8 is a lone surrogate U+DC80..U+DCFF in the text)
    other unprintable character      \\uNNNN or \\UNNNNNNNN   (line separators, bidirectional controls, surrogates)
"""

from __future__ import annotations

import re

from enforcer.core.event import Event, FileAttempt, NetAttempt
from enforcer.core.model import Access
from enforcer.core.protocols import WORDS

_SEQUENCE = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|)")


def escape(text: str) -> str:
    """``text`` with every backslash and every unprintable character escaped."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(c) for c in text)


def unescape(text: str) -> str:
    """What ``escape`` made ``text`` from. Raises ``ValueError`` for a sequence that ``escape`` never writes."""
    return _SEQUENCE.sub(_unescaped, text) if "\\" in text else text


def access_words(access: Access) -> tuple[str, ...]:
    """The names of the bits: ``("read", "write")``."""
    return tuple(str(bit.name).lower() for bit in Access if bit and bit in access)


def protocol_word(number: int) -> str:
    """``tcp`` for 6; the number itself where it has no short name."""
    return WORDS.get(number, str(number))


def target_words(attempt: FileAttempt | NetAttempt) -> str:
    """What was tried to reach, escaped: ``volume mcp-01-data``, ``203.0.113.10:443/tcp outside mcp-internal``, ``raw socket``."""
    if isinstance(attempt, FileAttempt):
        return f"{attempt.object.kind} {escape(attempt.object.name)}"
    if attempt.resolver:
        return f"name {escape(attempt.name) or '(unreadable)'} outside {escape(attempt.network)}"
    if attempt.socket:
        return (
            f"{attempt.socket} socket for {protocol_word(attempt.protocol)}"
            if attempt.protocol
            else f"{attempt.socket} socket"
        )
    address = f"[{attempt.address}]" if ":" in attempt.address else attempt.address
    place = f" {'outside' if attempt.external else 'on'} {escape(attempt.network)}" if attempt.network else ""
    holder = f" ({escape(attempt.peer)})" if attempt.peer else " (the host)" if attempt.host else ""
    return f"{escape(address)}:{attempt.port}/{protocol_word(attempt.protocol)}{holder}{place}"


def tried_words(event: Event) -> str:
    """What was tried and with what, escaped: ``write volume mcp-01-data at a/b with cat, 2 times``."""
    asked = "/".join(access_words(event.asked)) or "reach"
    joint = " to " if isinstance(event.attempt, NetAttempt) else " "
    path = f" at {escape(event.attempt.path)}" if isinstance(event.attempt, FileAttempt) and event.attempt.path else ""
    times = f", {event.count} times" if event.count != 1 else ""
    program = f" with {escape(event.process.name)}" if event.process.name else ""
    return f"{asked}{joint}{target_words(event.attempt)}{path}{program}{times}"


def event_words(event: Event) -> str:
    """One line for a person: who tried what, what became of it, by what. No control character is in it."""
    verdict, mechanism = event.verdict.name.lower(), event.mechanism.name.lower()
    return f"{escape(event.who.name or event.who.id)} tried to {tried_words(event)}: {verdict} by {mechanism}"


def _escaped(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _unescaped(match: re.Match[str]) -> str:
    backslash, byte, short, long = match.groups()
    if backslash:
        return backslash
    if byte:
        code = int(byte, 16)
        return chr(code if code < 0x80 else 0xDC00 + code)
    if short or long:
        return chr(int(short or long, 16))
    raise ValueError(f"an escape that this journal does not use: {match.string[match.start() : match.start() + 6]!r}")
