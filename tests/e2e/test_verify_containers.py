"""``enforcer verify`` against real containers: good ones, and a matrix of those that break exactly one thing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.demo.engine import private_engine
from deploy.demo.images import build_images
from enforcer.core.checks import Check
from enforcer.core.parse import parse
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.policyfile import from_bytes
from enforcer.edges.writes import Writes
from enforcer.posture.finding import Finding, Result
from enforcer.posture.table import TABLE
from enforcer.runtime.facts import collect
from enforcer.runtime.posture import verify_containers
from tests.e2e.broken import CREATED, GOOD, POLICY, Ground, table

ORDER = (Result.PASS, Result.WARN, Result.FAIL)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """An engine of its own with the containers of the table in it."""
    with private_engine() as engine:
        client = engine.client()
        try:
            made = Ground(engine, client, build_images(engine))
            made.make()
            yield made
        finally:
            client.close()


def verify(ground: Ground, policy: bytes = POLICY) -> tuple[Finding, ...]:
    """All findings, with writing tried."""
    parsed = parse(from_bytes(policy, "policy.yaml"))
    dockerd = Dockerd(ground.engine.url)
    try:
        facts = collect(dockerd, Cgroups(), ())
        return verify_containers(parsed, facts, dockerd, ground.engine.url, Writes(Cgroups())).findings
    finally:
        dockerd.close()


@pytest.fixture(scope="module")
def found(ground: Ground) -> tuple[Finding, ...]:
    """One look at all of them."""
    return verify(ground)


def worst(found: tuple[Finding, ...], container: str) -> dict[str, Result]:
    """The worst result of each check of one container that is not PASS."""
    results: dict[str, Result] = {}
    for finding in found:
        if finding.container == container and finding.check != Check.EXISTENCE:
            results[finding.check] = max(results.get(finding.check, Result.PASS), finding.result, key=ORDER.index)
    return {check: result for check, result in results.items() if result is not Result.PASS}


def test_every_check_passes_for_a_good_container(found: tuple[Finding, ...]) -> None:
    """Each check of the table looks at it, and none has anything to say against it."""
    assert worst(found, GOOD) == {}
    assert {f.check for f in found if f.container == GOOD} == {str(c) for c in Check}


@pytest.mark.parametrize("name", [row.name for row in table(type("E", (), {"directory": "", "url": ""})())])
def test_what_breaks_one_thing_fails_one_check(ground: Ground, found: tuple[Finding, ...], name: str) -> None:
    """The check that the row names, with the result that it names, and no other check; with evidence and a fix."""
    [row] = [row for row in ground.rows if row.name == name]
    good = worst(found, GOOD if row.started else CREATED)
    own = worst(found, f"mcp-vc-{name}")
    assert {check: r for check, r in own.items() if good.get(check) != r} == {str(row.check): row.result}
    assert good.items() <= own.items()
    [seen] = [f for f in found if f.container == f"mcp-vc-{name}" and f.check == row.check and f.result is row.result]
    assert seen.evidence
    assert seen.fix
    assert seen.section == TABLE[row.check].section


def test_the_matrix_leaves_no_check_out(ground: Ground) -> None:
    """A check that no container breaks is not tested."""
    assert {row.check for row in ground.rows} == set(TABLE)
