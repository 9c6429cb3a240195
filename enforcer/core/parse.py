"""From a positioned document to a ``Policy``, or to every mistake in it at once. Pure: no file is read here.

Several files are one policy: their ``containers`` are united, their lists joined in the files' order, and rules are
numbered through (``data.rules[3]`` may stand first in the second file). Every file gives ``version``, at least one
gives ``mode``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from enforcer.core.cursor import Cursor, Fields, shown
from enforcer.core.document import Document, Table
from enforcer.core.model import Mode, Policy, Selector
from enforcer.core.parse_data import data_rules_of, protected_of
from enforcer.core.parse_network import internal_of, net_rules_of
from enforcer.core.parse_posture import posture_of
from enforcer.core.parse_text import glob, mode_of, name_glob
from enforcer.core.select import may_overlap
from enforcer.errors import PolicyError

VERSION = "1"

_SELECTOR_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def parse(document: Document) -> Policy:
    """The policy that ``document`` holds.

    Raises ``PolicyError`` with all problems, the reader's included, in the order of the files.
    """
    found = list(document.problems)
    roots = [Cursor(root, "", found) for root in document.roots]
    files = [f for r in roots if (f := r.fields("policy"))]
    data, network, posture = (_sections(files, key) for key in ("data", "network", "posture"))
    containers = _containers(files)
    before = len(found)
    protected = protected_of(_joined(data, "protected"))
    covered = protected if len(found) == before else None
    policy = Policy(
        mode=_mode(files),
        containers={name: s for name, s in containers.items() if s is not None},
        protected=protected,
        data_rules=data_rules_of(_joined(data, "rules"), containers=containers, protected=covered),
        internal=internal_of(_joined(network, "internal")),
        net_rules=net_rules_of(_joined(network, "rules"), containers=containers),
        posture=posture_of(_joined(posture, "rules"), containers=containers),
        hash=document.hash,
    )
    if found:
        raise PolicyError(tuple(found))
    return policy


def _sections(files: Iterable[Fields], key: str) -> list[Fields]:
    cursors = (c for f in files if (c := f.get(key)))
    return [s for c in cursors if (s := c.fields(f"{key} section"))]


def _joined(sections: Iterable[Fields], key: str) -> list[Cursor]:
    """The elements of a list that may go on from file to file, numbered through."""
    joined: list[Cursor] = []
    for section in sections:
        if cursor := section.get(key):
            joined.extend(cursor.items(start=len(joined)) or [])
    return joined


def _mode(files: list[Fields]) -> Mode:
    """The policy's mode; checks ``version`` on the way. After a refusal the value does not matter: nothing loads."""
    given: list[tuple[Cursor, Mode | None]] = []
    for file in files:
        version = file.need("version", hint=f"write version: {VERSION}")
        if version and (text := version.text()) is not None and text != VERSION:
            version.refuse(f'unknown version "{shown(text)}"; this enforcer reads version {VERSION}')
        if cursor := file.get("mode"):
            given.append((cursor, mode_of(cursor)))
    if not given and files:
        files[0].need("mode", hint="write mode: monitor or mode: enforce")
    modes = [(c, m) for c, m in given if m is not None]
    for cursor, mode in modes[1:]:
        if mode is not modes[0][1]:
            first = modes[0][0].node.mark
            cursor.refuse(f"contradicts {first.file}:{first.line}; one policy has one mode")
    return modes[0][1] if modes else Mode.ENFORCE


def _containers(files: Iterable[Fields]) -> dict[str, Selector | None]:
    """The selectors by name; ``None`` for a wrong one, whose name is known all the same."""
    first: dict[str, Cursor] = {}
    selectors: dict[str, Selector | None] = {}
    for section in (c for f in files if (c := f.get("containers"))):
        for name, cursor in (section.entries() or {}).items():
            if name in first:
                mark = first[name].node.mark
                cursor.refuse(f"is declared in {mark.file}:{mark.line} already; rename or remove one")
                continue
            first[name] = cursor
            if not _SELECTOR_NAME.fullmatch(name):
                cursor.refuse(f'"{shown(name)}" cannot name containers; use letters, digits, "_", "." and "-"')
            selectors[name] = _selector(cursor)
    return selectors


def _selector(cursor: Cursor) -> Selector | None:
    fields = cursor.fields("selector")
    if fields is None:
        return None
    name, image, label, excluded = (fields.get(k) for k in ("name", "image", "label", "except"))
    labelled = label is not None and not (isinstance(label.node, Table) and not label.node.entries)
    if not (name or image or labelled or fields.meant):
        cursor.refuse("selects by nothing; give name, image or label")
    pattern = name_glob(name) if name else None
    return Selector(
        name=pattern,
        image=glob(image) if image else None,
        label=_labels(label) if label else {},
        excluded=_excluded(excluded, pattern) if excluded else (),
    )


def _labels(cursor: Cursor) -> dict[str, str]:
    found = {}
    for key, value in (cursor.entries() or {}).items():
        if not key:
            value.refuse("is the value of a label without a key; write KEY: VALUE")
        if (pattern := glob(value)) is not None:
            found[key] = pattern
    return found


def _excluded(cursor: Cursor, name: str | None) -> tuple[str, ...]:
    """Name globs. One that cannot match what ``name`` matches is refused: a slip there would let a container in."""
    found = []
    for item in cursor.many() or []:
        pattern = name_glob(item)
        if pattern is None:
            continue
        if name is not None and not may_overlap(name, pattern):
            item.refuse(f'"{pattern}" takes out nothing: no name of "{name}" matches it; correct or remove it')
        found.append(pattern)
    return tuple(found)
