"""Reading ahead: what is slow to get is got while what came before it is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

DEPTH = 2
"""Blocks that are got before they are asked for: one that is ready, one that is being made."""


def ahead(blocks: Generator[bytes, None, None]) -> Iterator[bytes]:
    """The same blocks, got in a thread of their own (zstd holds no interpreter lock); what that raises is raised here."""
    try:
        with ThreadPoolExecutor(1) as pool:
            coming = deque(pool.submit(next, blocks, b"") for _ in range(DEPTH))
            while block := coming.popleft().result():
                coming.append(pool.submit(next, blocks, b""))
                yield block
    finally:
        blocks.close()
