"""What a run of the canary proves of each hold group: was what it tried stopped, counted and recorded?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from enforcer.core.model import Access, Hook, Mechanism

Seen = Mapping[str, int]
"""Attempt (``attempt_of``) → how many were counted, or recorded."""

LIFE = ("birth", "arm", "death")
"""A container's life, which the canary plays."""

CHANGE = ("create", "mkdir", "mknod", "symlink", "link", "unlink", "rmdir", "rename", "setattr", "setxattr")
ALONE = ("open", "exec", "receive", "unix", "trace", "refused", "connect4", "connect6", "sendmsg4", "sendmsg6")
ATTEMPTS: Mapping[str, tuple[str, ...]] = {"change": CHANGE, **{group: (group,) for group in ALONE}}
"""Hold group → what the canary tries to prove it: methods of ``attempts.Attempts``, named as the hooks."""

BASIC = frozenset({"open", "connect4", "connect6", "sendmsg4", "sendmsg6", *LIFE})
"""What every host can hold that the agent runs on: if nothing does, the self-test has failed, and that is no mere degradation."""

PUNISHED = frozenset({"open", "exec", "unix"})
"""What a tracepoint answers with death."""

IMPOSSIBLE = {"EAFNOSUPPORT": "this host has no IPv6", "ENOEXEC": "no program for this processor to try it with"}
"""Errors that an attempt has before the kernel comes to judge it."""

STOPPED = frozenset({"refused", "killed", "EROFS"})
"""Outcomes that leave a record; EROFS is that of a read-only mount, whose refusals the agent sees."""

_HOOKS = {int(hook): hook.name.lower() for hook in Hook}


def attempt_of(hook: int, access: int) -> str:
    """Which attempt a count or a record is of: its hook; an open that wants to execute is that of ``exec``."""
    return "exec" if hook == Hook.OPEN and access & Access.EXEC else _HOOKS.get(hook, "unknown")


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


def wanted(holds: Mapping[str, Mechanism | None], *, with_records: bool) -> list[str]:
    """What to try. Of what something else refuses nobody knows but the log's reader."""
    groups = [g for g, by in holds.items() if by and g in ATTEMPTS and (g != "refused" or with_records)]
    return [*(["arm"] if holds.get("arm") else []), *(name for group in groups for name in ATTEMPTS[group])]


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
    said = {name: look.outcome[name] for name in ATTEMPTS.get(group, ()) if name in look.outcome}
    if not said:
        return Proof(group, by, why="the canary has no way to try it")
    if impossible := [IMPOSSIBLE[what] for what in said.values() if what in IMPOSSIBLE]:
        return Proof(group, by, why=impossible[0])
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
        silent = [name for name in names if not look.rise.get(name)]
        counted, why = not silent, f"stopped, but not counted ({', '.join(silent)})" if silent else ""
    if look.written is not None and counted is not False:
        lost = [name for name in names if look.written.get(name, 0) < max(1, look.rise.get(name, 0))]
        recorded, why = not lost, f"stopped, but no record reached the log's reader ({', '.join(lost)})" if lost else ""
    return Proof(group, by, True, counted, recorded, why)
