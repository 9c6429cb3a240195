"""What became of the ways: as the attacker told it, as the host saw it, as the journal has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from enforcer.core.event import Event, FileAttempt


@dataclass(frozen=True)
class Told:
    """What the attacker said of a way, and whether its victims, seen from the host, are not what they were."""

    outcome: str
    why: str = ""
    proof: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Seen:
    """An event of the journal that belongs to a way, as far as tests look at it."""

    hook: str
    verdict: str
    mechanism: str
    object: str
    path: str
    count: int


@dataclass
class Played:
    """All of it. ``before`` and ``under``: key of the way → what was told, one for each try; ``events`` likewise."""

    mechanism: str
    secret: str
    before: dict[str, list[Told]] = field(default_factory=dict)
    under: dict[str, list[Told]] = field(default_factory=dict)
    events: dict[str, list[Seen]] = field(default_factory=dict)
    lawful: list[Told] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    journal: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @classmethod
    def from_json(cls, text: bytes) -> Played:
        """What ``to_json`` wrote."""
        data = json.loads(text)
        for name in ("before", "under"):
            data[name] = {key: [Told(**t) for t in tries] for key, tries in data[name].items()}
        data["events"] = {key: [Seen(**e) for e in events] for key, events in data["events"].items()}
        data["lawful"] = [Told(**t) for t in data["lawful"]]
        return cls(**data)

    def to_json(self) -> bytes:
        """For a file that another machine reads."""
        return json.dumps(asdict(self)).encode()


def named(line: str) -> str:
    """The comm in a line of the journal."""
    return str(json.loads(line).get("process", {}).get("name", ""))


def seen(event: Event) -> Seen:
    """The facts of an event that tests look at."""
    attempt = event.attempt
    named = (attempt.object.name, attempt.path) if isinstance(attempt, FileAttempt) else (attempt.address, "")
    return Seen(
        event.hook.name.lower(), event.verdict.name.lower(), event.mechanism.name.lower(), *named, count=event.count
    )


def answers(said: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """The attacker's lines: name of the way, then outcome, why, proof in hex."""
    for line in said.splitlines():
        name, outcome, why, proof = line.split("\t")
        yield name, (outcome, why, bytes.fromhex(proof).decode("latin-1"))
