"""A kernel without nftables, for real: the egress guard does not hold, all who ask are told, and all else is enforced.

The boot is that of ``test_containers``, which holds that nothing else has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest

from .machine import Result
from .test_containers import BOOTS, REFUSED

__all__ = ["BOOTS"]

pytestmark = pytest.mark.timeout(1500)

REMEDY = "CONFIG_NF_TABLES"


@pytest.fixture(scope="module")
def result(boots: Mapping[str, Future[Result]]) -> Result:
    """What the script left."""
    found = boots["containers"].result()
    assert found.exit_code == 0, found.output
    return found


@pytest.fixture(scope="module")
def steps(result: Result) -> dict[str, tuple[int, str]]:
    """Step → exit status and output."""
    lines = [line.split("\t") for line in result.files["steps"].decode().splitlines()]
    return {name: (int(status), output) for name, status, output in lines}


def lacking(status: dict[str, Any]) -> list[str]:
    """What is degraded about the guard, with the reason."""
    return [f"{d['what']}: {d['why']}" for d in status["degraded"] if "egress guard" in d["what"]]


def test_the_kernel_has_none(steps: dict[str, tuple[int, str]]) -> None:
    """Whoever asks for the module is refused, also the kernel itself."""
    assert steps["nftables is not there"][0] != 0


def test_who_requires_it_is_refused(steps: dict[str, tuple[int, str]]) -> None:
    """`--require deny` ends with status 3 and one line that says what is missing, and leaves nothing in force."""
    status, output = steps["required, refused"]
    assert status == 3
    assert "--require deny: the egress guard does not hold: packets may leave inner" in output
    assert REMEDY in output
    assert steps["refused, nothing left"][0] == 2


def test_status_says_what_does_not_hold_and_why(result: Result) -> None:
    """As data, and for a person; whether the agent has built its programs or adopted them."""
    for name in ("status.json", "restarted.json"):
        status = json.loads(result.files[name])
        assert not status["egress"]["holds"]
        [told] = lacking(status)
        assert told.startswith("the egress guard does not hold: packets may leave inner: ")
        assert REMEDY in told
    text = result.files["status.txt"].decode()
    assert "GUARDED NOT HELD" in text
    assert REMEDY in text


def test_doctor_says_it(steps: dict[str, tuple[int, str]]) -> None:
    """The agent can run here without: what is lacking is told apart from what fails, here an engine that is not there."""
    status, output = steps["doctor"]
    assert status == 3, output
    assert "docker FAIL" in " ".join(output.split())
    assert "nftables LACKS this kernel does not let us at nftables" in " ".join(output.split())
    assert REMEDY in output


def test_the_probes_hold_the_network_alone(steps: dict[str, tuple[int, str]]) -> None:
    """A container on the internal network does not get out."""
    status, output = steps["confined"]
    assert (status, REFUSED in output) == (1, True)


def test_the_guard_comes_by_itself(result: Result, steps: dict[str, tuple[int, str]]) -> None:
    """Once the kernel has nftables, within seconds and without a restart."""
    assert "drop" in steps["nftables is there"][1]
    status = json.loads(result.files["mended.json"])
    assert status["egress"]["holds"]
    assert lacking(status) == []
