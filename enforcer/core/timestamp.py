"""Nanoseconds since 1970 as RFC 3339 text in UTC, and back.

Nine digits of fraction and always ``Z``, so that the order of the texts is the order of the times.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)
_SECOND = 1_000_000_000
_AGO = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # seconds


def to_rfc3339(time_ns: int) -> str:
    """``2025-11-18T02:00:00.000000001Z``. Raises ``ValueError`` outside the years 1 to 9999."""
    second, fraction = divmod(time_ns, _SECOND)
    return f"{_text_of(second)}.{fraction:09d}Z"


def from_rfc3339(text: str) -> int:
    """The inverse of ``to_rfc3339``, of exactly its form. Raises ``ValueError`` for any other."""
    if not _FORM.fullmatch(text):
        raise ValueError(f"not a time as this journal writes it: {text[:40]!r}")
    return _second_of(text[:19]) * _SECOND + int(text[20:29])


def moment(text: str, *, now_ns: int) -> int:
    """The time that a person means: ``10m`` (s, m, h, d) before now, or an ISO 8601 date or time, UTC unless it says.

    Raises ``ValueError`` for anything else.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return now_ns - int(ago[1]) * _UNITS[ago[2]] * _SECOND
    if _FORM.fullmatch(text):
        return from_rfc3339(text)
    found = datetime.fromisoformat(text)
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


@lru_cache(maxsize=64)  # records come many to the second, and datetime costs more than the rest of a line
def _text_of(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)
    except (OverflowError, OSError) as e:
        raise ValueError(f"no calendar time: {second} seconds since 1970") from e


@lru_cache(maxsize=64)
def _second_of(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp())
