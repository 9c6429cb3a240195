"""Batches of journal lines, chained by hash, so that a removed, changed or reordered line is found.

The last line of a batch ends with ``"chain":{"records":N,"mark":"…","previous":"<hex>","sha256":"<hex>"}}}``. ``sha256`` is the
SHA-256 of all bytes of the batch up to its own opening quote; ``previous``, which is among them, is that of the batch before.
A chain without a key finds what a fault or a careless hand did. Who may write the journal can also write all of it anew:
against that helps only a digest that was noted elsewhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256

from enforcer.core.words import escape, unescape

ORIGIN = "0" * 64
"""``previous`` of the first batch of all."""

_LONGEST_MARK = 4096
_OLDER = b'"enforcer":{"schema":1'
_OPENING = b',"chain":{'
_END = re.compile(
    rb',"chain":\{"records":([0-9]{1,18}),"mark":"((?:[^"\\]|\\.)*)",'
    rb'"previous":"([0-9a-f]{64})","sha256":"([0-9a-f]{64})"\}\}\}\n'
)


@dataclass(frozen=True)
class Link:
    """The chain at the end of a batch of so many ``records``, with the ``mark`` that was committed with it."""

    records: int
    mark: str
    previous: str
    sha256: str


class Chaining:
    """Closes one batch, which comes piece by piece; ``digest`` is there after the last one."""

    def __init__(self, previous: str) -> None:
        self._previous = previous
        self._hash = sha256()
        self.digest = ""

    def more(self, lines: bytes) -> bytes:
        """Whole lines that others follow on, as they are."""
        self._hash.update(lines)
        return lines

    def last(self, lines: bytes, records: int, mark: str) -> bytes:
        """The last whole lines of a batch of so many ``records``, with the chain at their end.

        They must end with the object ``enforcer``, as every line of ours does, and it must not be empty.
        """
        if len(mark) > _LONGEST_MARK:
            raise ValueError(f"a mark of {len(mark)} characters: at most {_LONGEST_MARK}")
        said = json.dumps(escape(mark), ensure_ascii=False).encode()
        head = b'%b%b"records":%d,"mark":%b,"previous":"%b","sha256":"' % (
            *(lines.removesuffix(b"}}\n"), _OPENING, records, said),
            self._previous.encode(),
        )
        self._hash.update(head)
        self.digest = self._hash.hexdigest()
        return b'%b%b"}}}\n' % (head, self.digest.encode())


def link_of(line: bytes) -> Link | None:
    """The chain at the end of ``line``, newline included; None if it ends no batch.

    What a container chose cannot look like one: quotes in it are escaped.
    """
    found = _END.fullmatch(line, line.rfind(_OPENING)) if line.endswith(b'"}}}\n') else None
    if not found:
        return None
    try:
        mark = unescape(json.loads(b'"%b"' % found[2]))
    except ValueError:
        return None
    return Link(int(found[1]), mark, found[3].decode(), found[4].decode())


def is_older(line: bytes) -> bool:
    """Is the line of a version that wrote no chain?"""
    return _OLDER in line


def covered(end: bytes, link: Link) -> memoryview:
    """What the digest covers of a batch, or of its last line."""
    return memoryview(end)[: len(end) - len(link.sha256) - len('"}}}\n')]


def digest_of(batch: bytes, link: Link) -> str:
    """What the digest at the end of ``batch`` should be."""
    return sha256(covered(batch, link)).hexdigest()
