"""Reads Compose files, and declarations to render them from.

A Compose file in the wild has anchors, aliases and merge keys (``<<``): they are followed here, and what they bring keeps the
place where it was written. What is not followed is refused with its place: tags (``!reset``, ``!override``), a second document.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from enforcer.core.compose import Composition
from enforcer.core.document import Broken, Document, Items, Mark, Node, Scalar, Table
from enforcer.core.parse_compose import parse_declaration, wrong
from enforcer.edges.policyfile import Composer, bytes_of, composed, mark_of, read
from enforcer.errors import PolicyError

MAX_MERGED = 100_000
"""Entries that merge keys may bring into a file: some hundred services, merged ten times each. A bomb brings more."""

_MERGE = "<<"


def load_declaration(path: Path) -> Composition:
    """The declaration in a file. Raises ``PolicyError`` with every mistake."""
    try:
        return parse_declaration(read(path))
    except PolicyError as e:
        raise wrong(e.problems, "declaration") from e


def read_compose(path: Path) -> Document:
    """The Compose file, with its aliases and merge keys followed. Raises ``PolicyError`` for what cannot be read or followed."""
    try:
        return compose_from_bytes(bytes_of(path), str(path))
    except PolicyError as e:
        raise wrong(e.problems, "compose") from e


def compose_from_bytes(data: bytes, file: str) -> Document:
    """The same for what a file holds."""
    document = composed(data, _Following(file))
    if document.problems:
        raise PolicyError(document.problems)
    return document


class _Following(Composer):
    """Puts a node in the place of its alias: the very same one, so that no alias costs more than its own line."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._anchored: dict[str, Node] = {}
        self._names: list[str | None] = []
        self._merged_entries = 0

    def take(self, event: yaml.Event) -> None:
        """As the policy's reader, but for aliases. Raises ``PolicyError``."""
        if isinstance(event, yaml.AliasEvent):
            self._put(self._aliased(event))
            return
        if isinstance(event, yaml.CollectionStartEvent):
            self._names.append(event.anchor)
        super().take(event)
        if isinstance(event, yaml.ScalarEvent):
            self._keep(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._keep(self._names.pop())

    def _aliased(self, event: yaml.AliasEvent) -> Node:
        mark = mark_of(self.file, event.start_mark)
        node = self._anchored.get(event.anchor or "")
        if node is None:  # also one within its own anchor, which no tree can hold
            self._refuse(mark, f"the alias *{event.anchor} has no anchor before it")
        return node or Broken(mark)

    def _keep(self, name: str | None) -> None:
        node = self._open[-1].nodes[-1] if self._open else self.root
        if name is not None and node is not None:
            self._anchored[name] = node

    def _plain_node(
        self, event: yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent, mark: Mark
    ) -> bool:
        if event.tag is not None:
            self._refuse(mark, f"the tag {event.tag} is not followed; lint what `docker compose config` prints instead")
        return event.tag is None

    def _entries(self, nodes: list[Node]) -> Iterator[tuple[Scalar, Node]]:
        """A mapping's own entries, then what its merge key brings and it does not say itself."""
        own = list(super()._entries(nodes))
        seen: set[str] = set()
        for key, value in own:
            if key.text in seen:
                self._refuse(key.mark, f"{key.text} is given twice; keep one")
            seen.add(key.text)
            if not _merges(key):
                yield key, value
        for key, value in (e for k, v in own if _merges(k) for e in self._brought(v)):
            self._merged_entries += 1
            if self._merged_entries > MAX_MERGED:
                self._fail(key.mark, f"merge keys bring more than {MAX_MERGED} entries")
            if key.text not in seen:
                seen.add(key.text)
                yield key, value

    def _brought(self, node: Node) -> Iterator[tuple[Scalar, Node]]:
        """Of a list of mappings the earlier ones win (https://yaml.org/type/merge.html)."""
        for each in node.nodes if isinstance(node, Items) else (node,):
            if isinstance(each, Table):
                yield from each.entries
            elif not isinstance(each, Broken):
                self._refuse(each.mark, "<< takes a mapping, or a list of them")


def _merges(key: Scalar) -> bool:
    return key.plain and key.text == _MERGE
