"""Everything that is verified of containers by looking at them: the six-part check, volumes, security, and the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from enforcer.core.checks import Check
from enforcer.core.inspection import EngineSecurity, Inspection
from enforcer.core.model import Facts, Policy
from enforcer.core.outcome import Written
from enforcer.posture.case import Case, warned
from enforcer.posture.existence import existence
from enforcer.posture.finding import Finding
from enforcer.posture.mounts import Mounts
from enforcer.posture.table import EXISTENCE, TABLE, finding, findings
from enforcer.posture.wanted import Expectation


class Containers:
    """The containers of one host that the policy speaks of, each with what is expected of it."""

    def __init__(self, policy: Policy, facts: Facts, inspections: Sequence[Inspection], engine: EngineSecurity) -> None:
        self._policy, self._facts, self._inspections, self._engine = policy, facts, inspections, engine
        self._expectation = Expectation(policy, facts)
        self._mounts = Mounts(policy, facts, inspections)
        self.concerned = tuple(i for i in inspections if self._expectation.concerns(i))

    def case(self, inspected: Inspection, tried: Mapping[str, Written]) -> Case:
        """One of ``concerned`` as the checks see it."""
        wanted, reached = self._expectation.of(inspected), self._mounts.of(inspected)
        return Case(inspected, wanted, reached, tried, self._engine)

    def verify(self, tried: Mapping[str, Mapping[str, Written]] | None) -> tuple[Finding, ...]:
        """All findings. ``tried``: by container id and destination, how writing ended; None: nobody tries."""
        cases = [self.case(i, (tried or {}).get(i.id, {})) for i in self.concerned]
        checks = [check for check in TABLE if tried is not None or check is not Check.DATA_WRITE]
        return (*self._existence(), *self._engines(), *findings(cases, checks))

    def _existence(self) -> Iterator[Finding]:
        for name, seen in existence(self._policy, self._facts, self._inspections):
            yield finding(Check.EXISTENCE, EXISTENCE, name, seen)

    def _engines(self) -> Iterator[Finding]:
        if not self._engine.labels:
            seen = warned(
                "the engine has neither AppArmor nor SELinux: no container is confined by either",
                "boot with a kernel that has AppArmor, and install the apparmor package",
            )
            yield finding(Check.APPARMOR, TABLE[Check.APPARMOR].section, "", seen)


def tried_at(inspected: Inspection) -> tuple[str, ...]:
    """The places of a running container where writing is tried: every volume and directory of the host that is mounted there."""
    return tuple(m.destination for m in inspected.mounts if inspected.running and m.path)
