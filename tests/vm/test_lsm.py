"""The kernel tests once more, where BPF LSM loads: the mechanism that denies before the fact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .machine import Machine, Result

pytestmark = pytest.mark.timeout(1500)

PYTEST = "-m pytest -p no:cacheprovider --timeout=240 -o junit_family=xunit2 --junitxml=$RESULTS/junit.xml"


@dataclass(frozen=True)
class Report:
    """What a junit file says: names of the tests that passed, and a readable text for each one that did not."""

    passed: tuple[str, ...]
    others: tuple[str, ...]


def read_junit(xml: bytes) -> Report:
    """Every test case of the file. A test that was skipped, or expected to fail, has not passed."""
    passed, others = [], []
    for case in ElementTree.fromstring(xml).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = [part for part in case if part.tag in {"failure", "error", "skipped"}]
        others += [f"{name} {part.tag}: {part.get('message')}\n{part.text or ''}" for part in bad]
        passed += [] if bad else [name]
    return Report(tuple(passed), tuple(others))


def run_tests(machine: Machine, tests: str, mechanism: str, *, cmdline: str = "") -> Result:
    """Run tests of the checkout in the machine, all in one boot, with the mechanism that they shall use."""
    script = f"export ENFORCER_NO_SKIP=1 ENFORCER_MECHANISM={mechanism}\n.venv/bin/python {PYTEST} {tests}"
    return machine.run(script, cmdline=cmdline, memory_mib=2048, cpus=1, timeout_s=900)


def require_all_passed(result: Result) -> None:
    """Fail with what the guest's pytest found, readable without the guest."""
    if "junit.xml" not in result.files:
        pytest.fail(f"pytest wrote no report in the machine:\n{result.output}")
    report = read_junit(result.files["junit.xml"])
    if report.others:
        count = f"{len(report.others)} of {len(report.others) + len(report.passed)} tests did not pass in the machine"
        pytest.fail("\n\n".join((count, *report.others)), pytrace=False)
    assert report.passed, f"no test ran in the machine:\n{result.output}"
    assert result.exit_code == 0, result.output


# What depends on the mechanism; test_pins builds the probes two dozen times, which takes minutes here and seconds natively.
KERNEL = " ".join(
    f"tests/kernel/test_{part}.py" for part in ("scenarios", "life", "packets", "inbound", "names", "ways_out")
)


WITHOUT_BPF = "lsm=lockdown,capability,landlock,yama"

BOOTS = {
    "kernel lsm": partial(run_tests, tests=KERNEL, mechanism="lsm"),
    "kernel fmod_ret": partial(run_tests, tests=KERNEL, mechanism="fmod_ret", cmdline=WITHOUT_BPF),
}


@pytest.mark.parametrize("boot", BOOTS)
def test_kernel_tests_pass(boots: Mapping[str, Future[Result]], boot: str) -> None:
    """Every deed and every birth ends as it must, by LSM, and by the same programs where bpf is not in the list of LSMs."""
    require_all_passed(boots[boot].result())


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("def test_it(): assert 1 == 2", "1 of 1 tests did not pass.*test_it failure: assert 1 == 2"),
        ("import pytest\ndef test_it(): pytest.skip('no kernel')", "test_it skipped: no kernel"),
        ("import nothing_such", "error: collection failure.*nothing_such"),
        ("x = 1", "no test ran"),
    ],
)
def test_what_did_not_pass_in_the_machine_fails_here(tmp_path: Path, body: str, complaint: str) -> None:
    """A failure, a skip, a broken file and an empty one in the machine are failures here, with their reasons."""
    (tmp_path / "test_scratch.py").write_text(body)
    junit = tmp_path / "junit.xml"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        f"--junitxml={junit}",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    result = Result(done.returncode, done.stdout, {"junit.xml": junit.read_bytes()})
    with pytest.raises((pytest.fail.Exception, AssertionError), match=f"(?s){complaint}"):
        require_all_passed(result)
