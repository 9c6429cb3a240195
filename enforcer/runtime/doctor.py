"""What this host can do, found out by doing it: every program loaded, attached and tried on a canary, then taken down."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from enforcer.core.compile import compile as compile_image
from enforcer.core.egress import Chain, Opening, Pass, Rule
from enforcer.core.ids import Ids
from enforcer.core.image import Range
from enforcer.core.model import Facts, Mode, Policy
from enforcer.core.names import leaks_names
from enforcer.core.plan import plan
from enforcer.edges.audit_calls import ALL, CHANGES
from enforcer.edges.bpf import offsets
from enforcer.edges.bpf.source import Source, lsm_list, probes_directory
from enforcer.edges.bpfcall import why_no_bpf
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd
from enforcer.errors import EnforcerError, HostError
from enforcer.runtime.audit import left_over
from enforcer.runtime.auditing import watched_too, would_watch
from enforcer.runtime.canary import Canary
from enforcer.runtime.ladder import Hold
from enforcer.runtime.probes import Probes
from enforcer.runtime.watching import SEEN, held_by_audit
from enforcer.settings import default_parent

PINS = Path("/sys/fs/bpf")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, whether it is as the agent needs it, and what was seen or is to be done.

    Where it is not ``vital``, the agent runs without it, and lacks what it is for.
    """

    what: str
    ok: bool
    seen: str
    vital: bool = True


def checks(docker: str, cgroup: str = "") -> Iterator[Check]:
    """The host's parts, each looked at by itself: one that is missing does not hide the next.

    ``cgroup``: the one above the containers, "" for Docker's default.
    """
    yield _asked("kernel", platform.release)
    yield _asked("root", _root)
    yield _asked("kernel's BTF and the fields that the probes read", _fields)
    yield _asked("cgroup v2", lambda: str(Cgroups().root))
    yield Check("LSMs", True, ", ".join(lsm_list() or ["unknown: securityfs is not mounted"]))
    yield Check("audit", True, _audit())
    yield replace(_asked("nftables", _packet_filter), vital=False)
    yield (engine := _asked("docker", lambda: _docker(docker)))
    if engine.ok:
        yield _asked("Docker's resolver", lambda: _resolver(docker))
    yield _asked("the cgroup above the containers", lambda: _attachable(cgroup or default_parent_of(docker)))


def holds(parent: str) -> tuple[Hold, ...]:
    """What would hold each hook, tried out below the cgroup ``parent``. Nothing is left behind. Raises ``HostError``."""
    cgroups, name = Cgroups(), f"enforcer-doctor-{os.getpid()}"
    scratch = f"{parent.rstrip('/')}/{name}"
    cgroups.ensure(scratch)
    with tempfile.TemporaryDirectory(prefix="enforcer-") as directory:
        canary = Canary(cgroups, scratch, Path(directory), name="canary")
        try:
            seen = partial(would_watch, PINS / name, cgroups, canary.directory)
            if why := why_no_bpf():
                unseen = seen(ALL)
                return held_by_audit(why, dict.fromkeys(SEEN, unseen) if unseen else {})
            probes = Probes(PINS / name, Source.of(probes_directory()), instance=0)
            return watched_too(_tried(probes, canary, cgroups, scratch), lambda: seen(CHANGES))
        finally:
            cgroups.remove(scratch)


def _tried(probes: Probes, canary: Canary, cgroups: Cgroups, scratch: str) -> tuple[Hold, ...]:
    try:
        image = compile_image(Policy(Mode.ENFORCE), Facts(), Ids(), 1, canary=canary.inode())
        for op in plan(None, image):
            probes.maps.apply(op)
        probes.attach(cgroups, [scratch], canary.run)
        return probes.holds
    finally:
        probes.unload()


def _asked(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, True, look())
    except EnforcerError as e:
        return Check(what, False, str(e))


def _fields() -> str:
    return f"{offsets.header((probes_directory() / 'kernel.h').read_text()).count('#define')} places found"


def _audit() -> str:
    """The last resort: what it lacks is no failure of a host that has better."""
    try:
        return left_over()
    except EnforcerError as e:
        return str(e)


def _packet_filter() -> str:
    """A table with every kind of rule that the egress guard writes, for an interface that there is not; then it is removed."""
    from enforcer.edges.nft import Nft  # noqa: PLC0415 -- pyroute2 takes 0.1 s and 20 MB

    here = partial(Rule, network="doctor", bridge="enforcer-none")
    opening = Opening("203.0.113.1", "203.0.113.2", Range(1, 1, 6))
    passes = (
        Pass.REPLIES,
        Pass.NEIGHBOURS,
        opening,
        replace(opening, source="2001:db8::1", destination="2001:db8::2"),
        None,
    )
    made = Nft(f"enforcer-doctor-{os.getpid()}", "doctor")
    try:
        made.keep([*(here(Chain.INPUT, passes=passed) for passed in passes), here(Chain.FORWARD)], {})
        made.remove()
    except HostError as e:
        raise HostError(
            f"{e}; without it nothing but the probes holds internal networks, and --require deny refuses"
        ) from e
    return "holds the egress guard: a table like its own was written and removed"


def _root() -> str:
    if os.geteuid() != 0:
        raise HostError("not root: run with sudo")
    return "yes"


def default_parent_of(docker: str) -> str:
    """The cgroup that the engine puts containers in unless told otherwise. Raises EdgeError, HostError."""
    dockerd = Dockerd(docker)
    try:
        return default_parent(dockerd.engine().cgroup_driver)
    finally:
        dockerd.close()


def _attachable(parent: str) -> str:
    """Network programs are attached there: refused where the agent itself, or all of the host, would be below it."""
    cgroups = Cgroups()
    if cgroups.is_there(parent):
        os.close(cgroups.attachable(parent))
    return parent


def _docker(address: str) -> str:
    dockerd = Dockerd(address)
    try:
        engine = dockerd.engine()
    finally:
        dockerd.close()
    return f"{engine.version}, cgroup driver {engine.cgroup_driver}, storage {engine.storage_driver}, at {address}"


def _resolver(address: str) -> str:
    """Does this engine's resolver carry names of internal networks outside? It is no hindrance: the probes refuse them."""
    dockerd = Dockerd(address)
    try:
        version = dockerd.engine().version
    finally:
        dockerd.close()
    if leaks_names(version):
        return (
            f"Docker {version} asks others for what it does not know (CVE-2024-29018): refused to confined containers"
        )
    return f"Docker {version} has no CVE-2024-29018: it asks nobody for containers on internal networks"
