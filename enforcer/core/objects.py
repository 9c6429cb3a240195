"""Which data objects of a host the policy protects, which of them are one and the same, and which enclose others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from enforcer.core.model import DataObject, DataTarget, Facts, Kind, ObjectId, Policy
from enforcer.core.select import glob_match, is_plain

_META = "*?["


class ObjectIndex:
    """The data objects of a host, found by kind and glob without looking at each: 10,000 containers ask for theirs."""

    def __init__(self, objects: Iterable[ObjectId]) -> None:
        self._names: dict[Kind, list[str]] = {kind: [] for kind in Kind}
        self._there = {found: (found,) for found in objects}
        for found in self._there:
            self._names[found.kind].append(found.name)
        for names in self._names.values():
            names.sort()

    def matching(self, target: DataTarget) -> tuple[ObjectId, ...]:
        """The objects that ``target`` means, sorted by name. Its pattern must have ``{name}`` filled in."""
        if is_plain(target.pattern):
            return self._there.get(ObjectId(target.kind, target.pattern), ())
        names = self._names[target.kind]
        head = target.pattern[: _literal_length(target.pattern)]
        at = bisect_left(names, head)
        found: Iterator[str] = takewhile(lambda name: name.startswith(head), (names[i] for i in range(at, len(names))))
        if target.pattern != head + "*":  # the commonest glob needs no regular expression
            found = filter(lambda name: glob_match(target.pattern, name), found)
        return tuple(ObjectId(target.kind, name) for name in found)


def _literal_length(pattern: str) -> int:
    return next((i for i, character in enumerate(pattern) if character in _META), len(pattern))


@dataclass(frozen=True)
class Protected:
    """The protected objects of a host by id, sorted. Objects that share an inode are one: ``same`` leads to the first.

    ``enclosing``: the first ids of those that have another one, or something of the agent's, beneath their host path.
    """

    objects: Mapping[ObjectId, DataObject] = field(default_factory=dict)
    same: Mapping[ObjectId, ObjectId] = field(default_factory=dict)
    enclosing: frozenset[ObjectId] = frozenset()


def protect(policy: Policy, facts: Facts) -> Protected:
    """The objects of ``facts`` that a ``data.protected`` entry of the policy matches by kind and name."""
    index = ObjectIndex(facts.objects)
    matches = {match for target in policy.protected for match in index.matching(target)}
    found = sorted(matches)
    objects = {object_id: facts.objects[object_id] for object_id in found}
    same = _same(objects)
    enclosing = _enclosing(objects, (own.path for own in facts.own))
    return Protected(objects, same, frozenset(same[outer] for outer in enclosing))


def _same(objects: Mapping[ObjectId, DataObject]) -> dict[ObjectId, ObjectId]:
    first: dict[ObjectId, ObjectId] = {object_id: object_id for object_id in objects}
    holder: dict[tuple[int, int], ObjectId] = {}
    joined = False
    for object_id, found in objects.items():
        for inode in found.inodes:
            known = holder.setdefault((inode.device, inode.inode), object_id)  # as inodes compare
            if known is not object_id:
                one, other = _root(first, known), _root(first, object_id)
                first[max(one, other)] = min(one, other)
                joined = True
    return {object_id: _root(first, object_id) for object_id in objects} if joined else first


def _root(first: Mapping[ObjectId, ObjectId], object_id: ObjectId) -> ObjectId:
    while first[object_id] != object_id:
        object_id = first[object_id]
    return object_id


def _enclosing(objects: Mapping[ObjectId, DataObject], others: Iterable[str]) -> list[ObjectId]:
    """In the sorted list of paths, each ending in a slash, what lies beneath a path comes right after it."""
    paths = {object_id: found.path.rstrip("/") + "/" for object_id, found in objects.items() if found.path}
    order = sorted({*paths.values(), *(path.rstrip("/") + "/" for path in others)})
    following = dict(pairwise(order))
    return [object_id for object_id, path in paths.items() if following.get(path, "").startswith(path)]
