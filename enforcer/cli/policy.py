"""``check``, ``plan``, ``matrix``, ``explain``: what a policy says and means, without putting it in force."""

from __future__ import annotations

import os
from pathlib import Path

import click

from enforcer import settings as defaults
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.compile import compile as compile_image
from enforcer.core.explain import Destination, explain_data, explain_net
from enforcer.core.ids import Ids, allocate
from enforcer.core.matrix import Change, Matrix, changes, matrix, plain
from enforcer.core.model import Access, Facts, Kind, ObjectId, Policy, Verdict
from enforcer.core.protocols import NUMBERS
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.control import ask
from enforcer.edges.dockerd import Dockerd
from enforcer.edges.policyfile import load
from enforcer.errors import NobodyListens, UsageError
from enforcer.runtime.facts import collect, paths_of
from enforcer.settings import Settings

policy_option = click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path),
    default=defaults.POLICY,
    show_default=True,
    help="Policy file, or directory of them.",
)
policy_argument = click.argument(
    "policy_path", metavar="[POLICY]", type=click.Path(path_type=Path), default=defaults.POLICY
)


def docker_address() -> str:
    """Where the engine listens: DOCKER_HOST, or the usual socket."""
    return os.environ.get("DOCKER_HOST", Settings.docker)


def host(policy: Policy) -> Facts:
    """The host as it is now, as far as the policy asks. Raises EdgeError, HostError."""
    dockerd = Dockerd(docker_address())
    try:
        return collect(dockerd, Cgroups(), paths_of(policy))
    finally:
        dockerd.close()


@click.command("check")
@policy_argument
@click.option(
    "--host", "on_host", is_flag=True, help="Also against this host: what names nothing, what protects nothing."
)
@format_option
def check_command(policy_path: Path, on_host: bool, format_: str) -> int:
    """Is a policy well formed? Prints every mistake with its place and exits 2 if there is one."""
    policy = load(policy_path)
    warnings: tuple[str, ...] = ()
    if on_host:
        facts = host(policy)
        warnings = compile_image(policy, facts, allocate(Ids(), policy, facts), 1).warnings
    if format_ == "json":
        emit([json_text({"hash": policy.hash, "mode": policy.mode.name.lower(), "warnings": warnings})])
    else:
        emit([*(f"warning: {w}" for w in warnings), f"{policy_path}: well formed, {policy.hash[:12]}"])
    return 1 if warnings else 0


@click.command("matrix")
@policy_option
@format_option
def matrix_command(policy_path: Path, format_: str) -> None:
    """The data-access matrix that a policy means on this host: who may do what with which data, and connect where."""
    policy = load(policy_path)
    found = matrix(policy, host(policy))
    if format_ == "json":
        emit([json_text(plain(found))])
        return
    short = [str(n) for n in range(1, len(found.objects) + 1)]
    emit([f"{n:>3}  {o.kind} {o.name}" for n, o in enumerate(found.objects, 1)])
    emit(
        [
            "",
            table(["CONTAINER", *short], [[c, *cells] for c, cells in zip(found.containers, found.cells, strict=True)]),
        ]
    )
    emit(["", table(["CONTAINER", "MAY CONNECT TO"], _reach(found))])
    emit(["", "r: read and execute, rw: write too, -: nothing; ?: what is not granted is only watched (monitor)"])


def _reach(found: Matrix) -> list[tuple[str, str]]:
    return [(c, ", ".join(where) or "nowhere") for c, where in zip(found.containers, found.network, strict=True)]


@click.command("plan")
@policy_argument
@click.option(
    "--run", "run_", type=click.Path(path_type=Path), default=defaults.RUN, help="The agent's --run directory."
)
@format_option
def plan_command(policy_path: Path, run_: Path, format_: str) -> None:
    """What would change if this policy were put in force: each cell of the matrix that would differ from the running one."""
    policy = load(policy_path)
    new = plain(matrix(policy, host(policy)))
    try:
        running = ask(Settings(run=run_).socket, {"command": "matrix"})
    except NobodyListens:
        running = {"data": {}, "network": {}}
        click.echo("no agent runs: compared with no policy at all", err=True)  # what is printed stays one document
    found = changes(running, new)
    if format_ == "json":
        emit([json_text([c._asdict() for c in found])])
    elif found:
        emit([table(["CONTAINER", "WHAT", "NOW", "THEN"], [_line(c) for c in found])])
    else:
        emit(["nothing would change"])


def _line(change: Change) -> tuple[str, str, str, str]:
    return change.container, change.what, change.now, change.then


@click.command("explain")
@click.argument("container")
@click.argument("access", type=click.Choice(["read", "write", "exec", "connect"]))
@click.argument("target")
@policy_option
@format_option
def explain_command(container: str, access: str, target: str, policy_path: Path, format_: str) -> int:
    """Why may a container do this, or may not?

    TARGET is a volume, or path:/srv/x, or layer:CONTAINER; for `connect` it is HOST:PORT[/tcp|udp|sctp|icmp], where HOST is
    an address ([…] around IPv6) or a container's name. Exits 1 if the answer is no.
    """
    policy = load(policy_path)
    facts = host(policy)
    if access == "connect":
        found = explain_net(policy, facts, container=container, to=destination(target))
    else:
        asked = Access[access.upper()]
        found = explain_data(policy, facts, container=container, target=data_object(target), asked=asked)
    if format_ == "json":
        emit([json_text({"verdict": found.verdict.name.lower(), "rules": found.rules, "text": found.text})])
    else:
        emit([found.text])
    return 0 if found.verdict is Verdict.ALLOWED else 1


def data_object(text: str) -> ObjectId:
    """``mcp-01-data``, ``volume:mcp-01-data``, ``path:/srv/x``, ``layer:web``."""
    kind, colon, name = text.partition(":")
    return ObjectId(Kind(kind), name) if colon and kind in tuple(Kind) else ObjectId(Kind.VOLUME, text)


def destination(text: str) -> Destination:
    """``203.0.113.10:443``, ``[2001:db8::1]:53/udp``, ``database:5432/tcp``. Raises ``UsageError``."""
    where, _, protocol = text.partition("/")
    name, _, port = where.rpartition(":")
    if not name or not port.isdecimal() or int(port) > 65535 or (protocol or "tcp") not in NUMBERS:
        raise UsageError(f"{text}: write HOST:PORT or HOST:PORT/udp, such as 203.0.113.10:443/tcp")
    return Destination(name, int(port), NUMBERS[protocol or "tcp"])
