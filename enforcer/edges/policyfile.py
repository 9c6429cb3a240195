"""Reads a policy from disk: YAML in, a positioned ``Document`` out. What the words mean is ``core.parse``'s business.

The parser is libyaml's, through PyYAML, and of it only the event stream: no tag is resolved, no value converted, no
alias followed, so neither YAML 1.1's surprises (``no``, ``22:22``, ``010``) nor its bombs exist here. What can hide
meaning from a reviewer (aliases, tags, tabs, duplicate keys, invisible characters, a second document) is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from enforcer.core.cursor import shown
from enforcer.core.document import Broken, Document, Items, Mark, Node, Scalar, Table
from enforcer.core.model import Mode, Policy
from enforcer.core.parse import parse
from enforcer.errors import PolicyError, Problem

MAX_BYTES = 1 << 20
"""Of one file. Some 10,000 rules fit."""

MAX_DEPTH = 32
"""Of nesting. The language itself needs 7."""

SUFFIXES = (".yaml", ".yml")

_INVISIBLE = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]|\r(?!\n)")


def read(path: Path) -> Document:
    """The policy in a file, or in all ``*.yaml`` and ``*.yml`` files directly in a directory, sorted by name.

    Hidden files are left out. Raises ``PolicyError``, with the mistakes of all files, if one cannot be read at all.
    """
    files = _files(path)
    documents: list[Document] = []
    problems: list[Problem] = []
    digest = hashlib.sha256()
    for file in files:
        try:
            data = bytes_of(file)
            digest.update(data)
            documents.append(from_bytes(data, str(file)))
        except PolicyError as e:
            problems.extend(e.problems)
    minor = tuple(p for d in documents for p in d.problems)
    if problems:
        raise PolicyError((*problems, *minor))
    return Document(roots=tuple(r for d in documents for r in d.roots), hash=digest.hexdigest(), problems=minor)


def from_bytes(data: bytes, file: str) -> Document:
    """The document in ``data``, whose places are named after ``file``. Raises ``PolicyError`` if it is no YAML."""
    return composed(data, Composer(file))


def composed(data: bytes, composer: Composer) -> Document:
    """What ``composer`` makes of ``data``. Raises ``PolicyError`` if it is no YAML."""
    name = composer.file
    text = _text(data, name)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as e:
        raise PolicyError((*composer.problems, _syntax(e, name))) from e
    except yaml.reader.ReaderError as e:
        raise PolicyError((*composer.problems, _whole(name, f"not YAML: {_one_line(str(e.reason))}"))) from e
    if composer.root is None:
        raise PolicyError((_whole(name, "the file is empty; begin with version: 1"),))
    return Document((composer.root,), hashlib.sha256(data).hexdigest(), tuple(composer.problems))


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        files = [p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith(".") and not p.is_dir()]
    except OSError as e:
        raise PolicyError((_unreadable(path, e),)) from e
    if not files:
        raise PolicyError((_whole(str(path), "the directory has no *.yaml or *.yml file; put a policy there"),))
    return sorted(files)


def bytes_of(file: Path) -> bytes:
    """What a file holds. Raises ``PolicyError`` if it cannot be read, or is too large."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as e:
        raise PolicyError((_unreadable(file, e),)) from e
    if len(data) > MAX_BYTES:
        raise PolicyError((_whole(str(file), f"is larger than {MAX_BYTES} bytes; split it into a directory of files"),))
    return data


def _unreadable(path: Path, error: OSError) -> Problem:
    if isinstance(error, FileNotFoundError):
        return _whole(str(path), "no such file or directory; name one that is there")
    return _whole(str(path), f"cannot be read: {(error.strerror or 'unknown error').lower()}")


def _text(data: bytes, file: str) -> str:
    """``data`` as text. Refuses what is not UTF-8 and every character that a reviewer would not see as it acts."""
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        line, column = _place(data[: e.start].decode("utf-8"))
        raise PolicyError((Problem(file, line, column, "policy", "is not UTF-8; save the file as UTF-8"),)) from e
    problems = [_invisible(file, text, m) for m in _INVISIBLE.finditer(text)]
    if problems:
        raise PolicyError(tuple(problems))
    return text


def _invisible(file: str, text: str, match: re.Match[str]) -> Problem:
    line, column = _place(text[: match.start()])
    if match[0] == "\t":
        return Problem(file, line, column, "policy", "a tab; indent with spaces")
    return Problem(file, line, column, "policy", f"an invisible character, U+{ord(match[0]):04X}; remove it")


def _place(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows ``before``."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _whole(file: str, reason: str) -> Problem:
    return Problem(_one_line(file), 1, 1, "policy", reason)


def _syntax(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = mark_of(file, error.problem_mark or error.context_mark)
    hint = "; quote a text that begins with *" if "alias" in (error.context or "") else ""
    reason = f"not YAML: {shown(error.problem or 'malformed')}{hint}"
    return Problem(file, mark.line, mark.column, "policy", reason)


def mark_of(file: str, mark: yaml.Mark | yaml._yaml.Mark | None) -> Mark:
    """PyYAML counts from 0; we, like editors, from 1."""
    return Mark(file, mark.line + 1, mark.column + 1) if mark else Mark(file, 1, 1)


@dataclass
class _Frame:
    """A collection that is still open. ``nodes`` of a mapping are keys and values in turn."""

    mark: Mark
    table: bool
    nodes: list[Node] = field(default_factory=list)


class Composer:
    """Events in, one tree out, without recursion. ``problems`` are what it refuses and reads past."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self.file = _one_line(file)
        self._open: list[_Frame] = []

    def take(self, event: yaml.Event) -> None:
        """Put one event in its place. Raises ``PolicyError`` for what makes the rest meaningless."""
        mark = mark_of(self.file, event.start_mark)
        match event:
            case yaml.AliasEvent():
                self._refuse(mark, "an alias (*…) is refused; write it out, or quote a glob that begins with *")
                self._put(Broken(mark))
            case yaml.ScalarEvent():
                known = self._plain_node(event, mark)
                self._put(Scalar(event.value, mark, plain=not event.style) if known else Broken(mark))
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._begin(event, mark)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._put(self._finished(self._open.pop()))
            case yaml.DocumentStartEvent() if self.root is not None:
                self._fail(mark, "a second document begins; put it into a file of its own")

    def _begin(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent, mark: Mark) -> None:
        self._plain_node(event, mark)
        if len(self._open) >= MAX_DEPTH:
            self._fail(mark, f"is nested deeper than {MAX_DEPTH} levels; no policy needs that")
        self._open.append(_Frame(mark, table=isinstance(event, yaml.MappingStartEvent)))

    def _finished(self, frame: _Frame) -> Node:
        if not frame.table:
            return Items(tuple(frame.nodes), frame.mark)
        return Table(tuple(self._entries(frame.nodes)), frame.mark)

    def _entries(self, nodes: list[Node]) -> Iterator[tuple[Scalar, Node]]:
        for key, value in zip(nodes[::2], nodes[1::2], strict=True):
            if isinstance(key, Scalar):
                yield key, value
            elif not isinstance(key, Broken):
                self._refuse(key.mark, "a key must be text; quote one that begins with { or [")

    def _put(self, node: Node) -> None:
        if self._open:
            self._open[-1].nodes.append(node)
        else:
            self.root = node

    def _plain_node(
        self, event: yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent, mark: Mark
    ) -> bool:
        """Whether the node carries neither tag nor anchor; either is refused."""
        if event.tag is not None:
            self._refuse(mark, "a tag (!…) is refused; remove it, or quote a text that begins with !")
        if event.anchor is not None:
            self._refuse(mark, "an anchor (&…) is refused; remove it, or quote a text that begins with &")
        return event.tag is None and event.anchor is None

    def _refuse(self, mark: Mark, reason: str) -> None:
        self.problems.append(Problem(mark.file, mark.line, mark.column, "policy", reason))

    def _fail(self, mark: Mark, reason: str) -> None:
        self._refuse(mark, reason)
        raise PolicyError(tuple(self.problems))


def fingerprint(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What tells that a policy's files have changed: name, inode, size, modification time."""
    found = []
    try:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            status = file.stat()
            found.append((file.name, status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError:
        return ()  # it is being replaced, or gone: then loading it says so
    return tuple(found)


def load(path: Path, mode: Mode | None = None) -> Policy:
    """The policy in FILE or DIR; ``mode`` overrides its own. Raises ``PolicyError`` with every mistake."""
    policy = parse(read(path))
    return policy if mode is None else replace(policy, mode=mode)
