"""What the agent answers at its control socket."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enforcer.core.matrix import matrix
from enforcer.core.matrix import plain as plain_matrix
from enforcer.errors import UsageError
from enforcer.runtime.guard import EgressGuard
from enforcer.runtime.operator import DONE, Operator
from enforcer.runtime.reconcile import Snapshot

Plain = dict[str, Any]


class Requests:
    """Answers by the agent's parts, from any thread."""

    def __init__(  # noqa: PLR0913 -- each is a neighbour of its own
        self,
        *,
        snapshot: Callable[[], Snapshot],
        status: Callable[[], Plain],
        selftest: Callable[[], Plain],
        guard: EgressGuard,
        operator: Operator,
        policy: Path,
    ) -> None:
        self._snapshot, self._status, self._selftest = snapshot, status, selftest
        self._guard, self._operator, self._policy = guard, operator, policy

    def answer(self, request: Plain) -> Plain:
        """The answer to one request. Raises ``UsageError`` for one that nobody understands."""
        match request.get("command"):
            case "status":
                return self._whole_status()
            case "selftest":
                return self._selftest()
            case "matrix":
                return plain_matrix(matrix(self._snapshot().policy, self._snapshot().facts))
            case command if command in DONE:
                return self._operator.obey(request)
            case other:
                raise UsageError(f"unknown request {other!r}")

    def _whole_status(self) -> Plain:
        found = self._status()
        return {
            **found,
            "pid": os.getpid(),
            "policy": {**found["policy"], "path": str(self._policy)},
            "egress": self._guard.plain(),
            **self._operator.plain(),
        }
