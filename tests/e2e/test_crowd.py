"""Too many at once, too short a life, names as odd as Docker allows, images without one: nobody is missed and nobody mistaken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from docker.models.containers import Container

from deploy.demo.images import base_tree
from tests.e2e.agent import DATA, Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.world import CONTENT, World, mounted

CROWD = 200
STARTERS = 8
ATTACK = ["cat", "/beta-data/f"]


@pytest.fixture
def crowd(agent: Agent, containers: Containers, world: World) -> Iterator[list[Container]]:
    """So many containers, created and known, none of them started. Each is to read what is another's, first thing."""
    options = {"network_mode": "none", "volumes": mounted("beta-data"), "labels": world.engine.labels}

    def create(number: int) -> Container:
        return containers.client.containers.create(containers.images.base, ATTACK, name=f"crowd-{number}", **options)

    with ThreadPoolExecutor(STARTERS) as pool:
        made = list(pool.map(create, range(CROWD)))
    agent.await_that("all to be known", lambda: {c.id for c in made} <= {c["id"] for c in agent.status()["containers"]})
    yield made
    with ThreadPoolExecutor(STARTERS) as pool:
        list(pool.map(lambda c: c.remove(force=True), made))


def test_two_hundred_at_once(agent: Agent, crowd: list[Container]) -> None:
    """All are started at once; the first instruction of each is an attack; each is stopped, counted and recorded by its name."""
    verdict, _ = agent.stopped
    status = 137 if verdict == "killed" else 1
    before = agent.mark()
    with ThreadPoolExecutor(STARTERS) as pool:
        list(pool.map(Container.start, crowd))
        ended = list(pool.map(lambda c: (c.wait(timeout=120)["StatusCode"], CONTENT in c.logs().decode()), crowd))
    assert Counter(ended) == {(status, False): CROWD}
    labels = {"object": "beta-data", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, container=f"crowd-{n}", **labels): 1 for n in range(CROWD)}
    events = agent.await_events(before, CROWD)
    assert Counter((e.who.name, e.who.id) for e in events) == {(c.name, c.id): 1 for c in crowd}
    counts = agent.status()["counts"]
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())
    agent.await_that(
        "the agent to have caught up", lambda: not any("looked at" in d["what"] for d in agent.status()["degraded"])
    )


def test_lives_too_short_to_be_looked_at(agent: Agent, containers: Containers) -> None:
    """Forty containers that end at once and are removed, eight at a time: whatever died while it was asked about is forgotten."""
    logged = agent.log.stat().st_size

    def live(number: int) -> int:
        name = f"brief-{number}"
        made = containers.client.containers.create(containers.images.base, ["true"], name=name, network_mode="none")
        made.start()
        made.remove(force=True)
        return number

    with ThreadPoolExecutor(STARTERS) as pool:
        assert len(list(pool.map(live, range(40)))) == 40
    agent.await_container("brief-39", known=False)
    agent.await_that("all to be forgotten", lambda: "brief-" not in str(agent.status()["containers"]))
    there = {c.id for c in containers.client.containers.list(all=True)}
    assert {c["id"] for c in agent.status()["containers"]} == there
    said = agent.log.read_text()[logged:]
    assert [word for word in ("Traceback", " error ", " critical ") if word in said] == []


@pytest.mark.parametrize("name", ["0-.__.-0", "Z" + "_.-" * 80], ids=["punctuation", "241 characters"])
def test_names_as_odd_as_docker_allows(agent: Agent, containers: Containers, name: str) -> None:
    """The name is in the metric, in the journal and in the matrix as Docker has it."""
    verdict, _ = agent.stopped
    before = agent.mark()
    containers.run(*ATTACK, name=name, init=False, volumes=mounted("beta-data"))
    labels = {"object": "beta-data", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, container=name, **labels): 1}
    [event] = agent.await_events(before, 1)
    assert event.who.name == name
    found = agent.ask("log", "--journal", str(agent.journal), "--container", name, "--format", "json")
    assert len(found.stdout.splitlines()) == 1
    agent.await_that("it to be in the matrix", lambda: name in agent.matrix()["data"])


def test_image_without_a_name(agent: Agent, containers: Containers) -> None:
    """`docker import` without a tag: the image is known by its id, the container by its name, and the agent is not confused."""
    verdict, _ = agent.stopped
    imported = json.loads(containers.client.api.import_image_from_data(base_tree()).splitlines()[-1])["status"]
    assert containers.client.images.get(imported).tags == []
    before = agent.mark()
    containers.run(*ATTACK, image=imported, name="of-no-image", init=False, volumes=mounted("beta-data"))
    labels = {"object": "beta-data", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, container="of-no-image", **labels): 1}
    [event] = agent.await_events(before, 1)
    assert event.who.image in imported
    containers.remove_all()
    containers.client.images.remove(imported)


def test_what_was_counted_before_a_renaming(agent: Agent, containers: Containers) -> None:
    """A renamed container takes its counts along, to the last one; the journal keeps the name that it had."""
    verdict, _ = agent.stopped
    container = containers.start(name="once", volumes=mounted("beta-data"))
    before = agent.mark()
    containers.execute(container, *ATTACK)
    labels = {"object": "beta-data", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, container="once", **labels): 1}
    [event] = agent.await_events(before, 1)
    assert event.who.name == "once"
    container.rename("twice")
    agent.await_container("twice")
    containers.execute(container, *ATTACK)
    later = [e.who.name for e in agent.await_events(before, 2)]
    assert later == ["once", "twice"]
    counted = agent.violations()
    assert counted[sample(DATA, container="twice", **labels)] == 2
    assert sample(DATA, container="once", **labels) not in counted
