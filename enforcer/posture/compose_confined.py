"""What confines a container, as a Compose file has it: the same questions as ``checks_confined`` asks of a running one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from enforcer.core.compose import TMPFS, TMPFS_OPTIONS, UID
from enforcer.core.compose_file import Said, names_of, texts_of
from enforcer.core.parse_compose_service import CAPABILITY
from enforcer.posture.checks_confined import HOST, UNDOING
from enforcer.posture.compose_case import Missing, ServiceCase, fails, holds, real_name, warns

SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
"""Whoever reaches one of these is root on the host."""

_NAMES = {"/" + socket.rpartition("/")[2] for socket in SOCKETS}
"""Without root an engine listens in the directory of a user."""

_ROOT = re.compile(r"(0+|root)(:.*)?")
_NO_NEW = re.compile(r"no-new-privileges([:=]true)?")
_BORROWED = ("service:", "container:")


def user(case: ServiceCase) -> Iterator[Missing]:
    """Does it say to run as somebody else than root?"""
    said = case.it.text("user")
    if not said or _ROOT.fullmatch(said):
        seen = f"user {said} is root" if said else "no user is set: the image decides, most often for root"
        yield warns(case.it.at("user"), seen, f'user: "{UID}:{UID}"')


def read_only_root(case: ServiceCase) -> Iterator[Missing]:
    """Is its root filesystem read-only?"""
    if not case.it.true("read_only"):
        yield warns(case.it.at("read_only"), "the root filesystem can be written", "read_only: true")


def no_new_privileges(case: ServiceCase) -> Iterator[Missing]:
    """May its programs gain rights by setuid files?"""
    if not any(_NO_NEW.fullmatch(option.text) for option in _options(case)):
        fix = 'security_opt: ["no-new-privileges:true"]'
        yield warns(case.it.at("security_opt"), "a setuid program may gain rights", fix)


def unconfined(case: ServiceCase, *, kinds: tuple[str, ...], what: str) -> Iterator[Missing]:
    """Is the engine's own profile switched off? The guide has `seccomp:unconfined` in one place: the safe reading is without."""
    for option in _options(case):
        if option.text.replace("=", ":", 1) in kinds:
            yield warns(option.mark, f"{option.text}: {what}", f"take {option.text} out of security_opt")


seccomp = partial(unconfined, kinds=("seccomp:unconfined",), what="no system call is filtered")
apparmor = partial(unconfined, kinds=("apparmor:unconfined", "label:disable"), what="no profile or label confines it")


def _options(case: ServiceCase) -> tuple[Said, ...]:
    return texts_of(case.it.node("security_opt"))


def capability_drop(case: ServiceCase) -> Iterator[Missing]:
    """Are Docker's default capabilities dropped?"""
    if not any(_capability(said.text) == "ALL" for said in texts_of(case.it.node("cap_drop"))):
        yield warns(case.it.at("cap_drop"), "Docker's default capabilities are kept", "cap_drop: [ALL]")


def added_capabilities(case: ServiceCase) -> Iterator[Missing]:
    """The guide adds one, "only if needed"; some undo the isolation."""
    for said in texts_of(case.it.node("cap_add")):
        name, fix = _capability(said.text), f"take {said.text} out of cap_add"
        if name in UNDOING:
            yield fails(said.mark, f"{name} is added, which undoes the isolation", fix)
        elif name != CAPABILITY:
            yield warns(said.mark, f"{name} is added", fix)


def _capability(text: str) -> str:
    return text.upper().removeprefix("CAP_")


def privileged(case: ServiceCase) -> Iterator[Missing]:
    """A privileged container is root on the host."""
    if case.it.true("privileged"):
        fix = "privileged: false, with the one cap_add or device that it needs"
        yield fails(case.it.at("privileged"), "privileged: every capability and device, no seccomp, no AppArmor", fix)


def _shares(case: ServiceCase, *, key: str, what: str, undoes: bool) -> Iterator[Missing]:
    """One namespace: of its own, the host's, or another container's."""
    mode = case.it.text(key)
    if mode == HOST:
        says = fails if undoes else warns
        yield says(case.it.at(key), f"{key}: host: it has the host's {what}", f"take {key} away")
    elif mode.startswith(_BORROWED):
        yield warns(case.it.at(key), f"{key}: {mode}: it has another container's {what}", f"take {key} away")


host_pid = partial(_shares, key="pid", what="processes", undoes=True)
host_ipc = partial(_shares, key="ipc", what="shared memory", undoes=True)
host_uts = partial(_shares, key="uts", what="name", undoes=False)
host_userns = partial(_shares, key="userns_mode", what="user ids", undoes=False)


def host_network(case: ServiceCase) -> Iterator[Missing]:
    """By ``network_mode``, or by a network that is the host's."""
    yield from _shares(case, key="network_mode", what="network", undoes=True)
    for said in names_of(case.it.node("networks")):
        network = case.file.networks.get(said.text)
        if network and HOST in (network.text("driver"), real_name(network)):
            yield fails(said.mark, f"{said.text} is the host's network", f"take {said.text} out of networks")


def docker_socket(case: ServiceCase) -> Iterator[Missing]:
    """Whoever reaches the engine's socket is root on the host."""
    if case.it.true("use_api_socket"):
        key = "use_api_socket"
        yield fails(case.it.at(key), f"{key}: the engine's socket is in reach", f"take {key} away")
    for mount in case.mounts:
        path = case.source(mount).path
        if path and (path.endswith(tuple(_NAMES)) or any(holds(path, socket) for socket in SOCKETS)):
            seen = f"{path} is mounted at {mount.target}: the engine's socket is in reach"
            yield fails(mount.mark, seen, "take it out of volumes; a proxy may let harmless calls through")


def image_tag(case: ServiceCase) -> Iterator[Missing]:
    """A tag may mean another image tomorrow; a digest may not. What is built here is no one else's."""
    image = case.it.text("image")
    if image and "@sha256:" not in image and "build" not in case.it.fields:
        seen = f"{image} is a tag, which may mean another image tomorrow"
        yield warns(
            case.it.at("image"), seen, "image: NAME@sha256:…, as `docker image inspect` shows under RepoDigests"
        )


def tmpfs(case: ServiceCase) -> Iterator[Missing]:
    """What a read-only root leaves to be written is in memory, of a limited size, and runs nothing."""
    given = texts_of(case.it.node("tmpfs"))
    places = {said.text.partition(":")[0].rstrip("/") for said in given} | {mount.target for mount in case.mounts}
    for place, most in TMPFS.items():
        if place == next(iter(TMPFS)) and place not in places:
            fix = f"tmpfs: [{_tmpfs(place, most)}]"
            yield warns(case.it.at("tmpfs"), f"nothing is mounted at {place}, where programs must write", fix)
    for said in given:
        place, _, options = said.text.partition(":")
        words = options.split(",")
        lacking = [word for word in TMPFS_OPTIONS if word not in words]
        lacking += [] if any(word.startswith("size=") for word in words) else ["size"]
        if lacking:
            yield warns(
                said.mark, f"{place} lacks {', '.join(lacking)}", f"tmpfs: [{_tmpfs(place, TMPFS.get(place, 50))}]"
            )


def _tmpfs(place: str, most: int) -> str:
    return f'"{place}:{",".join(TMPFS_OPTIONS)},size={most}M"'
