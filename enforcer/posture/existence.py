"""Test 1 of the guide's containerization check: the containers that are to be there run, and no others of their kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from enforcer.core.inspection import Inspection
from enforcer.core.model import Facts, Policy
from enforcer.core.posture import PostureRule
from enforcer.core.select import named
from enforcer.posture.case import Seen, broken, passed


def existence(policy: Policy, facts: Facts, inspections: Iterable[Inspection]) -> Iterator[tuple[str, Seen]]:
    """What there is to say, each with the container that it is about ("" for none).

    Where no posture rule names or counts them, each kind of container that a rule of the policy names must be there.
    """
    kinds: dict[str, list[Inspection]] = {name: [] for name in policy.containers}
    for inspected in inspections:
        if container := facts.containers.get(inspected.id):
            for name in named(policy, container):
                kinds[name].append(inspected)
    said = [r for r in policy.posture if r.names or r.count is not None]
    for rule in said:
        members = {i.id: i for name in rule.who for i in kinds[name]}
        yield from _listed(rule, members.values()) if rule.names else _counted(rule, members.values())
    counted = {name for rule in said for name in rule.who}
    used = {name for rules in (policy.data_rules, policy.net_rules, policy.posture) for r in rules for name in r.who}
    for name in sorted(used - counted):
        yield "", _some(name, kinds[name])


def _listed(rule: PostureRule, members: Iterable[Inspection]) -> Iterator[tuple[str, Seen]]:
    found = {i.name: i for i in members}
    running = {name for name, i in found.items() if i.running}
    for name in rule.names:
        if name in running:
            yield name, passed("it runs")
        elif name in found:
            yield name, broken(f"it does not run ({found[name].status})", f"docker start {name}; docker logs {name}")
        else:
            yield name, broken(f"there is no such container, and {rule.id} names it", f"docker compose up -d {name}")
    for name in sorted(running - set(rule.names)):
        yield name, broken(f"it runs, and {rule.id} does not name it", f"docker stop {name}, or name it in the policy")


def _counted(rule: PostureRule, members: Iterable[Inspection]) -> Iterator[tuple[str, Seen]]:
    found = list(members)
    running = [i for i in found if i.running]
    idle = ", ".join(f"{i.name} ({i.status})" for i in found if not i.running)
    evidence = f"{len(running)} of {' and '.join(rule.who)} run, {rule.count} are wanted by {rule.id}"
    if len(running) == rule.count:
        yield "", passed(evidence)
    else:
        yield "", broken(f"{evidence}{f'; not running: {idle}' if idle else ''}", "docker compose up -d; docker ps -a")


def _some(name: str, members: Iterable[Inspection]) -> Seen:
    running = [i.name for i in members if i.running]
    if running:
        return passed(f"{len(running)} of {name} run")
    return broken(f"no container of {name} runs, and the policy speaks of them", "docker compose up -d; docker ps -a")
