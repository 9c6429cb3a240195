"""Reading ahead gives what reading gives."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from enforcer.edges.ahead import DEPTH, ahead
from enforcer.errors import EdgeError


def test_it_gives_the_same_in_order() -> None:
    """Whatever there is, to the end, and nothing more."""
    for number in (0, 1, DEPTH, 50):
        blocks = [b"%d" % n for n in range(number)]
        assert list(ahead(block for block in blocks)) == blocks


def test_an_error_comes_after_what_came_before_it() -> None:
    """It is raised to who reads, not in a thread where nobody sees it."""

    def failing() -> Generator[bytes, None, None]:
        yield b"one"
        raise EdgeError("the disk")

    found = ahead(failing())
    assert next(found) == b"one"
    with pytest.raises(EdgeError, match="the disk"):
        next(found)


def test_who_stops_reading_leaves_nothing_behind() -> None:
    """The thread ends and the file is closed; no more is got than was said."""
    got: list[int] = []

    def endless() -> Generator[bytes, None, None]:
        try:
            while True:
                got.append(len(got))
                yield b"x"
        finally:
            got.append(-1)

    before = threading.active_count()
    found = ahead(endless())
    assert next(found) == b"x"
    found.close()  # type: ignore[attr-defined]
    assert (threading.active_count(), got[-1]) == (before, -1)
    assert len(got) <= DEPTH + 2
