"""What the agent knows about itself and its containers: one reading serves ``status`` and the scrape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from enforcer import abi
from enforcer.core.ids import Reserved
from enforcer.core.model import Access, Kind, Mechanism, ObjectId, Verdict
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.maps import Maps
from enforcer.runtime.books import SUPPRESSED, Book, books, total
from enforcer.runtime.ladder import Hold
from enforcer.runtime.proof import Finding
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import UNNAMED, object_of
from enforcer.sinks.metrics import CAUSES, Reading, Violation


@dataclass(frozen=True)
class Health:
    """What the agent's own parts say of themselves. ``canary_time`` is Unix time, 0 before the first run."""

    finding: Finding
    canary_time: float
    load_failures: int
    docker: str
    connected: bool
    adopted: bool
    behind: bool
    uncovered: Mapping[str, str]
    unplaced: int
    malformed: int
    shortcomings: Mapping[str, str] = field(default_factory=dict)
    """What a mechanism does not see on this host, or does not hold → why."""
    egress_blocked: Mapping[str, int] = field(default_factory=dict)
    """Network → packets that the egress guard has dropped."""
    waiting: Callable[[], Mapping[int, int]] = dict
    """Subject → counted violations that are neither on record nor lost yet; a look at all of the ring."""


def mechanisms(holds: tuple[Hold, ...]) -> dict[str, str]:
    """Hook → mechanism, "none" where nothing holds it."""
    return {h.hook: h.mechanism.name.lower() if h.mechanism else "none" for h in holds}


def in_force(snapshot: Snapshot, holds: tuple[Hold, ...]) -> str:
    """One line: what is in force, and by what."""
    held = ", ".join(f"{hook} by {mechanism}" for hook, mechanism in mechanisms(holds).items())
    n, policy = containers(snapshot), snapshot.policy
    return (
        f"enforcer: in force: policy {policy.hash[:12]} ({policy.mode.name.lower()}), "
        f"{n['running']} containers running, {n['stopped']} stopped; {held}"
    )


def loaded(snapshot: Snapshot) -> dict[str, Any]:
    """The notice of a policy that has come in force: message and fields."""
    policy, generation = snapshot.policy, snapshot.image.generation
    message = f"policy {policy.hash[:12]} is in force as generation {generation}"
    return {"message": message, "generation": generation, "policy": policy.hash, "mode": policy.mode.name.lower()}


def reading(maps: Maps, snapshot: Snapshot, holds: tuple[Hold, ...], health: Health) -> Reading:
    """All that a scrape shows."""
    accounts = maps.accounts.all()
    losses = maps.losses(accounts)
    return Reading(
        violations=violations(maps, snapshot, accounts),
        lost=lost(losses),
        suppressed=suppressed(losses, snapshot),
        holds=mechanisms(holds),
        containers=containers(snapshot),
        policy=(snapshot.policy.hash, snapshot.image.generation, snapshot.policy.mode.name.lower()),
        load_failures=health.load_failures,
        selftest=health.finding.success,
        canary_timestamp=health.canary_time,
        egress_blocked=Counter(health.egress_blocked) + dropped(maps, snapshot),
    )


def status(maps: Maps, snapshot: Snapshot, holds: tuple[Hold, ...], health: Health) -> dict[str, Any]:
    """The answer of ``enforcer status --format json``."""
    policy = snapshot.policy
    return {
        "mechanisms": mechanisms(holds),
        "policy": {"hash": policy.hash, "generation": snapshot.image.generation, "mode": policy.mode.name.lower()},
        "containers": [
            {"name": c.name, "id": c.id, "running": bool(c.pid), "networks": [a.network for a in c.attachments]}
            for c in sorted(snapshot.facts.containers.values(), key=lambda c: c.name)
        ],
        "degraded": degraded(snapshot, holds, health),
        "counts": counts(maps, snapshot, health.waiting()),
        "selftest": {
            "success": health.finding.success,
            "failures": health.finding.failures,
            "timestamp": health.canary_time,
        },
        "docker": {"address": health.docker, "connected": health.connected},
        "adopted": health.adopted,
        "unplaced": health.unplaced,
        "malformed": health.malformed,
        "recording": {"accesses": maps.round() > 0, "lost": lost(maps.losses()).get(CAUSES[abi.LOST_ACCESSES], 0)},
    }


TRACEPOINT_HOLDS = (
    "data rules: detection and punishment, not prevention: the process is killed after the open; a thread or process that "
    "shares its descriptors may have used it"
)

PACKET_HOLDS = (
    "packet sockets: detection and punishment, not prevention: the process is killed once it has one; a process that shares "
    "its descriptors may have used it"
)

PEERS: Mapping[int, str] = {
    Reserved.HOST: "(host)",
    Reserved.RAW_SOCKET: "(raw socket)",
    Reserved.PACKET_SOCKET: "(packet socket)",
    Reserved.OUTSIDE_NAME: "(outside name)",
}
"""Destinations that are no container."""


def object_name(found: ObjectId) -> str:
    """A data object in a label: a volume by its name, the other kinds with theirs before it."""
    return found.name if found.kind is Kind.VOLUME else f"{found.kind.value}:{found.name}"


def violations(
    maps: Maps, snapshot: Snapshot, accounts: Mapping[Account, int] | None = None
) -> Mapping[Violation, int]:
    """The kernel's counters with names, the canary's aside. Containers of one name (made anew) add up.

    ``accounts``: the agent's own, if they have been read already.
    """
    state, found = snapshot.state, defaultdict[Violation, int](int)
    container, network = cache(state.container), cache(state.network)  # each once: there are many rows of few
    data = cache(lambda thing, peer: object_name(object_of(state, thing, peer)))
    actions, accesses = cache(Verdict), cache(Access)
    for (subject, thing, peer, kind, access, verdict, _), n in maps.counts(accounts).items():
        if subject == Reserved.CANARY:
            continue
        who, action = container(subject) or UNNAMED, actions(verdict)
        if kind == abi.DATA:
            found[Violation(who, action, data(thing, peer), accesses(access))] += n
        elif kind == abi.EXTERNAL:
            found[Violation(who, action, network=network(thing) or "(none)")] += n
        else:
            where = PEERS.get(peer) or container(peer) or network(thing) or "(unknown)"
            found[Violation(who, action, destination=where)] += n
    return found


def dropped(maps: Maps, snapshot: Snapshot) -> Counter[str]:
    """Network → packets that the egress hook stopped, of containers that would have left it."""
    names = ((snapshot.state.network(number), n) for number, n in maps.packets().items() if number)
    return Counter({name or "(gone)": n for name, n in names})


def lost(losses: Mapping[tuple[int, int], int]) -> dict[str, int]:
    """Cause → violations or records without a line in the journal; the canary's aside. ``losses``: the maps'."""
    found: Counter[str] = Counter()
    for (subject, cause), n in losses.items():
        if subject != Reserved.CANARY and cause in CAUSES:
            found[CAUSES[cause]] += n
    return dict(found)


def suppressed(losses: Mapping[tuple[int, int], int], snapshot: Snapshot) -> dict[str, int]:
    """Container → violations that were counted without a record of their own."""
    found: Counter[str] = Counter()
    for (subject, cause), n in losses.items():
        if cause in SUPPRESSED and subject != Reserved.CANARY:
            found[snapshot.state.container(subject) or UNNAMED] += n
    return dict(found)


def counts(maps: Maps, snapshot: Snapshot, waiting: Mapping[int, int]) -> dict[str, Any]:
    """The numbers of the invariant, in all and by container: counted = recorded + suppressed + lost + waiting."""
    named: defaultdict[str, list[Book]] = defaultdict(list)
    for subject, book in books(maps, waiting).items():
        named[snapshot.state.container(subject) or UNNAMED].append(book)
    every = [book for found in named.values() for book in found]
    return {**total(every), "containers": {name: total(found) for name, found in sorted(named.items())}}


def containers(snapshot: Snapshot) -> Counter[str]:
    """Containers by state: ``running`` ones are governed now, ``stopped`` ones from their first instruction on."""
    return Counter("running" if c.pid else "stopped" for c in snapshot.facts.containers.values())


def degraded(snapshot: Snapshot, holds: tuple[Hold, ...], health: Health) -> list[dict[str, str]]:
    """What is accepted but not fully enforced, and why."""
    found = [{"what": warning, "why": "this host"} for warning in snapshot.image.warnings]
    for hold in holds:
        if hold.mechanism is None:
            found.append({"what": f"hook {hold.hook} is not held", "why": "; ".join(hold.missed)})
        elif hold.mechanism is Mechanism.AUDIT:
            found.append(
                {"what": f"hook {hold.hook} is only watched: nothing is stopped", "why": "; ".join(hold.missed)}
            )
        elif hold.hook == "open" and hold.mechanism is Mechanism.TRACEPOINT:
            found.append({"what": TRACEPOINT_HOLDS, "why": "; ".join(hold.missed)})
        elif hold.hook == "packet" and hold.mechanism is Mechanism.TRACEPOINT:
            found.append({"what": PACKET_HOLDS, "why": "; ".join(hold.missed)})
    for parent, why in health.uncovered.items():
        found.append({"what": f"network rules do not hold for containers below cgroup {parent}", "why": why})
    found += [{"what": what, "why": why} for what, why in health.shortcomings.items()]
    if health.behind:
        found.append(
            {"what": "the host has changed and could not be looked at", "why": "see the log; it is tried again"}
        )
    return found
