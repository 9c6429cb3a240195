"""What is wrong with a container, and what of it may be mended without asking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enforcer.core.inspection import Owner
from enforcer.core.model import READ_WRITE, Access, Container
from enforcer.posture.case import Case, Reached, Sharer
from enforcer.posture.diagnosis import Chown, Connect, Issue, Pair, Strays, connectivity, permissions
from enforcer.posture.expectations import Expectations
from enforcer.posture.wanted import Wanted
from tests.unit.test_posture_checks import BIND, CONFIG, DATA, GOOD, UNTRIED, replace_mounts
from tests.unit.worlds import BACKEND, GUIDE, GUIDE_FACTS, STRANGER, container

ROOTS = replace(DATA, owner=Owner(0, 0, 0o755))
OWN = {"volume a-data": READ_WRITE}
REFUSED = replace(UNTRIED, tried=True, how="EACCES: Permission denied")


def issues(case: Case, strays: int = 0) -> list[Issue]:
    """Volume permissions, when the first process's group is 1002."""
    found = {"/app/data": Strays(strays, "/v/a-data/f", 0)}
    return list(permissions(case, found, 1002))


def test_nothing_is_wrong() -> None:
    """It can write, and everything is its own."""
    assert issues(GOOD) == []


def test_another_owner() -> None:
    """Given to the user and group that the container runs as."""
    [issue] = issues(replace_mounts(Reached(ROOTS, OWN), data=REFUSED))
    assert (issue.remedy, issue.command) == (Chown("/v/a-data", 1001, 1002), "chown -R 1001:1002 /v/a-data")


def test_only_files_of_another_owner() -> None:
    """The symptom of the guide is a file."""
    [issue] = issues(GOOD, strays=3)
    assert (issue.remedy, "3 files" in issue.evidence) == (Chown("/v/a-data", 1001, 1002), True)


@pytest.mark.parametrize(
    "reached",
    [
        Reached(ROOTS, OWN, (Sharer("b", False, None),)),
        Reached(ROOTS, {**OWN, "volume b-data": READ_WRITE}),
        Reached(replace(ROOTS, path="/etc/app"), OWN),
        Reached(replace(ROOTS, path="/srv"), OWN),
        Reached(replace(BIND.mount, owner=Owner(0, 0, 0o755))),
        Reached(replace(DATA, owner=Owner(1001, 1001, 0o550)), OWN),
    ],
    ids=["shared", "holds another's", "the system's", "a top directory", "no volume", "its mode"],
)
def test_what_is_said_and_not_done(reached: Reached) -> None:
    """There is a command, and a person has to want it."""
    [issue] = issues(replace_mounts(reached, data=REFUSED))
    assert (issue.remedy, bool(issue.command)) == (None, True)


def test_what_it_may_not_write_is_no_issue() -> None:
    """A refused write to its configuration, or to another's data, is as it should be."""
    config = Reached(replace(CONFIG, writable=True), {"volume a-config": Access.READ})
    foreign = Reached(replace(ROOTS, destination="/stolen"), {"volume b-data": Access.NONE})
    assert issues(replace_mounts(config, foreign, config=REFUSED)) == []


def test_a_root_container_owns_what_it_likes() -> None:
    """Nothing is given to root by itself."""
    case = replace_mounts(Reached(replace(DATA, owner=Owner(5, 5, 0o750)), OWN), data=REFUSED)
    [issue] = issues(replace(case, it=replace(case.it, uid=0)))
    assert issue.remedy is None


WANTS = Wanted(networks=frozenset({"mcp-internal"}))
APART = container(50, "mcp-50-apart", public="172.20.0.90")


def between(caller: Container, called: Container, *cut_off: str) -> list[tuple[str, object]]:
    """The names of what is wrong between two, with what may be done."""
    pair = Pair(caller, called, WANTS, Wanted())
    found = connectivity(pair, Expectations(GUIDE, GUIDE_FACTS), frozenset(cut_off))
    return [(issue.name, issue.remedy) for issue in found]


def test_a_network_that_is_wanted_is_connected() -> None:
    """The other is there already."""
    assert between(APART, BACKEND) == [("no-common-network", Connect("mcp-internal", "mcp-50-apart"))]


@pytest.mark.parametrize("network", ["host", "none", "joined"])
def test_who_cannot_be_connected(network: str) -> None:
    """Docker refuses it, so a person has to make the container anew."""
    alone = replace(APART, attachments=(replace(APART.attachments[0], network=network, addresses=()),))
    assert between(alone, BACKEND) == [("no-common-network", None)]


def test_who_is_kept_for_forensics_is_left_alone() -> None:
    """Whatever else is wrong."""
    assert between(APART, BACKEND, APART.id) == [("quarantined", None)]
    assert between(APART, BACKEND, BACKEND.id) == [("quarantined", None)]


def test_who_does_not_run() -> None:
    """It is said first; its networks may be wrong besides."""
    assert between(replace(APART, pid=0), BACKEND) == [("not-running", None), ("no-common-network", None)]


def test_a_network_that_nobody_wants_is_not_proposed_for_fixing() -> None:
    """Only the symptom speaks for it."""
    assert between(BACKEND, STRANGER) == [("no-common-network", None)]
