"""What the running agent lets a container of ours do with volumes, and what to say when it has refused it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from enforcer.core.model import Container, Policy
from enforcer.core.select import named
from enforcer.edges.borg import KILLED, Ended
from enforcer.edges.control import ask
from enforcer.errors import EdgeError, NobodyListens, RefusedError
from enforcer.settings import Settings

KNOWN_S = 20.0
"""How long the agent may take to know a container that Docker has told it of: until then it would be refused everything."""

_REFUSALS = ("Operation not permitted", "Permission denied")
"""EPERM and EACCES, as the programs that we run write them."""


def await_known(settings: Settings, name: str, identity: str) -> Mapping[str, str] | None:
    """Wait until the agent knows a container; what it may do with each volume (``r``, ``rw``, ``-``). None where no agent runs.

    Raises EdgeError.
    """
    end = time.monotonic() + KNOWN_S
    while True:
        try:
            status = ask(settings.socket, {"command": "status"})
            if any(c["id"] == identity for c in status["containers"]):
                cells: Mapping[str, Any] = ask(settings.socket, {"command": "matrix"})["data"].get(name, {})
                return {what.removeprefix("volume:"): str(c) for what, c in cells.items() if what.startswith("volume:")}
        except NobodyListens:
            return None
        if time.monotonic() > end:
            raise EdgeError(f"the agent does not know container {name} after {KNOWN_S:g} s: see `enforcer status`")
        time.sleep(0.05)


def was_refused(run: Ended) -> bool:
    """Whether it looks as if the enforcer had refused something: it kills, or the program was told EPERM."""
    return run.status == KILLED or any(text in said for said in run.said for text in _REFUSALS)


def refusal(
    policy: Policy, name: str, cells: Mapping[str, str] | None, volumes: Iterable[str], grant: str
) -> RefusedError:
    """What to say, and the rule to add. ``grant`` is ``read-only`` or ``read-write``, ``cells`` what ``await_known`` found."""
    wanted, verb = ("r", "read") if grant == "read-only" else ("rw", "write")
    missing = [v for v in sorted(volumes) if not _grants((cells or {}).get(v, wanted), wanted)]
    selectors = sorted(named(policy, Container(id="", name=name)))
    who = selectors[0] if selectors else name.removeprefix("enforcer-")
    known = "" if selectors else f"containers: {who}: {{name: {name}}}; "
    if missing:
        rule = f"{known}data.rules: - {{who: {who}, {grant}: [{', '.join(missing)}]}}"
        return RefusedError(f"the policy does not let {name} {verb} {', '.join(missing)}; add to it: {rule}")
    return RefusedError(
        f"{name} was refused, and the running policy does not say why: see `enforcer log --container {name}`"
    )


def _grants(cell: str, wanted: str) -> bool:
    return cell.endswith("?") or cell.startswith(wanted)
