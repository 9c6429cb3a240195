"""What a run of the canary proves of each hold group: was what it tried stopped, counted and recorded?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from enforcer.core.model import Access, Hook, Mechanism

Seen = Mapping[str, int]
"""Attempt (``attempt_of``) → how many were counted, or recorded."""

LIFE = ("birth", "arm", "death")
"""A container's life, which the canary plays."""

CHANGES = (
    *("create", "mkdir", "mknod", "symlink", "link", "unlink", "rmdir", "rename"),
    *("setattr", "setxattr", "removexattr", "acl"),
)
ALONE = (
    *("open", "exec", "io_uring", "receive", "trace", "leave", "escape", "refused"),
    *("connect4", "connect6", "sendmsg4", "sendmsg6", "socket", "packet", "egress"),
)
ATTEMPTS: Mapping[str, tuple[str, ...]] = {
    **{group: (group,) for group in ALONE},
    "change": CHANGES,
    "unix": ("unix", "datagram"),
    "guard": ("held_map", "held_program", "held_link"),
}
"""Hold group → what the canary tries to prove it: methods of ``attempts.Attempts``."""

HOOKS = {
    **{"removexattr": Hook.SETXATTR, "acl": Hook.SETXATTR, "datagram": Hook.UNIX, "leave": Hook.ESCAPE},
    "packet": Hook.SOCKET,
    **{name: Hook.BPF for name in ATTEMPTS["guard"]},
}
"""Attempts that are counted and recorded under a hook of another name."""

BASIC = frozenset({"open", "connect4", "connect6", "sendmsg4", "sendmsg6", "socket", "egress", "ingress", *LIFE})
"""What every host can hold that the agent runs on: if nothing does, the self-test has failed, and that is no mere degradation."""

PUNISHED = frozenset({"open", "exec", "io_uring", "unix", "leave", "escape", "packet"})
"""What a tracepoint answers with death."""

UNTRIED = {
    "mount": "it would take a filesystem of the canary's own",
    "io_uring": "its opens are seen by what holds open",
    "refused": "it is judged by the log's reader, and none runs",
    "opened": "it refuses nothing: it tells what is open already",
    "ingress": "it refuses nothing but to a quarantined container",
}
"""Why the canary does not try what it does not try."""

IMPOSSIBLE = {
    "EAFNOSUPPORT": "this host has no IPv6",
    "ENOEXEC": "no program for this processor to try it with",
    "ENOSYS": "this host does not allow it to anybody",
}
"""Errors that an attempt has before the kernel comes to judge it."""

STOPPED = frozenset({"refused", "killed", "EROFS"})
"""Outcomes that leave a record; EROFS is that of a read-only mount, whose refusals the agent sees."""

_NAMES = {int(hook): hook.name.lower() for hook in Hook}


def attempt_of(hook: int, access: int) -> str:
    """What a count or a record is kept as: its hook's name; an open that wants to execute is that of ``exec``."""
    return "exec" if hook == Hook.OPEN and access & Access.EXEC else _NAMES.get(hook, "unknown")


@dataclass(frozen=True)
class Proof:
    """What the canary saw of one hold group. None where it did not look.

    ``why``: what was seen instead, or, where ``stopped`` is None, why it was not tried.
    """

    group: str
    mechanism: Mechanism | None
    stopped: bool | None = None
    counted: bool | None = None
    recorded: bool | None = None
    why: str = ""

    @property
    def failed(self) -> bool:
        """Something is not as the mechanism promises."""
        nothing = self.mechanism is None and self.group in BASIC
        return nothing or False in (self.stopped, self.counted, self.recorded)


@dataclass(frozen=True)
class Finding:
    """What a run of the canary showed: ``failures`` says for each hold group that does not hold what was seen instead."""

    failures: Mapping[str, str]
    proofs: tuple[Proof, ...] = ()

    @property
    def success(self) -> bool:
        """True if everything forbidden was stopped, counted and recorded."""
        return not self.failures


@dataclass(frozen=True)
class Look:
    """What was seen of a run. ``outcome``: attempt → what became of it; ``lived``: which parts of a container's life were followed.

    ``rise`` and ``written``: counts and records that were new after it; no ``written`` if nobody reads records.
    """

    outcome: Mapping[str, str]
    lived: Mapping[str, bool]
    rise: Seen
    written: Seen | None = None


def wanted(holds: Mapping[str, Mechanism | None], *, with_records: bool, guarded: Collection[str] = ()) -> list[str]:
    """What to try. ``guarded``: the kinds of the agent's own that are there to be reached for."""
    names = [name for group, by in holds.items() if by for name in ATTEMPTS.get(group, ())]
    left_out = {name for name in ATTEMPTS["guard"] if name.removeprefix("held_") not in guarded}
    left_out |= {"refused"} if not with_records else set()
    # io_uring: elsewhere its opens are seen as any other; a datagram to a socket: system calls do not tell where it went
    left_out.add("datagram" if holds.get("unix") is Mechanism.TRACEPOINT else "")
    left_out.add("io_uring" if holds.get("io_uring") is not Mechanism.TRACEPOINT else "")
    return [*(["arm"] if holds.get("arm") else []), *(name for name in names if name not in left_out)]


def judge(holds: Mapping[str, Mechanism | None], look: Look) -> Finding:
    """What a run proves of each group in ``holds``: hold group → what should hold it, None if nothing does."""
    proofs = tuple(_proof(group, by, look) for group, by in holds.items())
    return Finding({p.group: p.why for p in proofs if p.failed}, proofs)


def _proof(group: str, by: Mechanism | None, look: Look) -> Proof:
    if by is None:
        return Proof(group, by, why=f"nothing holds {group}")
    if group in LIFE:
        seen = look.lived[group]
        return Proof(group, by, stopped=seen, why="" if seen else f"a container's {group} was not followed")
    tried = {name: look.outcome[name] for name in ATTEMPTS.get(group, ()) if name in look.outcome}
    said = {name: what for name, what in tried.items() if what not in IMPOSSIBLE}
    if not said:
        why = UNTRIED.get(group, "the canary has no way to try it")
        return Proof(group, by, why=next((IMPOSSIBLE[what] for what in tried.values()), why))
    goal = _goal(group, by)
    if through := [f"{name}: {what}" for name, what in said.items() if what != goal]:
        return Proof(group, by, stopped=False, why=f"forbidden, but not {goal} ({', '.join(through)})")
    return _accounted(group, by, look, said)


def _goal(group: str, by: Mechanism) -> str:
    if group == "refused":
        return "EROFS"
    return "killed" if by is Mechanism.TRACEPOINT and group in PUNISHED else "refused"


def _accounted(group: str, by: Mechanism, look: Look, names: Iterable[str]) -> Proof:
    """Everything was stopped: is it counted, and recorded? What something else refused is not counted in the kernel."""
    counted, recorded, why = None, None, ""
    if group != "refused":
        silent = [name for name in names if not look.rise.get(kept_as(name))]
        counted, why = not silent, f"stopped, but not counted ({', '.join(silent)})" if silent else ""
    if look.written is not None and counted is not False:
        lost = [n for n in names if look.written.get(kept_as(n), 0) < max(1, look.rise.get(kept_as(n), 0))]
        recorded, why = not lost, f"stopped, but no record reached the log's reader ({', '.join(lost)})" if lost else ""
    return Proof(group, by, True, counted, recorded, why)


def kept_as(name: str) -> str:
    """Under which name an attempt is counted and recorded."""
    return HOOKS[name].name.lower() if name in HOOKS else name
