"""``doctor``, ``status``, ``unload``: the host, the running agent, and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from enforcer import settings as defaults
from enforcer.cli.policy import docker_address
from enforcer.cli.render import emit, format_option, json_text, table
from enforcer.core.model import Mechanism
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.loader import Loader
from enforcer.edges.control import ask
from enforcer.errors import UsageError
from enforcer.settings import Settings

if TYPE_CHECKING:
    from enforcer.runtime.doctor import Check

run_option = click.option(
    "--run",
    "run_",
    type=click.Path(path_type=Path),
    default=defaults.RUN,
    show_default=True,
    help="The agent's --run directory.",
)


@click.command("doctor")
@click.option("--cgroup", default="", help="The cgroup above the containers, if not Docker's default.")
@format_option
def doctor_command(cgroup: str, format_: str) -> int:
    """What can this host enforce, and by what? Every program is loaded, attached and tried on a canary, then removed.

    Exits 3 if the agent could not run here.
    """
    from enforcer.runtime.doctor import checks, default_parent_of, holds  # noqa: PLC0415 -- carries the loader
    from enforcer.runtime.proof import BASIC  # noqa: PLC0415 -- the same

    found = list(checks(docker_address(), cgroup))
    able = all(c.ok for c in found if c.vital)
    tried = holds(cgroup or default_parent_of(docker_address())) if able else ()
    if format_ == "json":
        rows = [{"what": c.what, "ok": c.ok, "seen": c.seen, "vital": c.vital} for c in found]
        hooks = [{"hook": h.hook, "mechanism": _name(h.mechanism), "missed": h.missed} for h in tried]
        emit([json_text({"checks": rows, "hooks": hooks})])
    else:
        emit([table(["CHECK", "", "SEEN"], [(c.what, _word(c), c.seen) for c in found])])
        if tried:
            rows_ = [(h.hook, _name(h.mechanism), "; ".join(h.missed) or "the best there is") for h in tried]
            emit(["", table(["HOOK", "HELD BY", "WHY NOT BETTER"], rows_)])
    return 0 if able and all(h.mechanism for h in tried if h.hook in BASIC) else 3


def _word(found: Check) -> str:
    if found.ok:
        return "ok"
    return "FAIL" if found.vital else "LACKS"


def _name(mechanism: Mechanism | None) -> str:
    return mechanism.name.lower() if mechanism else "none"


@click.command("status")
@run_option
@format_option
def status_command(run_: Path, format_: str) -> int:
    """What is in force, by what mechanism, what is degraded, and how much has been counted. Exits 1 if the self-test fails."""
    found = ask(Settings(run=run_).socket, {"command": "status"})
    if format_ == "json":
        emit([json_text(found)])
    else:
        emit(_status_text(found))
    return 0 if found["selftest"]["success"] else 1


def _status_text(found: dict[str, Any]) -> list[str]:
    policy, counts, containers = found["policy"], found["counts"], found["containers"]
    lost = ", ".join(f"{n} by {cause}" for cause, n in counts["lost"].items() if n) or "none"
    lines = [
        f"policy      {policy['hash'][:12]} ({policy['mode']}), generation {policy['generation']}, {policy['path']}",
        f"containers  {sum(c['running'] for c in containers)} running, {sum(not c['running'] for c in containers)} stopped",
        f"violations  {counts['counted']} counted: {counts['recorded']} recorded, {counts['suppressed']} suppressed, "
        f"{counts['waiting']} waiting, lost: {lost}",
        f"not judged  {found['unplaced']} attempts refused by others could not be placed, {found['malformed']} records not read",
        f"self-test   {'passed' if found['selftest']['success'] else 'FAILED: ' + str(found['selftest']['failures'])}",
        f"docker      {'connected' if found['docker']['connected'] else 'NOT CONNECTED'}, {found['docker']['address']}",
        "",
        table(["HOOK", "HELD BY"], sorted(found["mechanisms"].items())),
    ]
    if found["recording"]["accesses"]:
        lines.insert(-2, f"recording   allowed accesses, too; {found['recording']['lost']} are missing")
    if guarded := found["egress"]["networks"]:
        held = f"BY {found['egress']['table'].upper()}" if found["egress"]["holds"] else "NOT HELD"
        dropped = [(n["network"], n["bridge"], n["dropped"]) for n in guarded]
        lines += ["", table([f"GUARDED {held}", "BRIDGE", "PACKETS DROPPED"], dropped)]
    orders = [("blocked", o["network"], o) for o in found["blocked"]]
    orders += [("quarantined", o["container"], o) for o in found["quarantined"]]
    if orders:
        rows = [(what, name if o["there"] else f"{name} (gone)", o["who"], o["why"]) for what, name, o in orders]
        lines += ["", table(["ORDERED", "WHAT", "BY", "WHY"], rows)]
    if found["degraded"]:
        lines += ["", table(["DEGRADED", "WHY"], [(d["what"], d["why"]) for d in found["degraded"]])]
    return lines


@click.command("unload")
@click.option(
    "--pins", type=click.Path(path_type=Path), default=defaults.PINS, show_default=True, help="Directory of pins."
)
def unload_command(pins: Path) -> None:
    """Remove every program, map, audit rule and packet filter of ours from the kernel: nothing is enforced any more.

    The agent must have stopped. What is blocked or quarantined is so again when the next agent starts.
    """
    from enforcer.edges.cgroup import Cgroups  # noqa: PLC0415 -- no other command here looks at cgroups
    from enforcer.runtime.audit import forget  # noqa: PLC0415 -- carries the observer
    from enforcer.runtime.canary import remove_left  # noqa: PLC0415 -- carries the canary
    from enforcer.runtime.guard import remove_tables  # noqa: PLC0415 -- carries pyroute2

    remove_left(Cgroups(), "/")
    pinned = pins.exists()
    links = Loader(pins, Libbpf()).unload() if pinned else 0
    rules = forget(pins)
    tables = remove_tables(pins)
    if not pinned and not rules and not tables:
        raise UsageError(f"nothing is pinned at {pins}: --pins must be what `enforcer run` was given")
    lines = [f"{links} programs detached, {pins} removed"] if pinned else []
    lines += [f"{rules} audit rules removed"] if rules else []
    emit(lines + [f"the table {table} is removed" for table in tables])
