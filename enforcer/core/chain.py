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


def closed(lines: bytes, records: int, *, mark: str, previous: str) -> tuple[bytes, str]:
    """The whole lines of one batch with its chain at their end, and its digest.

    The last line must end with the object ``enforcer``, as every line of ours does, and must not be empty there.
    """
    if len(mark) > _LONGEST_MARK:
        raise ValueError(f"a mark of {len(mark)} characters: at most {_LONGEST_MARK}")
    said = json.dumps(escape(mark), ensure_ascii=False).encode()
    head = b'%b%b"records":%d,"mark":%b,"previous":"%b","sha256":"' % (
        *(lines.removesuffix(b"}}\n"), _OPENING, records, said),
        previous.encode(),
    )
    digest = sha256(head).hexdigest()
    return b'%b%b"}}}\n' % (head, digest.encode()), digest


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


def digest_of(batch: bytes, link: Link) -> str:
    """What the digest at the end of ``batch`` should be."""
    return sha256(memoryview(batch)[: len(batch) - len(link.sha256) - len('"}}}\n')]).hexdigest()
