"""The image is built once and kept in ``.cache/vm``; the checkout is copied once for all tests of a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .machine import Image, Machine, build

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def image() -> Image:
    """The machine's kernel and root."""
    return build(REPO / ".cache/vm")


@pytest.fixture(scope="session")
def machine(image: Image) -> Iterator[Machine]:
    """Boots the image with this checkout."""
    with Machine(image, REPO) as ready:
        yield ready
