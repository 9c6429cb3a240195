"""Another tool's program at the same cgroup: beside ours where both allow it, and said where it lets nobody else in."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcer.core.model import Mechanism
from enforcer.edges.bpf.libbpf import SONAME, Libbpf
from enforcer.edges.bpf.programs import CGROUP_SOCK_ADDR, CONNECT4
from tests.kernel.conftest import World
from tests.scenarios import policy

YES = bytes.fromhex("b7000000010000009500000000000000")
"""r0 = 1; exit: whatever it is asked, it lets go on."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[World, int, int]]:
    """A world of its own with nothing attached, its cgroup, and another tool's program for connect4."""
    world, libbpf = World(tmp_path), Libbpf()
    cgroup = os.open(world.cgroups.root / world.parent.lstrip("/"), os.O_RDONLY | os.O_DIRECTORY)
    other = libbpf.load("other", YES, kind=CGROUP_SOCK_ADDR, attach=CONNECT4, target=0)
    try:
        world.enforce(policy())
        yield world, cgroup, other
    finally:
        os.close(other)
        os.close(cgroup)
        world.close()


def test_both_are_asked_where_both_allow_it(place: tuple[World, int, int]) -> None:
    """A program that says yes does not overrule ours."""
    world, cgroup, other = place
    link = Libbpf().attach_cgroup(other, cgroup, CONNECT4)
    try:
        world.attach()
        assert world.held("connect4") is Mechanism.CGROUP
        assert world.do("alpha", "tcp", "198.51.100.1", "443").code == 77
    finally:
        os.close(link)


def test_one_that_lets_nobody_else_in_is_said(place: tuple[World, int, int]) -> None:
    """An exclusive program of another's keeps ours out: that hook is not held and says why; the others are."""
    world, cgroup, other = place
    ctypes.CDLL(SONAME).bpf_prog_attach(other, cgroup, CONNECT4, 0)  # as tools did before there were links
    world.attach()
    held = {h.hook: h for h in world.probes.holds}
    assert held["connect4"].mechanism is None
    assert "enf_connect4 does not attach (bpf_link_create: Operation not permitted)" in held["connect4"].missed[0]
    assert (held["connect6"].mechanism, held["egress"].mechanism) == (Mechanism.CGROUP, Mechanism.CGROUP)
