"""Test 1 of the guide's network verification: each container is on the networks that the policy has it on, and no other.

A network too many fails: something reaches further than the policy says. One that is missing is a warning, as in the guide:
something does not work, but nothing leaks.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from enforcer.core.model import Container, Facts, Policy
from enforcer.posture.finding import Finding, Result
from enforcer.posture.policy_networks import HOST, Expected, Place, PolicyNetworks, networks_of

CHECK = "network.assignments"
SECTION = "Network Segmentation, 2. Network Verification, Test 1: Network assignments"


def assignments(policy: Policy, facts: Facts) -> tuple[Finding, ...]:
    """The findings, by container. Running containers are looked at; one that a rule names and that does not run is said."""
    world = PolicyNetworks(policy, facts)
    found = sorted(facts.containers.values(), key=lambda c: c.name)
    return tuple(finding for container in found for finding in _of(world, container))


def _of(world: PolicyNetworks, container: Container) -> tuple[Finding, ...]:
    expected, own = world.expected(container), networks_of(container)
    if not expected.rules:
        return tuple(_stranger(container, sorted(own & world.internal))) if container.pid else ()
    if not container.pid:
        return (_finding(Result.WARN, container, "it does not run: nothing of it was verified"),)
    troubles = (*_missing(container, expected, own), *_extra(world, container, expected, own))
    if not troubles and expected.outside and own <= world.internal:
        troubles = (_no_way_out(container, expected, own),)
    return troubles or (_finding(Result.PASS, container, f"on {_listed(own)}, as {_rules(expected)} has it"),)


def _stranger(container: Container, inside: list[str]) -> Iterator[Finding]:
    if inside:
        yield _finding(
            Result.WARN,
            container,
            f"on {', '.join(inside)}, which the policy keeps apart, and no network rule names it",
            fix="name it in a rule of the policy, or take it off: "
            + "; ".join(_docker("disconnect", network, container) for network in inside),
        )


def _missing(container: Container, expected: Expected, own: frozenset[str]) -> Iterator[Finding]:
    for network in sorted(expected.networks - own):
        yield _finding(
            Result.WARN,
            container,
            f"not on {network}, where {_rules(expected)} would have it connect",
            fix=_docker("connect", network, container),
        )


def _extra(world: PolicyNetworks, container: Container, expected: Expected, own: frozenset[str]) -> Iterator[Finding]:
    fixes = {HOST: "start it without --network host"}
    for network in sorted(own - expected.networks):
        said = {
            Place.FOREIGN: (Result.FAIL, f"on {network}, and nothing in {_rules(expected)} has it there"),
            Place.TOO_WIDE: (
                Result.FAIL,
                f"on {network}, where others' rules reach every container on all ports, while this one is granted by name",
            ),
            Place.REACHED_ONLY: (
                Result.WARN,
                f"on {network}: others' rules reach it there, and none of its own ({_rules(expected)}) names the network",
            ),
        }.get(world.place(container, network))
        if said:
            fix = fixes.get(network) or _docker("disconnect", network, container)
            yield _finding(said[0], container, said[1], fix=fix)


def _no_way_out(container: Container, expected: Expected, own: frozenset[str]) -> Finding:
    return _finding(
        Result.WARN,
        container,
        f"{_rules(expected)} grants addresses outside, and it is on {_listed(own)} only, which nothing leaves",
        fix="connect it to a network that is not internal, or take the grant out of the policy",
    )


def _rules(expected: Expected) -> str:
    return " and ".join(expected.rules)


def _listed(networks: frozenset[str]) -> str:
    return ", ".join(sorted(networks)) or "no network"


def _docker(verb: str, network: str, container: Container) -> str:
    return f"docker network {verb} {shlex.quote(network)} {shlex.quote(container.name)}"


def _finding(result: Result, container: Container, evidence: str, *, fix: str = "") -> Finding:
    return Finding(CHECK, result, container.name, evidence, SECTION, fix)
