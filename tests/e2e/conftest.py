"""Containers in the engine of the test session (``tests/conftest.py``), which end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from deploy.demo.acts import Ran
from deploy.demo.engine import Engine
from deploy.demo.images import Images, build_images
from enforcer.edges.policyfile import read as read_policy
from tests.e2e.agent import Agent, put_policy
from tests.e2e.world import World


@pytest.fixture(scope="session")
def images(engine: Engine) -> Images:
    """The demo's two images: ``base`` (busybox, root) and ``agent`` (user 1001, /health on MCP_PORT)."""
    return build_images(engine)


class Containers:
    """Starts containers and removes them. Names, networks and volumes are the test's own choice."""

    def __init__(self, client: docker.DockerClient, images: Images) -> None:
        self.client = client
        self.images = images
        self._made: list[Container] = []

    def start(self, *command: str, **options: Any) -> Container:
        """A running container, without a network unless one is given; the base image sleeps unless told otherwise."""
        if "network" not in options:
            options.setdefault("network_mode", "none")
        options.setdefault("init", True)
        image = options.pop("image", self.images.base)
        words = list(command) or (["sleep", "infinity"] if image == self.images.base else None)
        self._made.append(container := self.client.containers.create(image, words, **options))
        container.start()
        container.reload()
        return container

    def keep(self, container: Container) -> None:
        """Remove it with the others, one that was made otherwise."""
        self._made.append(container)

    def run(self, *command: str, **options: Any) -> Ran:
        """A container's whole life: what its first process wrote, and its exit status."""
        container = self.start(*command, **options)
        status = container.wait(timeout=60)["StatusCode"]
        return Ran(status=status, output=container.logs().decode(errors="replace").strip())

    @staticmethod
    def execute(container: Container, *command: str) -> Ran:
        """``docker exec``."""
        status, output = container.exec_run(list(command))
        return Ran(status=status, output=output.decode(errors="replace").strip())

    def remove_all(self) -> None:
        """Remove what was started, with its anonymous volumes."""
        for container in self._made:
            with suppress(NotFound):
                container.remove(force=True, v=True)


@pytest.fixture
def containers(engine: Engine, images: Images) -> Iterator[Containers]:
    """Containers of this test only."""
    client = engine.client()
    made = Containers(client, images)
    try:
        yield made
    finally:
        made.remove_all()
        client.close()


@pytest.fixture(scope="session")
def world(engine: Engine, images: Images) -> Iterator[World]:
    """The containers of tests/scenarios.py, for all tests of the session."""
    client = engine.client()
    made = World(engine, client, images)
    made.make()
    try:
        yield made
    finally:
        client.close()  # what is in the engine goes with the engine


@pytest.fixture(scope="session")
def session_agent(engine: Engine, world: World) -> Iterator[Agent]:
    """One agent for all; it starts when the containers of the table run already."""
    made = Agent(engine, engine.directory / "e2e")
    put_policy(made)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def agent(session_agent: Agent) -> Iterator[Agent]:
    """The agent of the session, running, with the table's policy; whatever the test does to it is mended after it."""
    yield session_agent
    put_policy(session_agent)
    if not session_agent.running:
        session_agent.start()
    wanted = read_policy(session_agent.policy).hash
    session_agent.await_that("the policy to be back", lambda: session_agent.status()["policy"]["hash"] == wanted)
