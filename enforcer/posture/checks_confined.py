"""What confines a container: the guide's security configuration, and what Docker's own benchmark (section 5) asks besides."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial

from enforcer.posture.case import Case, Look, Seen, broken, passed, warned

HOST = "host"

UNDOING = frozenset(
    {"ALL", "BPF", "DAC_READ_SEARCH", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "SYS_BOOT", "SYS_MODULE"}
    | {"SYS_PTRACE", "SYS_RAWIO", "SYS_TIME"}
)
"""Capabilities that reach the host or another container from inside one (capabilities(7))."""

_NO_NEW = "no-new-privileges"


def read_only_root(case: Case) -> Iterator[Seen]:
    """Is its root filesystem read-only?"""
    if case.it.read_only:
        yield passed("the root filesystem is read-only")
    else:
        yield warned(
            "the root filesystem can be written",
            'compose: read_only: true, with tmpfs: ["/tmp:noexec,nosuid,size=100M"] for what must be written',
        )


def no_new_privileges(case: Case) -> Iterator[Seen]:
    """May its programs gain rights by setuid files?"""
    if any(o in (_NO_NEW, f"{_NO_NEW}:true", f"{_NO_NEW}=true") for o in case.it.security):
        yield passed("no-new-privileges is set")
    else:
        yield warned("a setuid program may gain rights", 'compose: security_opt: ["no-new-privileges:true"]')


def capability_drop(case: Case) -> Iterator[Seen]:
    """Are Docker's default capabilities dropped?"""
    if "ALL" in case.it.cap_drop:
        yield passed("all default capabilities are dropped")
    else:
        kept = (
            f"only {', '.join(case.it.cap_drop)} dropped" if case.it.cap_drop else "Docker's default capabilities kept"
        )
        yield warned(kept, "compose: cap_drop: [ALL], and cap_add for what it needs")


def added_capabilities(case: Case) -> Iterator[Seen]:
    """Does it have capabilities that the policy's posture does not name?"""
    more = [c for c in case.it.cap_add if c not in case.wanted.capabilities]
    fix = f"compose: take {', '.join(more)} out of cap_add, or name what it needs under capabilities in the policy"
    if undoing := [c for c in more if c in UNDOING]:
        yield broken(f"{', '.join(undoing)} added, which undoes the isolation", fix)
    elif more:
        yield warned(f"{', '.join(more)} added", fix)
    else:
        yield passed(f"added: {', '.join(case.it.cap_add) or 'none'}")


def privileged(case: Case) -> Iterator[Seen]:
    """A privileged container is root on the host."""
    if case.it.privileged:
        yield broken(
            "privileged: every capability and device, no seccomp, no AppArmor",
            "compose: privileged: false, with the one cap_add or device that it needs",
        )
    else:
        yield passed("not privileged")


def seccomp(case: Case) -> Iterator[Seen]:
    """Are its system calls filtered? The guide has `seccomp:unconfined` in one place: the safe reading is its other one."""
    off = [o for o in case.it.security if _value(o, "seccomp") == "unconfined"]
    if off:
        yield warned(f"{off[0]}: no system call is filtered", f"compose: take {off[0]} out of security_opt")
    elif not case.engine.seccomp:
        yield warned("the engine has no seccomp", "use an engine and a kernel with seccomp (CONFIG_SECCOMP_FILTER)")
    else:
        profile = next((_value(o, "seccomp") for o in case.it.security if _value(o, "seccomp")), "")
        yield passed("a seccomp profile of its own" if profile else "the engine's seccomp profile")


def apparmor(case: Case) -> Iterator[Seen]:
    """Does AppArmor (or SELinux) confine it? Where the engine has neither, that is said once for all."""
    off = [o for o in case.it.security if _value(o, "apparmor") == "unconfined"]
    if off or (case.it.apparmor == "unconfined" and not case.it.privileged):
        yield warned(
            "apparmor=unconfined: no profile confines it",
            'compose: security_opt: ["apparmor=docker-default"], or leave it out',
        )
    elif case.engine.labels:
        yield passed(case.it.apparmor or "the engine's own profile or label")
    else:
        yield passed("nothing is switched off; the engine has neither AppArmor nor SELinux")


def docker_socket(case: Case) -> Iterator[Seen]:
    """Whoever reaches the engine's socket is root on the host."""
    found = [m for m in case.it.mounts if any(_holds(m.path, s) for s in case.engine.sockets)]
    for mount in found:
        yield broken(
            f"{mount.path} is mounted at {mount.destination}: the engine's socket is in reach",
            f"compose: take {mount.path} out of volumes; give it a proxy that lets harmless calls through",
        )
    if not found:
        yield passed("the engine's socket is not mounted")


def image_tag(case: Case) -> Iterator[Seen]:
    """A tag may mean another image tomorrow; a digest or an image's id may not."""
    image = case.it.image
    if "@sha256:" in image or image.startswith("sha256:") or _is_id(image):
        yield passed(image)
    else:
        yield warned(
            f"{image} is a tag, which may mean another image tomorrow",
            f"compose: name it by digest, as NAME@sha256:…: docker image inspect {shlex.quote(image)} "
            "--format '{{.RepoDigests}}'",
        )


def published_ports(case: Case) -> Iterator[Seen]:
    """An internal service publishes nothing; others only what the policy's posture names, if it names any."""
    allowed = case.wanted.publish
    if allowed is None:
        more = dict(case.it.published) if case.wanted.internal else {}
    else:
        more = {port: where for port, where in case.it.published.items() if port not in allowed}
    for port, where in sorted(more.items()):
        yield broken(
            f"{port} is published at {', '.join(where) or 'any port'}",
            f'compose: take "{port}" out of ports; others on its networks reach it without',
        )
    if not more:
        yield passed(f"published: {', '.join(sorted(case.it.published)) or 'nothing'}")


def _shares(case: Case, *, kind: str, what: str, undoes: bool) -> Iterator[Seen]:
    """One namespace: of its own, the host's, or another container's."""
    mode = case.it.mode.get(kind, "")
    option = {"net": "network_mode", "userns": "userns_mode"}.get(kind, kind)
    if mode == HOST:
        said = f"{option}: host: it has the host's {what}"
        fix = f"compose: take {option}: host away"
        yield broken(said, fix) if undoes else warned(said, fix)
    elif mode.startswith("container:"):
        yield warned(
            f"it shares the {what} of {mode.removeprefix('container:')[:12]}", f"compose: give it its own {option}"
        )
    else:
        yield passed(f"{what} of its own")


host_network: Look = partial(_shares, kind="net", what="network", undoes=True)
host_pid: Look = partial(_shares, kind="pid", what="processes", undoes=True)
host_ipc: Look = partial(_shares, kind="ipc", what="shared memory", undoes=True)
host_uts: Look = partial(_shares, kind="uts", what="host name", undoes=False)
host_userns: Look = partial(_shares, kind="userns", what="users", undoes=False)


def _value(option: str, key: str) -> str:
    """``seccomp=unconfined`` and ``seccomp:unconfined`` are both understood by Docker."""
    return next((option.removeprefix(key + s) for s in "=:" if option.startswith(key + s)), "")


def _holds(path: str, inner: str) -> bool:
    return bool(path) and f"{inner}/".startswith(path.rstrip("/") + "/")


def _is_id(image: str) -> bool:
    hexadecimal = set("0123456789abcdef")
    return len(image) in (12, 64) and set(image) <= hexadecimal
