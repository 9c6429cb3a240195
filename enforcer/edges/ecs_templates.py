"""Lines of attempts, written fast: what many have in common is encoded once, and only what varies is put in.

A template is a line as ``enforcer.edges.ecs_writing`` makes it, of an event whose varying values are marks that occur nowhere
else; the marks become slots. So there is one declaration of the document, and no second one of its layout.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import msgspec

from enforcer.core.event import Event, FileAttempt, NetAttempt, Process
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import escape
from enforcer.edges.ecs_writing import line_of

_MOST = 4096
"""Templates, of some 2 kB each: more than a host has kinds of attempt at a time. They are dropped together, and made again."""

_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True)
class _Template:
    """``form`` takes what ``pick`` takes from the values of ``_values``. ``labels`` have no hash: they are compared."""

    form: str
    pick: Callable[[tuple[object, ...]], tuple[Any, ...]]
    labels: Mapping[str, str]


class Templates:
    """Writes lines of attempts; ``write`` gives what encoding the document of ``line_of`` gives, byte for byte."""

    def __init__(self) -> None:
        self._made: dict[Hashable, _Template] = {}
        numbers = [10**17 + secrets.randbelow(9 * 10**17) for _ in range(10)]
        self._time, self._first, *self._numbers = numbers
        self._words = [f"m{secrets.token_hex(12)}m" for _ in range(4)]
        times = to_rfc3339(self._time), to_rfc3339(self._first)
        self._slots = {mark: slot for slot, mark in enumerate([*times, *map(str, self._numbers), *self._words])}
        # a mark of its own, with what tells the families apart: none may begin another, which a port may follow
        self._address6 = f"m{secrets.token_hex(6)}:{secrets.token_hex(6)}m"
        self._slots[self._address6] = self._slots[self._words[2]]
        self._marks = re.compile("|".join(map(re.escape, sorted(self._slots, reverse=True))))

    def write(self, event: Event, sequence: int) -> str:
        """One journal line, newline included."""
        key = _common(event)
        template = self._made.get(key)
        labels = event.who.labels
        if template is None or (template.labels is not labels and template.labels != labels):
            template = self._make(event, key)
        return template.form % template.pick(_values(event, sequence))

    def _make(self, event: Event, key: Hashable) -> _Template:
        if len(self._made) >= _MOST:
            self._made.clear()
        sequence, *_ = self._numbers
        text = _ENCODER.encode(line_of(self._marked(event), sequence)).decode() + "\n"
        slots = [self._slots[mark] for mark in self._marks.findall(text)]
        form = self._marks.sub("%s", text.replace("%", "%%"))
        made = self._made[key] = _Template(form, itemgetter(*slots), event.who.labels)
        return made

    def _marked(self, event: Event) -> Event:
        """The event with a mark for every value that varies; what is absent or alone stays so, since a line then says less."""
        _, pid, tid, uid, count, inode, device, port = self._numbers
        comm, path, address, name = self._words
        attempt = event.attempt
        if isinstance(attempt, FileAttempt):
            marked: FileAttempt | NetAttempt = replace(attempt, path=attempt.path and path, inode=inode, device=device)
        else:
            there = self._address6 if ":" in attempt.address else attempt.address and address
            marked = replace(attempt, address=there, port=port, name=attempt.name and name)
        return replace(
            event,
            time_ns=self._time,
            first_ns=event.first_ns and self._first,
            process=Process(pid, tid, uid, event.process.name and comm),
            attempt=marked,
            count=event.count if event.count == 1 else count,
        )


def _common(event: Event) -> Hashable:
    """What a template stands for: all of the event that is not a slot, and which slots there are."""
    who = event.who
    return (
        who.id,
        who.name,
        who.image,
        who.networks,
        who.internal,
        who.labels_cut,
        _aim(event.attempt),
        event.asked,
        event.granted,
        event.mode,
        event.verdict,
        event.mechanism,
        event.hook,
        event.generation,
        event.policy,
        event.rule,
        event.errno,
        event.count == 1,
        event.first_ns == 0,
        event.process.name == "",
    )


def _aim(attempt: FileAttempt | NetAttempt) -> Hashable:
    if isinstance(attempt, FileAttempt):
        return attempt.object.kind, attempt.object.name, attempt.cut, attempt.path == ""
    address = attempt.address
    return (
        ":" in address,
        address == "",
        attempt.name == "",
        attempt.protocol,
        attempt.network,
        attempt.external,
        attempt.peer,
        attempt.host,
        attempt.socket,
        attempt.resolver,
    )


def _values(event: Event, sequence: int) -> tuple[object, ...]:
    """In the order of the marks."""
    process, attempt = event.process, event.attempt
    first = to_rfc3339(event.first_ns) if event.first_ns else ""
    path = address = name = ""
    inode = device = port = 0
    if isinstance(attempt, FileAttempt):
        path, inode, device = _quoted(attempt.path), attempt.inode, attempt.device
    else:
        address, port, name = _quoted(attempt.address), attempt.port, _quoted(attempt.name)
    return (
        to_rfc3339(event.time_ns),
        first,
        sequence,
        process.pid,
        process.tid,
        process.uid,
        event.count,
        inode,
        device,
        port,
        _quoted(process.name),
        path,
        address,
        name,
    )


def _quoted(text: str) -> str:
    """As it stands between the quotes of JSON."""
    if text.isascii() and text.isprintable() and "\\" not in text and '"' not in text:
        return text
    return _ENCODER.encode(escape(text)).decode()[1:-1]
