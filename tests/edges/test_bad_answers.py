"""What an engine must not say and might: garbage, half answers, news twice and in the wrong order, containers that are gone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcer.core.model import Attachment, Container
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd, DockerEvent
from enforcer.errors import ContainerGone, EdgeError
from enforcer.runtime.facts import Survey
from tests.edges.fake_docker import FakeDocker, recorded

GARBAGE: list[Any] = [None, 0, -1, 1.5, True, "", "x", "\x00\n", [], ["x"], {}, {"x": []}, [[]], {"Name": {}}]

Many = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDocker]:
    """An engine of recorded answers, for all tests of this module: each puts back what it changes."""
    with FakeDocker(tmp_path_factory.mktemp("fake")).serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def dockerd(fake: FakeDocker) -> Iterator[Dockerd]:
    """The edge, talking to it."""
    edge = Dockerd(fake.url)
    yield edge
    edge.close()


@pytest.fixture(autouse=True)
def answers(fake: FakeDocker) -> Iterator[dict[str, tuple[int, Any]]]:
    """What the engine answers, for the test to spoil."""
    kept = copy.deepcopy(fake.answers)
    yield fake.answers
    fake.answers.clear()
    fake.answers.update(kept)


class Gone(Cgroups):
    """A host on which every process has ended."""

    def __init__(self) -> None:
        pass

    def of_pid(self, pid: int) -> str:
        """As if it had just gone."""
        raise ContainerGone(f"process {pid} ended")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside an answer, itself included."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from places(child, (*path, key))


def spoiled(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """The answer with one value replaced, or left out (``by`` is ``...``)."""
    if not path:
        return None if by is ... else by
    whole = copy.deepcopy(value)
    place = whole
    for key in path[:-1]:
        place = place[key]
    if by is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = by
    return whole


def unsound(found: object) -> list[str]:
    """Fields of our facts, at any depth, that are not of the kind that the rest of the enforcer takes them for."""
    if isinstance(found, Container):
        assert set(found.id) <= set("0123456789abcdef")
        assert (len(found.id), found.pid >= 0) == (64, True)
        [ip_address(address) for attachment in found.attachments for address in attachment.addresses]
    if is_dataclass(found):
        kinds = get_type_hints(type(found))
        wrong = [
            f.name
            for f in fields(found)
            if kinds[f.name] in (str, int) and type(getattr(found, f.name)) is not kinds[f.name]
        ]
        return wrong + [name for f in fields(found) for name in unsound(getattr(found, f.name))]
    if isinstance(found, tuple | dict):
        inner = [*found.items()] if isinstance(found, dict) else found
        return [name for part in inner for name in unsound(part)]
    return [] if isinstance(found, str | int | IPv4Network | IPv6Network | None) else [repr(found)]


SELECTOR = recorded("container-mcp-01-selector")
USED = [p for p in places(SELECTOR) if not p or p[0] in ("Id", "Name", "State", "Config", "HostConfig", "GraphDriver")]
USED += [p for p in places(SELECTOR) if p and p[0] == "NetworkSettings"]


def test_an_inspection_with_garbage_in_it_is_understood_or_refused(fake: FakeDocker, dockerd: Dockerd) -> None:
    """Whatever is missing or of the wrong kind: a container of sound facts, or one error of ours that a look survives."""
    refused = 0
    for path, by in product(USED, [..., *GARBAGE]):
        fake.answers["/containers/spoiled/json"] = (200, spoiled(SELECTOR, path, by))
        try:
            found = dockerd.detail("spoiled")
        except EdgeError as e:
            refused += 1
            assert "\n" not in str(e), (path, by)
        else:
            assert unsound(found) == [], (path, by)
    assert 0 < refused < len(USED) * len(GARBAGE)


@Many
@given(data=st.data(), path=st.sampled_from(["/containers/json", "/networks", "/volumes", "/info"]))
def test_listings_with_garbage_in_them_are_understood_or_refused(
    fake: FakeDocker, dockerd: Dockerd, data: st.DataObject, path: str
) -> None:
    """The same for every other answer: nothing but our own error leaves the edge."""
    kept = fake.answers[path]
    where = data.draw(st.sampled_from(list(places(kept[1]))))
    fake.answers[path] = (200, spoiled(kept[1], where, data.draw(st.sampled_from([..., *GARBAGE]))))
    ask: dict[str, Callable[[], Any]] = {
        "/containers/json": dockerd.containers,
        "/networks": dockerd.bridged,
        "/volumes": dockerd.volumes,
        "/info": dockerd.engine,
    }
    try:
        found = ask[path]()
    except EdgeError:
        found = ()
    finally:
        fake.answers[path] = kept
    assert unsound(found) == []


@pytest.mark.parametrize(
    "event", [b"[]", b'"x"', b"null", b"7", b'{"Type": "container", "Actor": ["x"]}', b'{"Actor": "x"}']
)
def test_an_event_that_is_none_ends_the_stream_with_an_error(tmp_path: Path, event: bytes) -> None:
    """The reader then subscribes anew and reads everything: nothing is guessed from half a word."""
    fake = FakeDocker(tmp_path)
    fake.events = [event + b"\n"]
    with fake.serving():
        edge = Dockerd(fake.url)
        with pytest.raises(EdgeError, match="event stream"):
            next(edge.events())
        edge.close()


def test_a_container_that_the_engine_cannot_tell_about_hides_no_other(
    fake: FakeDocker, dockerd: Dockerd, answers: dict[str, tuple[int, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A container whose layer is lost cannot be inspected, for ever: it is taken for what the listing says, and that is said."""
    broken = next(c for c in answers["/containers/json"][1] if c["Names"] == ["/database"])
    answers[f"/containers/{broken['Id']}/json"] = (500, {"message": f"RWLayer of container {broken['Id']} is nil"})
    assert broken["State"] == "created"
    found = {c.name: c for c in Survey(dockerd, Gone(), ()).full().containers.values()}
    assert found.keys() == {"mcp-01-selector", "workstation", "database", "sidecar", "hostly"}
    assert found["database"].attachments == (Attachment("database"),)
    assert "RWLayer" in caplog.text


def test_a_running_container_is_never_taken_for_what_the_listing_says(
    dockerd: Dockerd, answers: dict[str, tuple[int, Any]]
) -> None:
    """Without its pid it would be governed no more: the look fails, what is in force stays, and it is tried again."""
    running = next(c for c in answers["/containers/json"][1] if c["State"] == "running")
    answers[f"/containers/{running['Id']}/json"] = (500, {"message": "no"})
    with pytest.raises(EdgeError, match="inspecting container"):
        Survey(dockerd, Gone(), ()).full()


def test_a_container_that_goes_between_the_listing_and_the_question(
    dockerd: Dockerd, answers: dict[str, tuple[int, Any]]
) -> None:
    """It was listed, and is gone when it is asked about: it is no fact, and the others are."""
    gone = next(c for c in answers["/containers/json"][1] if c["Names"] == ["/workstation"])
    del answers[f"/containers/{gone['Id']}/json"]
    facts = Survey(dockerd, Gone(), ()).full()
    assert len(facts.containers) == 4
    assert gone["Id"] not in facts.containers


def as_event(found: dict[str, Any]) -> DockerEvent:
    """A recorded event as the edge hands it out."""
    actor = found["Actor"]
    name = actor["Attributes"].get("name", actor["ID"])
    inside = actor["Attributes"].get("container", "") if found["Type"] != "container" else ""
    return DockerEvent(found["Type"], found["Action"], actor["ID"], name, found["timeNano"], inside)


EVENTS = [as_event(e) for e in recorded("events")]
STALE = [DockerEvent("container", action, digit * 64, "long-gone", 1) for action in ("create", "die") for digit in "ab"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(news=st.lists(st.sampled_from(EVENTS + STALE), min_size=1, max_size=25))
def test_news_twice_and_in_any_order_ends_where_a_full_look_does(dockerd: Dockerd, news: list[DockerEvent]) -> None:
    """Events only say where to look: repeated, reordered, left out or of containers long gone, they leave what is so."""
    survey = Survey(dockerd, Gone(), ())
    facts = survey.full()
    for event in news:
        facts = survey.after(event)
    assert facts == Survey(dockerd, Gone(), ()).full()
