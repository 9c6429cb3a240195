"""The README's table of ways is the one that the tests of attacks hold the kernel to."""

from __future__ import annotations

from tests.attacks.table import README, rows, written
from tests.attacks.ways import MECHANISMS


def test_the_readme_shows_what_the_tests_declare() -> None:
    """`python -m tests.attacks.table` has nothing to change."""
    text = README.read_text()
    assert text == written(text)


def test_ways_that_share_a_row_end_alike() -> None:
    """A row has one word for each mechanism: ways that end differently have rows of their own."""
    words = {row: {tuple(w.expected(m) for m in MECHANISMS) for w in ways} for row, ways in rows().items()}
    assert {row: found for row, found in words.items() if len(found) != 1} == {}
