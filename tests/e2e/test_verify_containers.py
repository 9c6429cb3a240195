"""``enforcer verify`` against real containers: good ones, a matrix of those that break exactly one thing, the guide's scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

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
from tests.e2e.agent import ENFORCER
from tests.e2e.broken import CREATED, GOOD, POLICY, Ground, table

SCRIPTS = Path(__file__).parent / "guide"
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


@pytest.mark.parametrize("name", [row.name for row in table()])
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


def test_who_is_there(ground: Ground, found: tuple[Finding, ...]) -> None:
    """One that the policy names and that does not run fails, and so does one of their kind that it does not name."""
    seen = {f.container: f.result for f in found if f.check == Check.EXISTENCE}
    assert (seen.pop(GOOD), seen.pop("")) == (Result.PASS, Result.PASS)  # itself, and the one kind that nobody counts
    assert set(seen.values()) == {Result.FAIL}
    assert CREATED not in seen  # it does not run, and nobody asked for it
    names = POLICY.replace(b"names: [mcp-vc-good]", b"names: [mcp-vc-good, mcp-vc-created, mcp-vc-gone]")
    wanted = {f.container: f.evidence for f in verify(ground, names) if f.check == Check.EXISTENCE}
    assert wanted[CREATED] == "it does not run (created)"
    assert wanted["mcp-vc-gone"].startswith("there is no such container")
    running = sum(row.started for row in ground.rows) + 4  # the good one, and three odd ones
    counted = verify(ground, POLICY.replace(b"names: [mcp-vc-good]", b"count: %d" % running))
    assert {(f.container, f.result) for f in counted if f.check == Check.EXISTENCE} == {("", Result.PASS)}


def test_without_a_posture_section_the_grants_say_what_is_expected(ground: Ground) -> None:
    """Networks and volumes follow from the rules; any limit and any user but root will do."""
    found = verify(ground, POLICY.partition(b"posture:")[0])
    assert worst(found, GOOD) == {}
    for name, check in (
        ("no-data", Check.DATA_VOLUME),
        ("segment", Check.SEGMENTATION),
        ("no-logs", Check.VOLUME_MOUNTS),
    ):
        assert check in worst(found, f"mcp-vc-{name}"), name
    assert Check.CONFIG_WRITE in worst(found, "mcp-vc-own-config")
    assert worst(found, "mcp-vc-much-memory").keys() == {Check.HEALTH}  # which is required unless a rule says otherwise
    assert Check.MEMORY_LIMIT in worst(found, "mcp-vc-no-memory")


def test_what_the_policy_accepts_passes_and_says_so(ground: Ground) -> None:
    """`accept`: a check that these containers need not pass."""
    accepting = POLICY + b"    - {who: checked, accept: [user, image-tag]}\n"
    found = verify(ground, accepting)
    assert worst(found, "mcp-vc-root") == {}
    [seen] = [f for f in found if (f.container, f.check) == ("mcp-vc-root", "user")]
    assert "accepted by" in seen.evidence


def test_nothing_stays_behind(ground: Ground, found: tuple[Finding, ...]) -> None:
    """What was tried left no file, and no process of ours is in a container."""
    assert found
    for volume in ground.client.volumes.list():
        if volume.name.startswith("mcp-vc-"):
            assert os.listdir(volume.attrs["Mountpoint"]) == []
    for container in ground.client.containers.list():
        if container.name not in ("mcp-vc-host-pid", "mcp-vc-ill", GOOD):
            commands = [" ".join(words) for words in container.top()["Processes"]]
            assert not [c for c in commands if "writing.py" in c]


@pytest.fixture(scope="module")
def reports(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Each format's exit status and output, by the command itself, with the network tried for the good one only."""
    policy = tmp_path_factory.mktemp("policy") / "policy.yaml"
    policy.write_bytes(POLICY.replace(b'{name: "mcp-vc-*"}', b"{name: mcp-vc-good}"))
    words = (*("nsenter", f"--net=/run/netns/{ground.engine.namespace.name}"), ENFORCER, "verify", "--timeout", "0.5")
    said = {}
    for format_ in ("table", "json", "markdown", "junit"):
        done = subprocess.run(
            [*words, "--policy", policy, "--run", policy.parent, "--format", format_],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "DOCKER_HOST": ground.engine.url},
        )
        assert done.stderr == ""
        said[format_] = done.returncode, done.stdout
    return said


def test_every_format_says_the_same(reports: dict[str, tuple[int, str]]) -> None:
    """The same totals and the same exit status, and each loads as what it claims to be."""
    found = json.loads(reports["json"][1])
    totals = found["totals"]
    assert {code for code, _ in reports.values()} == {1 if totals["fail"] else 0}
    root = ElementTree.fromstring(reports["junit"][1])  # noqa: S314 -- our own
    assert int(root.attrib["tests"]) == sum(totals.values()) == len(root.findall("./testsuite/testcase"))
    assert len(root.findall(".//failure")) == totals["fail"]
    assert len(root.findall(".//skipped")) == totals["warn"]
    counted = f"PASS {totals['pass']}, WARN {totals['warn']}, FAIL {totals['fail']}"
    assert reports["table"][1].splitlines()[-1].endswith(counted)
    assert counted in reports["markdown"][1]
    assert {"container-existence", "network.assignments", "data-write"} <= {f["check"] for f in found["findings"]}
    assert re.search(r"^\| mcp-vc-good \| running \| healthy \| - \|$", reports["markdown"][1], re.MULTILINE)


# --- the guide's own scripts on the same containers -------------------------------------------------------------------

SHOWN = (
    *("good", "root", "root-fs", "setuid", "no-memory", "much-memory", "no-cpu", "quota"),
    *("no-data", "host-data", "closed", "fixed", "layer", "bare", "segment", "no-health", "starting", "ill"),
)
WITH_HEALTH = ("good", "no-health", "starting", "ill")


def run_script(ground: Ground, directory: Path, name: str, *, mended: bool = False) -> subprocess.CompletedProcess[str]:
    """One of the guide's scripts, shown some of the containers. ``mended``: it counts on, and does not stop at five."""
    docker, script = directory / "docker", (SCRIPTS / f"{name}.sh").read_text()
    shown = "|".join(f"mcp-vc-{n}" for n in SHOWN)
    real = shutil.which("docker")
    docker.write_text(
        f"""#!/bin/sh\nif [ "$1" = ps ]; then {real} "$@" | grep -xE '{shown}'; else exec {real} "$@"; fi\n"""
    )
    docker.chmod(0o755)
    if mended:
        script = re.sub(r"\(\((\w+)\+\+\)\)", r"\1=$((\1+1))", script).replace(" | head -5)", ")")
    environment = {**os.environ, "DOCKER_HOST": ground.engine.url, "PATH": f"{directory}:{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True, env=environment)


def ours(found: tuple[Finding, ...], *checks: Check, names: tuple[str, ...] = SHOWN) -> dict[str, str]:
    """The worst of these checks, by container, in the guide's signs."""
    signs = {Result.PASS: "✅", Result.WARN: "⚠️", Result.FAIL: "❌"}
    results = {n: [worst(found, f"mcp-vc-{n}").get(str(c), Result.PASS) for c in checks] for n in names}
    return {n: signs[max(r, key=ORDER.index)] for n, r in results.items()}


def differences(guide: dict[str, str], own: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Where the two do not say the same: by container, the guide's sign and ours."""
    assert guide.keys() == own.keys()
    return {name: (guide[name], own[name]) for name in guide if guide[name] != own[name]}


def signs_by_block(output: str, marks: dict[str, str]) -> dict[str, dict[str, str]]:
    """The signs of the security script: by mark, then by container."""
    signs: dict[str, dict[str, str]] = {mark: {} for mark in marks}
    name = ""
    for line in output.splitlines():
        if block := re.fullmatch(r"=== mcp-vc-(\S+) ===", line):
            name = block[1]
        for mark, pattern in marks.items():
            if name and re.search(pattern, line):
                signs[mark][name] = line.split()[0]
    return signs


def test_the_guides_security_script(ground: Ground, found: tuple[Finding, ...], tmp_path: Path) -> None:
    """It agrees with ours but for root in an image without `id`, and for limits that the policy finds too high."""
    done = run_script(ground, tmp_path, "verify_security")
    assert done.returncode == 0, done.stderr
    marks = {"user": "Running as", "root": "root filesystem", "gain": "no-new-privileges", "memory": "[Mm]emory limit"}
    said = signs_by_block(done.stdout, marks)
    assert differences(said["user"], ours(found, Check.USER)) == {"bare": ("✅", "⚠️")}
    assert differences(said["root"], ours(found, Check.READ_ONLY_ROOT)) == {}
    assert differences(said["gain"], ours(found, Check.NO_NEW_PRIVILEGES)) == {}
    assert differences(said["memory"], ours(found, Check.MEMORY_LIMIT)) == {"much-memory": ("✅", "⚠️")}


def test_the_guides_volume_script(ground: Ground, found: tuple[Finding, ...], tmp_path: Path) -> None:
    """It agrees with ours but where there is no `touch`, and where what it writes to is no volume at all."""
    done = run_script(ground, tmp_path, "verify_volumes")
    assert done.returncode == 0, done.stderr
    said = {name: sign for sign, name in re.findall(r"^(\S+) mcp-vc-(\S+) can(?:not)? write to own", done.stdout, re.M)}
    assert differences(said, ours(found, Check.DATA_VOLUME, Check.DATA_WRITE)) == {
        "bare": ("❌", "✅"),
        "layer": ("✅", "❌"),
        "host-data": ("✅", "❌"),
    }


def test_the_guides_containerization_check_stops_at_its_first_result(ground: Ground, tmp_path: Path) -> None:
    """`((PASS++))` is false the first time, and the script runs with `set -e`: of its six tests it makes one."""
    done = run_script(ground, tmp_path, "verify_containerization")
    assert done.returncode == 1
    assert "Test 1" in done.stdout
    assert "Test 2" not in done.stdout
    assert "Summary" not in done.stdout


def test_the_guides_containerization_check(ground: Ground, found: tuple[Finding, ...], tmp_path: Path) -> None:
    """With its counting mended and its limit of five containers taken away, test by test."""
    done = run_script(ground, tmp_path, "verify_containerization", mended=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert "found 18" in plain
    said: dict[str, dict[str, str]] = {}
    for number, body in re.findall(r"^Test (\d): .*\n((?:(?!^Test ).*\n)*)", plain, re.M):
        said[number] = {name: sign for sign, name in re.findall(r"^(\S+)\s+mcp-vc-(\S+): ", body, re.M)}
    assert differences(said["2"], ours(found, Check.DATA_VOLUME)) == {}
    assert differences(said["3"], ours(found, Check.SEGMENTATION)) == {}
    health = {name: said["4"][name] for name in WITH_HEALTH}
    assert differences(health, ours(found, Check.HEALTH, names=WITH_HEALTH)) == {
        "no-health": ("❌", "⚠️"),  # docker prints an empty line before the script's "none"
        "starting": ("❌", "⚠️"),
    }
    assert "FAIL: 2" in plain  # existence and data: an unhealthy container is not counted
    assert differences(said["5"], ours(found, Check.MEMORY_LIMIT, Check.CPU_LIMIT)) == {
        "quota": ("⚠️", "✅"),
        "much-memory": ("✅", "⚠️"),
    }
    assert differences(said["6"], ours(found, Check.USER, Check.READ_ONLY_ROOT)) == {
        "root": ("✅", "⚠️"),
        "root-fs": ("✅", "⚠️"),
        "layer": ("✅", "⚠️"),
        "bare": ("✅", "⚠️"),
    }
