"""What a journal tells of each container: which data it touched, whom it reached, and what it was refused. Fed event by event."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address

from enforcer.core.compile_net import FORESEEN
from enforcer.core.enums import Access, Kind, Verdict
from enforcer.core.event import Event, FileAttempt, NetAttempt
from enforcer.core.model import ObjectId
from enforcer.core.proposal import Evidence
from enforcer.core.protocols import ICMP, ICMPV6, WITH_PORTS
from enforcer.core.words import access_words, escape, target_words

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
"""A name as a policy can write it, which is Docker's own rule for names."""

LEFT = 4096
"""Kinds of attempt that are listed as not granted; what comes after them is summed up by container."""

REFUSED = 4096
"""Kinds of refusal that are kept, to be put before the proposal; of what comes after them only who it was is known."""

PLACES = 4096
"""Destinations with their services that one container may be granted; what comes after them is listed."""

_GRANTABLE = Access.READ | Access.WRITE | Access.EXEC | Access.CONNECT
_ELSE = ": whatever else"
_PORTED = frozenset(WITH_PORTS.values())


@dataclass(frozen=True, order=True)
class Destination:
    """Where a connection went: a container or the host (both on ``network``), or else an address by itself."""

    network: str = ""
    peer: str = ""
    host: bool = False
    address: str = ""


@dataclass(frozen=True, order=True)
class Service:
    """What was reached there: a port of a protocol; ICMP has none."""

    protocol: int
    port: int


@dataclass
class Seen:
    """Evidence while it is collected."""

    by: Counter[str] = field(default_factory=Counter)
    first: int = 0
    last: int = 0
    asked: Access = Access.NONE

    def add(self, event: Event) -> None:
        """One event more."""
        first = event.first_ns or event.time_ns
        self.first = min(first, self.first or first)
        self.last = max(event.time_ns, self.last)
        self.asked |= event.asked
        self.by[event.who.name or event.who.id] += event.count

    def join(self, other: Seen) -> None:
        """All that another one has."""
        self.first = min(other.first, self.first or other.first)
        self.last = max(other.last, self.last)
        self.asked |= other.asked
        self.by.update(other.by)

    @property
    def evidence(self) -> Evidence:
        """As it stands now."""
        return Evidence(tuple(sorted(self.by.items())), self.first, self.last, self.asked)


@dataclass(frozen=True)
class Refusal:
    """An event that stands for all like it which were refused. ``what`` and ``why`` as of what is not granted."""

    event: Event
    what: str
    why: str


@dataclass
class Deeds:
    """What one container did that it may go on doing."""

    data: dict[ObjectId, Seen] = field(default_factory=dict)
    net: dict[tuple[Destination, Service], Seen] = field(default_factory=dict)


class Record:
    """``observed``: what was only let through because a policy watched counts as lawful, too."""

    def __init__(self, *, observed: bool = False) -> None:
        self._lawful = (Verdict.ALLOWED, Verdict.OBSERVED) if observed else (Verdict.ALLOWED,)
        self.deeds: dict[str, Deeds] = {}
        self.objects: set[ObjectId] = set()
        self.networks: set[str] = set()
        self.connected = False
        self.left: dict[tuple[str, str], Seen] = {}
        """(what, why) → what is not granted."""
        self.refused: dict[tuple[object, ...], Refusal] = {}
        self.unjudged: dict[tuple[str, str], Seen] = {}
        """As ``left``: of these it is not known whether the proposal grants them."""
        self.crowded: set[str] = set()
        """The containers of those."""

    def add(self, event: Event) -> None:
        """Take an event in."""
        if isinstance(event.attempt, FileAttempt) and _expressible(event.attempt.object):
            self.objects.add(event.attempt.object)
        self.networks.update(n for n in event.who.internal if PLAIN.fullmatch(n))
        self.connected |= isinstance(event.attempt, NetAttempt)
        why = self._why_not(event)
        if why:
            what = self._leave(event, why)
            if event.verdict not in self._lawful:
                self._refuse(event, what, why)
        if not event.who.id or not PLAIN.fullmatch(event.who.name):
            return
        deeds = self.deeds.setdefault(event.who.name, Deeds())
        if not why and isinstance(event.attempt, FileAttempt):
            deeds.data.setdefault(event.attempt.object, Seen()).add(event)
        elif not why and isinstance(event.attempt, NetAttempt):
            place = _reached(event.attempt)
            if len(deeds.net) >= PLACES and place not in deeds.net:
                self._leave(event, f"one container is granted no more than {PLACES} places")
            else:
                deeds.net.setdefault(place, Seen()).add(event)

    def _leave(self, event: Event, why: str) -> str:
        who = escape(event.who.name or event.who.id)
        what = f"{who}: {'/'.join(access_words(event.asked))} {target_words(event.attempt)}"
        if len(self.left) >= LEFT and (what, why) not in self.left:
            what = f"{who}{_ELSE}"
        self.left.setdefault((what, why), Seen()).add(event)
        return what

    def _refuse(self, event: Event, what: str, why: str) -> None:
        """Keep what stands for such refusals, as far as a proposal, which selects by name, can tell them apart."""
        to, who = event.attempt, event.who
        if isinstance(to, NetAttempt) and not (to.socket or to.resolver or _is_address(to.address)):
            return  # nowhere: nothing grants it
        place = to.object if isinstance(to, FileAttempt) else to
        key = (what, why, who.name, not who.id, who.networks, who.internal, place, event.rule == (FORESEEN,))
        if key in self.refused:
            return
        if len(self.refused) < REFUSED and not what.endswith(_ELSE):
            self.refused[key] = Refusal(event, what, why)
            return
        self.unjudged.setdefault((f"{escape(who.name or who.id)}{_ELSE}", why), Seen()).add(event)
        self.crowded.add(who.name)

    def _why_not(self, event: Event) -> str:
        if event.verdict not in self._lawful:
            return f"was {event.verdict.name.lower()}"
        if not event.who.id or not PLAIN.fullmatch(event.who.name):
            return "no rule can name the container"
        if isinstance(event.attempt, FileAttempt):
            plain = _expressible(event.attempt.object) and not event.asked & ~_GRANTABLE
            return "" if plain else "no rule can grant it"
        return _why_not_there(event.attempt)


def _why_not_there(to: NetAttempt) -> str:
    if to.socket or to.resolver:
        return "granted by nobody's record: write the rule by hand"
    if not _is_address(to.address):
        return "no rule can grant it"
    named = all(PLAIN.fullmatch(name) for name in (to.network, to.peer) if name)
    spoken = to.protocol in (ICMP, ICMPV6) or (to.protocol in _PORTED and to.port > 0)
    return "" if named and spoken else "no rule can grant it"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _expressible(target: ObjectId) -> bool:
    """Can a policy name it?"""
    if target.kind in (Kind.VOLUME, Kind.LAYER):
        return PLAIN.fullmatch(target.name) is not None
    parts = target.name.split("/")[1:]
    plain = target.name.isprintable() and not re.search(r"[*?\[{}]", target.name)
    return target.kind is Kind.PATH and target.name.startswith("/") and plain and not {"", ".", ".."} & set(parts)


def _reached(to: NetAttempt) -> tuple[Destination, Service]:
    service = Service(ICMP, 0) if to.protocol in (ICMP, ICMPV6) else Service(to.protocol, to.port)
    if to.external or not (to.peer or to.host):
        return Destination(address=to.address), service
    return Destination(to.network, to.peer, to.host), service
