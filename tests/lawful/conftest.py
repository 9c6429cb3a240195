"""The two rounds are played once, before any other test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lawful.rounds import Rounds, engine_with_image, two_rounds

HALVES = (
    ("programs", "files", "bound", "layer", "power", "cgroups", "births"),
    ("engine", "postgres", "sharing", "confined", "built"),
)
"""The workloads of round.sh; the two halves share no name of a container or volume."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First of all tests: the first round must meet a host without an agent, and others keep theirs for the session."""
    items.sort(key=lambda item: Path(__file__).parent not in item.path.parents)


@pytest.fixture(scope="package")
def rounds() -> Iterator[Rounds]:
    """Everything that round.sh has, without the agent and under it."""
    with engine_with_image() as engine, two_rounds(engine, HALVES) as played:
        yield played
