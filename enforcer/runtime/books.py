"""What became of every violation: it is on record, was suppressed, was lost, or waits for the log's reader."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.edges.bpf.maps import Maps
from enforcer.sinks.metrics import CAUSES

SUPPRESSED = (abi.SUPPRESSED_BUDGET, abi.SUPPRESSED_SHARE)
LOST = (abi.LOST_RING, abi.LOST_JOURNAL, abi.LOST_UNREADABLE)
"""The causes for which a counted violation has no record. LOST_COUNTS has one: only its line in the counters is missing."""


@dataclass
class Book:
    """What became of the violations of one subject. ``lost``: by cause."""

    counted: int = 0
    recorded: int = 0
    suppressed: int = 0
    waiting: int = 0
    lost: Counter[int] = field(default_factory=Counter)


def books(maps: Maps, waiting: Mapping[int, int]) -> dict[int, Book]:
    """Subject → its book, the canary's aside. Each balances when nothing happens while it is read."""
    found: defaultdict[int, Book] = defaultdict(Book)
    for (subject, *_), n in maps.counts().items():
        found[subject].counted += n
    for (subject, cause), n in maps.losses().items():
        found[subject].counted += n if cause == abi.LOST_COUNTS else 0
        found[subject].suppressed += n if cause in SUPPRESSED else 0
        found[subject].lost[cause] += n if cause in LOST else 0
    for subject, n in maps.recorded().items():
        found[subject].recorded += n
    for subject, n in waiting.items():
        found[subject].waiting += n
    found.pop(Reserved.CANARY, None)
    return dict(found)


def total(found: Iterable[Book]) -> dict[str, Any]:
    """Several books as one, with the causes by name."""
    each = list(found)
    return {
        "counted": sum(b.counted for b in each),
        "recorded": sum(b.recorded for b in each),
        "suppressed": sum(b.suppressed for b in each),
        "lost": {CAUSES[cause]: sum(b.lost[cause] for b in each) for cause in LOST},
        "waiting": sum(b.waiting for b in each),
    }
