"""``verify``: the guide's checks against the running containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from ipaddress import ip_address
from pathlib import Path

import click

from enforcer.cli.host import run_option
from enforcer.cli.policy import host, policy_option
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.model import Facts
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.control import ask
from enforcer.edges.inside import Inside
from enforcer.edges.policyfile import load
from enforcer.errors import NobodyListens, UsageError
from enforcer.posture.finding import Finding, Result, failed, totals
from enforcer.runtime.verify import verify_network
from enforcer.settings import Settings

PORT = 443
"""Tried of an address outside that is named without one: the port that a rule lets out first."""

SECONDS = 2.0
"""How long an attempt may wait for an answer: what the guide's scripts give a ping."""


@click.group("verify")
def verify_group() -> None:
    """Do the running containers stand as the guide and the policy want them? Exits 1 if a check fails."""


@verify_group.command("network")
@policy_option
@click.option(
    "--outside",
    "outside",
    multiple=True,
    metavar="ADDR[:PORT]",
    help="An address outside that answers, to be tried from every container; [...] around IPv6. May be repeated.",
)
@click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 60),
    default=SECONDS,
    show_default=True,
    help="Seconds that an attempt may wait for an answer.",
)
@run_option
@format_option
def network_command(policy_path: Path, outside: tuple[str, ...], seconds: float, run_: Path, format_: str) -> int:
    """Are containers on the networks of the policy, and do they reach what it says, and nothing else?

    Tries connections from inside each container: from its network namespace, and from its cgroup too, where the enforcer's
    hooks hold. What is refused there counts as an attempt of the container, by a process called enforcer-verify.
    Exits 1 if a test fails; warnings are for a person to look at.
    """
    policy = load(policy_path)
    asked = [address_of(text) for text in outside]
    facts = replace(host(policy), quarantined=quarantined(run_))
    for address, _ in asked:
        refuse_inside(facts, address)
    found = verify_network(policy, facts, Inside(Cgroups(), seconds=seconds), asked)
    emit([_json(policy.hash, found)] if format_ == "json" else _text(found))
    return 1 if failed(found) else 0


def quarantined(run_: Path) -> frozenset[str]:
    """The containers that the running agent has cut off; none where no agent runs. Raises ``EdgeError`` if it does not answer."""
    try:
        found = ask(Settings(run=run_).socket, {"command": "status"})
    except NobodyListens:
        return frozenset()
    return frozenset(container["id"] for container in found["quarantined"])


def address_of(text: str) -> tuple[str, int]:
    """``203.0.113.10``, ``203.0.113.10:80``, ``2001:db8::1``, ``[2001:db8::1]:80``. Raises ``UsageError``."""
    host_, port = text, str(PORT)
    if text.startswith("["):
        host_, closed, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest or not closed else port
    elif text.count(":") == 1:
        host_, _, port = text.partition(":")
    try:
        address = ip_address(host_)
    except ValueError:
        raise UsageError(f"--outside {text}: write ADDR or ADDR:PORT, such as 203.0.113.10:443") from None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"--outside {text}: {port!r} is no port")
    return str(address), int(port)


def refuse_inside(facts: Facts, address: str) -> None:
    """Raises ``UsageError`` for an address that is not outside: to reach it would show nothing."""
    found = ip_address(address)
    if found.is_loopback or found.is_unspecified or found.is_multicast:
        raise UsageError(f"--outside {address}: is no address outside")
    for network in facts.networks.values():
        if any(found in subnet for subnet in network.subnets):
            raise UsageError(f"--outside {address}: lies on the network {network.name}: name an address outside")


def _json(policy: str, found: Sequence[Finding]) -> str:
    counted = {result.value.lower(): n for result, n in totals(found).items()}
    return json_text({"policy": policy, "totals": counted, "findings": [asdict(f) for f in found]})


def _text(found: Sequence[Finding]) -> list[str]:
    rows = [(f.result, f.check, f.container or "-", f.evidence) for f in _folded(found)]
    fixes = dict.fromkeys((f.container or "-", f.fix) for f in found if f.fix and f.result is not Result.PASS)
    lines = [table(["", "CHECK", "CONTAINER", "SEEN"], rows)]
    if fixes:
        lines += ["", table(["CONTAINER", "FIX"], list(fixes))]
    counted = ", ".join(f"{result} {n}" for result, n in totals(found).items())
    return [*lines, "", f"network verification {'FAILED' if failed(found) else 'PASSED'}: {counted}"]


def _folded(found: Sequence[Finding]) -> list[Finding]:
    """What passed in one line for each check and container, so that the rest is seen."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        if finding.result is Result.PASS:
            groups.setdefault((finding.check, finding.container), []).append(finding)
    lines = []
    for finding in found:
        if finding.result is not Result.PASS:
            lines.append(finding)
            continue
        passed = groups.pop((finding.check, finding.container), [])
        if len(passed) == 1:
            lines.append(finding)
        elif passed:
            evidence = f"{len(passed)} as the policy says, first {finding.evidence}"
            lines.append(Finding(finding.check, Result.PASS, finding.container, evidence, finding.section))
    return lines
