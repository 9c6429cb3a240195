"""A container whose cgroup is older than the programs, and whose first program is not, slips through no swap and no first start."""

from __future__ import annotations

import secrets

import pytest

from enforcer.core.ids import Reserved
from enforcer.core.image import State, Subject, Table, docker_id
from enforcer.core.model import Container
from enforcer.core.plan import Delete, Put
from tests.kernel.conftest import World
from tests.kernel.test_life import enforced, start

__all__ = ["enforced"]  # a fixture

LATE = 4720


@pytest.mark.parametrize("name", ["{0}", "docker-{0}.scope"])
def test_container_between_its_cgroup_and_its_first_program(enforced: World, name: str) -> None:
    """Its birth was not seen; it is expected all the same, and armed by its first program under its own name."""
    identity = secrets.token_hex(32)
    path = f"{enforced.parent}/{name.format(identity)}"
    enforced.maps.apply(Put(Table.PREPARED, docker_id(identity), LATE))
    try:
        cgroup = enforced.cgroups.ensure(path)
        enforced.maps.apply(Delete(Table.CGROUPS, cgroup))  # as if it had appeared before anybody watched
        assert start(enforced, path, "unshare", "--mount", "true") == 0
        assert enforced.maps.subject(cgroup) is None
        enforced.probes.expect(enforced.cgroups, enforced.parent, [Container(identity, "late")])
        assert enforced.maps.subject(cgroup) == Subject(Reserved.UNNAMED, State.PENDING, cgroup)
        assert start(enforced, path, "unshare", "--mount", "true") == 0
        enforced.probes.expect(
            enforced.cgroups, enforced.parent, [Container(identity, "late"), Container("f" * 64, "gone")]
        )
        assert enforced.maps.subject(cgroup) == Subject(LATE, State.ARMED, cgroup)
    finally:
        enforced.cgroups.remove(path)
        enforced.maps.apply(Delete(Table.PREPARED, docker_id(identity)))
