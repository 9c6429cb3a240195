"""The numbers by which the kernel knows containers, data objects, networks and network profiles.

One counter serves all kinds, so that a number means one thing for ever: a count or a record that the kernel made before
a container vanished still finds its name. A number is never given twice; the agent keeps ``Ids`` in its state directory
for that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from enforcer.core.meeting import Meeting
from enforcer.core.model import Facts, Kind, ObjectId, Policy
from enforcer.errors import AbiError

FIRST_ID = 16
"""ENF_FIRST_ID: numbers below are reserved."""


class Reserved(enum.IntEnum):
    """enum enf_reserved: subject ids with a fixed meaning. The canary's object has the canary's number too."""

    NOBODY = 0
    UNNAMED = 1
    HOST = 2
    CANARY = 3
    RAW_SOCKET = 4
    PACKET_SOCKET = 5
    OUTSIDE_NAME = 6


class Special(enum.IntEnum):
    """enum enf_special: object ids that no rule can grant; 3 is the canary's."""

    TOO_DEEP = 1
    DETACHED = 2
    DEVICE = 4
    PROCESS = 5
    CGROUP = 6
    OWN = 7
    IO_URING = 8
    JOURNAL = 9


SPECIAL: Mapping[int, ObjectId] = {
    Special.TOO_DEEP: ObjectId(Kind.PATH, "(too deep to place)"),
    Special.DETACHED: ObjectId(Kind.PATH, "(opened by handle, not to be placed)"),
    Special.DEVICE: ObjectId(Kind.HOST, "device of protected data"),
    Special.CGROUP: ObjectId(Kind.HOST, "cgroup"),
    Special.OWN: ObjectId(Kind.HOST, "enforcer"),
    Special.JOURNAL: ObjectId(Kind.HOST, "journal"),
    Special.IO_URING: ObjectId(Kind.HOST, "io_uring"),
}
"""What no rule can grant, by enum enf_special; a process is named after whose it is."""


class Space(enum.StrEnum):
    """What is numbered; by container id, ``kind:name``, Docker's network id, hash of the profile's content."""

    SUBJECT = "subject"
    OBJECT = "object"
    NETWORK = "network"
    PROFILE = "profile"


def object_key(object_id: ObjectId) -> str:
    """The key of a data object: ``volume:mcp-01-selector-data``."""
    return object_id.kind + ":" + object_id.name


@dataclass(frozen=True)
class Ids:
    """Which numbers are given, and the ``next`` one. ``known``: (space, key) → number."""

    next: int = FIRST_ID
    known: Mapping[tuple[Space, str], int] = field(default_factory=dict)

    def subject(self, container_id: str) -> int:
        """The subject id of a container (64 hex digits). KeyError if it has none."""
        return self.known[Space.SUBJECT, container_id]

    def object(self, object_id: ObjectId) -> int:
        """The number of a data object. KeyError if it has none."""
        return self.known[Space.OBJECT, object_key(object_id)]

    def network(self, network_id: str) -> int:
        """The number of a network (Docker's network id). KeyError if it has none."""
        return self.known[Space.NETWORK, network_id]

    def profile(self, content: str) -> int:
        """The number of a network profile (content hash). KeyError if it has none."""
        return self.known[Space.PROFILE, content]

    @cached_property
    def _names(self) -> Mapping[int, tuple[Space, str]]:
        return {number: name for name, number in self.known.items()}

    def container_of(self, subject: int) -> str | None:
        """The container id behind a subject id; None for reserved and unknown numbers."""
        return self._key_of(Space.SUBJECT, subject)

    def object_of(self, number: int) -> ObjectId | None:
        """The data object behind a number; None for reserved and unknown numbers."""
        key = self._key_of(Space.OBJECT, number)
        if key is None:
            return None
        kind, _, name = key.partition(":")
        return ObjectId(Kind(kind), name)

    def network_of(self, number: int) -> str | None:
        """The Docker network id behind a number; None for unknown ones."""
        return self._key_of(Space.NETWORK, number)

    def _key_of(self, space: Space, number: int) -> str | None:
        found = self._names.get(number)
        return found[1] if found is not None and found[0] is space else None

    def with_numbers(self, wanted: Iterable[tuple[Space, str]]) -> Ids:
        """These ids, and a fresh number for each of ``wanted`` that has none, in the order given."""
        known = dict(self.known)
        following = self.next
        for name in wanted:
            if name not in known:
                known[name] = following
                following += 1
        return self if following == self.next else Ids(next=following, known=known)

    def to_json(self) -> dict[str, Any]:
        """As plain dicts: ``{"next": 18, "subject": {"4f…": 16}, "object": {"volume:x": 17}, …}``."""
        document: dict[str, Any] = {"next": self.next, **{space.value: {} for space in Space}}
        for (space, key), number in self.known.items():
            document[space.value][key] = number
        return document

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Ids:
        """What ``to_json`` wrote. AbiError if a number is missing, given twice, reserved, or not below ``next``."""
        try:
            known = {(space, str(key)): int(n) for space in Space for key, n in document[space.value].items()}
            following = int(document["next"])
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise AbiError(f"the saved ids are malformed ({e!r}): remove the file to number everything anew") from e
        numbers = list(known.values())
        if len(set(numbers)) != len(numbers) or not all(FIRST_ID <= n < following for n in numbers):
            raise AbiError(
                "the saved ids give a number twice or out of range: remove the file to number everything anew"
            )
        return Ids(next=max(following, FIRST_ID), known=known)


def allocate(ids: Ids, policy: Policy, facts: Facts, met: Meeting | None = None) -> Ids:
    """``ids`` with a number for whatever ``core.compile`` will ask for and has none yet. What has one keeps it.

    ``met``: the two as they have met already.
    """
    met = met or Meeting(policy, facts)
    standings = met.standings.of.values()
    reaches = {s.reach.content for s in standings if s.governed} | {s.scope.content for s in standings if s.scope}
    return ids.with_numbers(
        [
            *((Space.SUBJECT, container) for container in sorted(facts.containers)),
            *((Space.NETWORK, network) for network in sorted(n.id for n in facts.networks.values())),
            *((Space.OBJECT, object_key(object_id)) for object_id in met.protected.objects),
            *((Space.PROFILE, content) for content in sorted(reaches)),
        ]
    )
