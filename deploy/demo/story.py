"""The story as a table: who does what, and what must come of it. ``deploy.demo.play`` plays it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.demo.internet import ADDRESS, ADDRESS6
from deploy.demo.metrics import Count
from deploy.demo.world import AGENTS, INTERNAL, ORCHESTRATOR, port_of

DATA = "mcp_data_access_violations_total"
EXTERNAL = "mcp_external_connections_total"


class Outcome(enum.Enum):
    """What kind of end a step has."""

    ALLOWED = "allowed"
    FILE = "a violation of the data-access matrix"
    NETWORK = "a violation of the network policy"
    MOUNT = "refused by the read-only mount, and counted"


@dataclass(frozen=True)
class Step:
    """One act. ``volume``: it is the first process of a container that no rule names, born with that volume at /stolen.

    ``shows`` must be in the output of what is allowed. ``count`` is the one counter that must move, by one; without it
    none may. ``control``: played before the enforcer starts as well, where it must succeed, so that it is the enforcer
    that stops it.
    """

    title: str
    container: str
    command: tuple[str, ...]
    outcome: Outcome
    shows: str = ""
    count: Count | None = None
    control: bool = False
    volume: str = ""


@dataclass(frozen=True)
class Expected:
    """How a step must end, as the command's caller sees it, and the ``action`` that is counted ("" for none)."""

    status: int
    says: str
    action: str


_BY_MECHANISM = {
    "lsm": Expected(1, "not permitted", "denied"),
    "fmod_ret": Expected(1, "not permitted", "denied"),
    "tracepoint": Expected(137, "", "killed"),
    "audit": Expected(0, "", "observed"),
    "cgroup": Expected(1, "not permitted", "denied"),
}
"""What each mechanism can do about a violation (DESIGN section 5): refuse with EPERM, kill, or only see."""


def expected(step: Step, mechanisms: Mapping[str, str]) -> Expected:
    """What ``step`` must come to where ``mechanisms`` (hook to mechanism) hold the hooks."""
    if step.outcome is Outcome.ALLOWED:
        return Expected(0, step.shows, "")
    if step.outcome is Outcome.MOUNT:
        return Expected(1, "Read-only file system", "denied")
    if step.outcome is Outcome.FILE:
        return _BY_MECHANISM[mechanisms["open"]]
    return _BY_MECHANISM[mechanisms["connect6" if ADDRESS6 in " ".join(step.command) else "connect4"]]


def _shell(line: str) -> tuple[str, ...]:
    return ("sh", "-c", line)


def _call(who: str, address: str) -> tuple[str, ...]:
    """A connection in which the caller names itself, so that the record of the internet tells who came through."""
    return _shell(f"echo {who} | nc -w 3 {address} 443")


FIRST, SECOND = AGENTS[:2]

STORY = (
    Step(
        "an agent writes its own data",
        FIRST,
        _shell("echo entry > /app/data/notes.txt && cat /app/data/notes.txt"),
        Outcome.ALLOWED,
        shows="entry",
    ),
    Step(
        "an agent reads its config",
        FIRST,
        ("cat", "/app/config/agent.json"),
        Outcome.ALLOWED,
        shows=FIRST,
    ),
    Step(
        "an agent writes its config",
        FIRST,
        _shell("echo owned > /app/config/agent.json"),
        Outcome.MOUNT,
        count=Count(DATA, {"container": FIRST, "object": f"{FIRST}-config", "access": "write"}),
    ),
    Step(
        "a container with a host mount reads an agent's data",
        "mallory",
        ("cat", f"/host/{FIRST}/secret.txt"),
        Outcome.FILE,
        count=Count(DATA, {"container": "mallory", "object": f"{FIRST}-data", "access": "read"}),
        control=True,
    ),
    Step(
        "an unnamed container that mounts an agent's volume reads it",
        "stranger",
        ("cat", "/stolen/secret.txt"),
        Outcome.FILE,
        # its name is not asked for: it may have ended before Docker has told the enforcer who it was
        count=Count(DATA, {"object": f"{SECOND}-data", "access": "read"}),
        control=True,
        volume=f"{SECOND}-data",
    ),
    Step(
        "the orchestrator reads every agent's config",
        ORCHESTRATOR,
        _shell("cat /agents/*/config/agent.json /app/config/agent.json | wc -l"),
        Outcome.ALLOWED,
        shows=str(len(AGENTS)),
    ),
    Step(
        "the orchestrator reads an agent's data",
        ORCHESTRATOR,
        ("cat", f"/agents/{FIRST}/data/secret.txt"),
        Outcome.FILE,
        count=Count(DATA, {"container": ORCHESTRATOR, "object": f"{FIRST}-data", "access": "read"}),
        control=True,
    ),
    Step(
        "an agent asks another agent for its health",
        FIRST,
        ("wget", "-q", "-O", "-", f"http://{SECOND}:{port_of(SECOND)}/health"),
        Outcome.ALLOWED,
        shows="ok",
    ),
    Step(
        "an agent connects to the internet",
        FIRST,
        _call(FIRST, ADDRESS),
        Outcome.NETWORK,
        count=Count(EXTERNAL, {"container": FIRST, "network": INTERNAL}),
    ),
    Step(
        "an agent connects to the internet by IPv6",
        SECOND,
        _call(SECOND, ADDRESS6),
        Outcome.NETWORK,
        count=Count(EXTERNAL, {"container": SECOND, "network": INTERNAL}),
    ),
    Step(
        "the gateway connects to the internet, port 443",
        "workstation",
        _call("workstation", ADDRESS),
        Outcome.ALLOWED,
        shows="the internet says hello",
    ),
)
