"""The table of tests/scenarios.py, decided by the core alone."""

from __future__ import annotations

import pytest

from enforcer.core.compile import compile as compile_image
from enforcer.core.decide import judge_net, judge_object
from enforcer.core.ids import Ids, allocate
from enforcer.core.model import Container, DataObject, Facts, Inode
from tests.scenarios import CHANGES, FILES, NETS, FileCase, NetCase, policy, volume

VOLUMES = ("alpha-data", "alpha-config", "beta-data")
NAMES = ("alpha", "beta", "stranger", "watched")
FACTS = Facts(
    containers={f"{n:064x}": Container(f"{n:064x}", name) for n, name in enumerate(NAMES)},
    objects={volume(v): DataObject(volume(v), (Inode(1, n),), f"/volumes/{v}") for n, v in enumerate(VOLUMES, 100)},
)
IDS = allocate(Ids(), policy(), FACTS)
IMAGE = compile_image(policy(), FACTS, IDS, 1)


def subject(name: str) -> int:
    """The subject id of a container of the table."""
    return IDS.subject(f"{NAMES.index(name):064x}")


@pytest.mark.parametrize("case", (*FILES, *CHANGES), ids=lambda c: c.name)
def test_files(case: FileCase) -> None:
    """The verdict on each deed, and what of the asked access is missing."""
    number = IDS.object(volume(case.where))
    found = judge_object(IMAGE, subject=subject(case.who), number=number, asked=case.asked)
    assert found.verdict is case.verdict
    assert case.asked & ~found.granted == case.missing


@pytest.mark.parametrize("case", NETS, ids=lambda c: c.name)
def test_connections(case: NetCase) -> None:
    """The verdict on each connection."""
    found = judge_net(IMAGE, subject=subject(case.who), address=case.address, protocol=case.protocol, port=case.port)
    assert found.verdict is case.verdict
