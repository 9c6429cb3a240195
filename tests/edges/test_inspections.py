"""The engine's answers as inspections; what is not understood is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer.core.inspection import Mounted
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.inspections import Inspections, owner_of
from enforcer.errors import EdgeError
from tests.edges.fake_docker import FakeDocker

SELECTOR = "mcp-01-selector"
PLACES = {"mcp-01-selector-data": "/srv/mcp/01"}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDocker]:
    """An engine that answers as the recorded one did."""
    with FakeDocker(tmp_path).serving() as serving:
        yield serving


@pytest.fixture
def inspections(fake: FakeDocker) -> Iterator[Inspections]:
    """The edge, talking to it."""
    dockerd = Dockerd(fake.url)
    yield Inspections(dockerd.api, PLACES)
    dockerd.close()


def answer(fake: FakeDocker) -> dict[str, Any]:
    """The answer about one container, to be changed."""
    found: dict[str, Any] = fake.answers[f"/containers/{SELECTOR}/json"][1]
    return found


def test_all_containers_by_name(inspections: Inspections) -> None:
    """Also the one that was only created."""
    found = {i.name: i for i in inspections.all()}
    assert list(found) == sorted(found) == ["database", "hostly", SELECTOR, "sidecar", "workstation"]
    assert [n for n, i in found.items() if not i.running] == ["database"]
    assert (found["hostly"].mode["net"], found["sidecar"].mode["net"].split(":")[0]) == ("host", "container")
    assert found["workstation"].networks == ("mcp-internal", "public")


def test_a_default_container(inspections: Inspections) -> None:
    """What Docker gives whoever asks for nothing: no limit, no user, no health check, nothing dropped."""
    found = inspections.one("workstation")
    assert found is not None
    assert (found.memory, found.cpus, found.pids, found.user, found.health) == (0, 0, 0, "", "none")
    assert (found.read_only, found.privileged, found.cap_drop, found.security) == (False, False, (), ())


def test_mounts_are_where_their_data_lies(inspections: Inspections) -> None:
    """A bind-backed volume's data lies in its device; a directory that is not there has no owner."""
    found = inspections.one(SELECTOR)
    assert found is not None
    places = {m.destination: m for m in found.mounts}
    assert places["/app/data"] == Mounted("volume", "/app/data", "mcp-01-selector-data", "/srv/mcp/01")
    assert places["/app/logs"].path.endswith("/mcp-01-selector-logs/_data")


def test_every_limit_and_every_option(inspections: Inspections, fake: FakeDocker) -> None:
    """As `docker run` writes them; a quota of a period is a limit as well."""
    host = {"Memory": 5, "CpuQuota": 50_000, "CpuPeriod": 200_000, "PidsLimit": -1, "ReadonlyRootfs": True}
    host |= {"CapAdd": ["CAP_CHOWN", "sys_admin"], "CapDrop": ["all"], "SecurityOpt": ["seccomp=unconfined"]}
    host |= {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None}, "PublishAllPorts": True}
    answer(fake)["HostConfig"] |= host
    answer(fake)["State"]["Health"] = {"Status": "unhealthy", "Log": [{"Output": "a"}, {"Output": "exit\n 1\x1b"}]}
    found = inspections.one(SELECTOR)
    assert found is not None
    assert (found.memory, found.cpus, found.pids, found.read_only) == (5, 0.25, 0, True)
    assert (found.cap_add, found.cap_drop, found.security) == (
        ("CHOWN", "SYS_ADMIN"),
        ("ALL",),
        ("seccomp=unconfined",),
    )
    assert found.published == {"80/tcp": ("*:8080",), "81/tcp": (), "all that the image exposes": ("any",)}
    assert (found.health, found.health_said) == ("unhealthy", "exit 1\x1b")


def test_one_that_is_gone(inspections: Inspections) -> None:
    """Removed between the listing and the question."""
    assert inspections.one("gone") is None


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("HostConfig", "CapAdd", [1]),
        ("HostConfig", "Memory", "much"),
        ("HostConfig", "SecurityOpt", 7),
        ("HostConfig", "PortBindings", ["80/tcp"]),
        ("Config", "User", 5),
        ("State", "Health", "well"),
    ],
)
def test_an_answer_of_another_shape(
    inspections: Inspections, fake: FakeDocker, section: str, key: str, value: object
) -> None:
    """It is said, and never taken for a container that is as it should be."""
    answer(fake)[section][key] = value
    with pytest.raises(EdgeError, match="not understood"):
        inspections.one(SELECTOR)


def test_the_engines_own_confinement(inspections: Inspections, fake: FakeDocker) -> None:
    """What it says in its info, and where it listens."""
    fake.answers["/info"][1]["SecurityOptions"] = ["name=apparmor", "name=seccomp,profile=default"]
    found = inspections.security("unix:///tmp/x/docker.sock")
    assert (found.seccomp, found.labels) == (True, True)
    assert "/tmp/x/docker.sock" in found.sockets  # noqa: S108 -- a path that is compared
    fake.answers["/info"][1]["SecurityOptions"] = None
    assert (inspections.security(fake.url).seccomp, inspections.security(fake.url).labels) == (False, False)


def test_whose_a_directory_is(tmp_path: Path) -> None:
    """Owner, group and mode; nothing for what is not there."""
    tmp_path.chmod(0o1750)
    found = owner_of(str(tmp_path))
    assert found is not None
    assert found.mode == 0o1750
    assert owner_of(str(tmp_path / "gone")) is None
