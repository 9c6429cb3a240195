"""Containers that did the same, under one name: a glob where many are alike, else each by itself."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping

from enforcer.core.proposal import Group

_SEPARATORS = "-_."


def grouped(profiles: Mapping[str, Hashable], *, taken: Collection[str], least: int) -> tuple[Group, ...]:
    """Groups by key. ``profiles``: container → what it did; ``taken``: further names that mean a container by themselves.

    At least ``least`` containers with one profile and a common beginning become a glob. What it matches beside them is excepted;
    if that is more than they are, they stay apart.
    """
    alike: dict[Hashable, list[str]] = defaultdict(list)
    for name in sorted(profiles):
        alike[profiles[name]].append(name)
    keys = {*profiles, *taken}
    found: list[Group] = []
    for members in alike.values():
        group = _together(members, profiles, keys, least)
        keys.update({group.key} if group else ())
        found += [group] if group else [Group(name, name, (name,)) for name in members]
    return tuple(sorted(found, key=lambda g: g.key))


def _together(members: list[str], known: Iterable[str], keys: Collection[str], least: int) -> Group | None:
    beginning = _beginning(members)
    others = tuple(sorted(name for name in known if name.startswith(beginning) and name not in members))
    if len(members) < least or not beginning or len(others) > len(members):
        return None
    key = beginning.rstrip(_SEPARATORS)
    while key in keys:  # a name that is a container's stands for that one
        key += "-all"
    return Group(key, f"{beginning}*", tuple(members), others)


def _beginning(names: list[str]) -> str:
    """What all begin with, up to the last separator in it."""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    found = re.match(rf".*[{re.escape(_SEPARATORS)}]", first[:length])
    return found[0] if found else ""
