"""``verify``: the guide's checks against the running containers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import click
from click.core import ParameterSource

from enforcer.cli.host import run_option
from enforcer.cli.policy import docker_address, host, policy_option
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.cli.verify_report import FORMATS, Report
from enforcer.core.model import Facts
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.control import ask
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.inside import Inside
from enforcer.edges.policyfile import load
from enforcer.edges.writes import Writes
from enforcer.errors import NobodyListens, UsageError
from enforcer.posture.finding import Finding, Result, failed, totals
from enforcer.runtime.facts import collect, paths_of
from enforcer.runtime.posture import verify_containers
from enforcer.runtime.verify import verify_network
from enforcer.settings import Settings

PORT = 443
"""Tried of an address outside that is named without one: the port that a rule lets out first."""

SECONDS = 2.0
"""How long an attempt may wait for an answer: what the guide's scripts give a ping."""


outside_option = click.option(
    "--outside",
    "outside",
    multiple=True,
    metavar="ADDR[:PORT]",
    help="An address outside that answers, to be tried from every container; [...] around IPv6. May be repeated.",
)
timeout_option = click.option(
    "--timeout",
    "seconds",
    type=click.FloatRange(0.1, 60),
    default=SECONDS,
    show_default=True,
    help="Seconds that an attempt may wait for an answer.",
)


@click.group("verify", invoke_without_command=True)
@policy_option
@outside_option
@timeout_option
@run_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    default="table",
    show_default=True,
    help="A table for people, JSON for programs, a Markdown report, or JUnit XML for a build server.",
)
@click.pass_context
def verify_group(  # noqa: PLR0913 -- its options
    context: click.Context, *, policy_path: Path, outside: tuple[str, ...], seconds: float, run_: Path, format_: str
) -> int:
    """Do the running containers stand as the guide and the policy want them? Everything: how they are made, volumes, network.

    Looks at every container that the policy speaks of, tries to write from inside each where volumes are mounted, and tries
    connections as `verify network` does. Exits 1 if a check fails; warnings are for a person to look at.
    """
    if context.invoked_subcommand:
        refuse_options(context)
        return 0
    policy = load(policy_path)
    asked = [address_of(text) for text in outside]
    address = docker_address()
    dockerd = Dockerd(address)
    try:
        facts = replace(collect(dockerd, Cgroups(), paths_of(policy)), quarantined=quarantined(run_))
        for tried, _ in asked:
            refuse_inside(facts, tried)
        found = verify_containers(policy, facts, dockerd, address, Writes(Cgroups()))
    finally:
        dockerd.close()
    network = verify_network(policy, facts, Inside(Cgroups(), seconds=seconds), asked)
    report = Report(now(), policy.hash, found.containers, (*found.findings, *network))
    emit(FORMATS[format_](report))
    return 1 if failed(report.findings) else 0


def now() -> str:
    """The date of a report, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def refuse_options(context: click.Context) -> None:
    """An option before the subcommand would say nothing, and look as if it did. Raises ``UsageError``."""
    given = [n for n in context.params if context.get_parameter_source(n) is ParameterSource.COMMANDLINE]
    if given:
        raise UsageError(
            f"options of `{context.info_name} {context.invoked_subcommand}` go after the word {context.invoked_subcommand}"
        )


@verify_group.command("network")
@policy_option
@outside_option
@timeout_option
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
