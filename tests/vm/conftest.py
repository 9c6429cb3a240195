"""The image is built once and kept in ``.cache/vm``; the checkout is copied once for all tests of a session.

Boots take minutes under emulation, and one that has a single processor uses no more than one of ours: so all that the collected
tests will ask for is started when the first of them asks, two at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from .machine import Image, Machine, Result, build

REPO = Path(__file__).resolve().parents[2]
AT_ONCE = 2

Boot = Callable[[Machine], Result]
"""What a module's ``BOOTS`` holds by name: runs its script, with ``cpus=1``."""


@pytest.fixture(scope="session")
def image() -> Image:
    """The machine's kernel and root."""
    return build(REPO / ".cache/vm")


@pytest.fixture(scope="session")
def machine(image: Image) -> Iterator[Machine]:
    """Boots the image with this checkout."""
    with Machine(image, REPO) as ready:
        ready.compile()
        yield ready


@pytest.fixture(scope="session")
def boots(request: pytest.FixtureRequest, machine: Machine) -> Iterator[Mapping[str, Future[Result]]]:
    """Every boot that a collected module declares, under way: name → what it will have given."""
    modules = dict.fromkeys(item.getparent(pytest.Module) for item in request.session.items)
    wanted: dict[str, Boot] = {}
    for module in modules:
        wanted |= getattr(module and module.obj, "BOOTS", {})
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {name: pool.submit(boot, machine) for name, boot in wanted.items()}
    finally:
        pool.shutdown(cancel_futures=True)
