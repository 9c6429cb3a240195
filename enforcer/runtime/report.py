"""What the agent knows about itself and its containers: one reading serves ``status`` and the scrape."""

from __future__ import annotations

from collections import Counter
from typing import Any

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.model import Access, Kind, ObjectId, Verdict
from enforcer.edges.bpf.maps import Maps
from enforcer.runtime.probes import Hold
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import UNNAMED, UNPLACED
from enforcer.sinks.metrics import CAUSES, Violation

SUPPRESSED = (abi.SUPPRESSED_BUDGET, abi.SUPPRESSED_REPEAT)
LOST = (abi.LOST_RING, abi.LOST_COUNTS, abi.LOST_JOURNAL)


def object_name(found: ObjectId) -> str:
    """A data object in a label: a volume by its name, the other kinds with theirs before it."""
    return found.name if found.kind is Kind.VOLUME else f"{found.kind.value}:{found.name}"


def violations(maps: Maps, snapshot: Snapshot) -> Counter[Violation]:
    """The kernel's counters with names, the canary's aside. Containers of one name (made anew) add up."""
    state = snapshot.state
    found: Counter[Violation] = Counter()
    for (subject, thing, peer, kind, access, verdict, _), n in maps.counts().items():
        if subject == Reserved.CANARY:
            continue
        who, action = state.container(subject) or UNNAMED, Verdict(verdict)
        if kind == abi.DATA:
            named = UNPLACED.get(thing) or state.ids.object_of(thing) or ObjectId(Kind.PATH, "(unknown)")
            found[Violation(who, action, object=object_name(named), access=Access(access))] += n
        elif kind == abi.EXTERNAL:
            found[Violation(who, action, network=state.network(thing) or "(none)")] += n
        else:
            host = "(host)" if peer == Reserved.HOST else ""
            where = host or state.container(peer) or state.network(thing) or "(unknown)"
            found[Violation(who, action, destination=where)] += n
    return found


def lost(maps: Maps) -> dict[str, int]:
    """Cause → violations or records without a line in the journal; the canary's aside."""
    found: Counter[str] = Counter()
    for (subject, cause), n in maps.losses().items():
        if subject != Reserved.CANARY and cause in CAUSES:
            found[CAUSES[cause]] += n
    return dict(found)


def suppressed(maps: Maps, snapshot: Snapshot) -> dict[str, int]:
    """Container → violations that were counted without a record of their own."""
    found: Counter[str] = Counter()
    for (subject, cause), n in maps.losses().items():
        if cause in SUPPRESSED and subject != Reserved.CANARY:
            found[snapshot.state.container(subject) or UNNAMED] += n
    return dict(found)


def counts(maps: Maps) -> dict[str, Any]:
    """The invariant's four numbers: counted = recorded + suppressed + lost, once the ring is drained."""
    losses = maps.losses()
    real = {(s, c): n for (s, c), n in losses.items() if s != Reserved.CANARY}
    return {
        "counted": sum(n for key, n in maps.counts().items() if key[0] != Reserved.CANARY)
        + sum(n for (_, c), n in real.items() if c == abi.LOST_COUNTS),
        "recorded": sum(n for subject, n in maps.recorded().items() if subject != Reserved.CANARY),
        "suppressed": sum(n for (_, c), n in real.items() if c in SUPPRESSED),
        "lost": {CAUSES[cause]: sum(n for (_, c), n in real.items() if c == cause) for cause in LOST},
    }


def containers(snapshot: Snapshot) -> Counter[str]:
    """Containers by state: ``running`` ones are governed now, ``stopped`` ones from their first instruction on."""
    return Counter("running" if c.pid else "stopped" for c in snapshot.facts.containers.values())


def degraded(snapshot: Snapshot, holds: tuple[Hold, ...]) -> list[dict[str, str]]:
    """What is accepted but not fully enforced, and why."""
    found = [{"what": warning, "why": "this host"} for warning in snapshot.image.warnings]
    for hold in holds:
        if hold.mechanism is None:
            found.append({"what": f"hook {hold.hook} is not held", "why": "; ".join(hold.missed)})
        elif hold.hook == "open" and hold.mechanism.name == "TRACEPOINT":
            why = f"the process is killed after the open, not refused before it: {'; '.join(hold.missed)}"
            found.append({"what": "data rules: detection and punishment, not prevention", "why": why})
    return found
