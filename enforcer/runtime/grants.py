"""What the running agent lets a container of ours do, and what to say when that was not enough."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from enforcer.core.model import Container, Policy
from enforcer.core.select import named
from enforcer.edges.borg import KILLED, Ended, fail
from enforcer.edges.control import ask
from enforcer.edges.subject import Work
from enforcer.errors import EdgeError, EnforcerError, NobodyListens, RefusedError
from enforcer.settings import Settings

KNOWN_S = 20.0
"""How long the agent may take to know a container that Docker has told it of: until then it would be refused everything."""

_REFUSALS = ("Operation not permitted", "Permission denied")
"""EPERM and EACCES, as the programs that we run write them."""

READ, WRITE = "r", "rw"
"""As a cell of the matrix says it."""


@dataclass(frozen=True)
class Needs:
    """What the container ``name`` needs: ``volume:NAME`` or ``path:PATH`` → ``r`` or ``rw``, and what the agent gives it.

    ``cells`` has what is protected only; it is None where no agent runs.
    """

    name: str
    wanted: Mapping[str, str]
    cells: Mapping[str, str] | None

    def missing(self) -> dict[str, str]:
        """What the agent refuses of it."""
        cells = self.cells or {}
        return {what: grant for what, grant in self.wanted.items() if not _grants(cells.get(what, grant), grant)}


def needs_of(work: Work) -> dict[str, str]:
    """What a container needs for its work, as ``Needs`` has it."""
    volumes = {f"volume:{name}": WRITE if writable else READ for name, writable in work.volumes.items()}
    return {**volumes, f"path:{work.vault}": WRITE if work.vault_writable else READ}


def await_known(settings: Settings, name: str, identity: str) -> Mapping[str, str] | None:
    """Wait until the agent knows a container; its row of the matrix in force. None where no agent runs. Raises EdgeError."""
    end = time.monotonic() + KNOWN_S
    while True:
        try:
            status = ask(settings.socket, {"command": "status"})
            if any(c["id"] == identity for c in status["containers"]):
                cells = ask(settings.socket, {"command": "matrix"})["data"].get(name, {})
                return {str(what): str(cell) for what, cell in cells.items()}
        except NobodyListens:
            return None
        if time.monotonic() > end:
            raise EdgeError(f"the agent does not know container {name} after {KNOWN_S:g} s: see `enforcer status`")
        time.sleep(0.05)


def failure(policy: Policy, needs: Needs, run: Ended, verb: str) -> EnforcerError:
    """Why a run in a container failed, with the rule to add if the policy has refused it."""
    told = next((said for said in run.said if any(text in said for text in _REFUSALS)), "")
    if (told or run.status == KILLED) and (missing := needs.missing()):
        lacks = ", ".join(what.partition(":")[2] for what in missing)
        does = "write" if WRITE in missing.values() else "read"
        return RefusedError(
            f"the policy does not let {needs.name} {does} {lacks}; add {_rule(policy, needs.name, missing)}"
        )
    seen = f"see `enforcer log --container {needs.name}`"
    if told:
        agent = " while no agent runs" if needs.cells is None else ""
        return RefusedError(f"{needs.name} was refused{agent}: {told}; {seen}")
    if run.status == KILLED:
        return EdgeError(f"{needs.name} was killed: by somebody, for lack of memory, or by the enforcer ({seen})")
    return fail(verb, run)


def _rule(policy: Policy, name: str, missing: Mapping[str, str]) -> str:
    selectors = sorted(named(policy, Container(id="", name=name)))
    who = selectors[0] if selectors else name.removeprefix("enforcer-")
    rights = []
    for grant, word in ((READ, "read-only"), (WRITE, "read-write")):
        targets = [_target(what) for what, wanted in missing.items() if wanted == grant]
        rights += [f"{word}: [{', '.join(targets)}]"] if targets else []
    known = "" if selectors else f"`{who}: {{name: {name}}}` to containers and "
    return f"{known}`- {{who: {who}, {', '.join(rights)}}}` to data.rules"


def _target(what: str) -> str:
    kind, _, name = what.partition(":")
    return name if kind == "volume" else f"{{{kind}: {name}}}"


def _grants(cell: str, wanted: str) -> bool:
    return cell.endswith("?") or cell.startswith(wanted)
