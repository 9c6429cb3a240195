"""A policy that is proposed from a record: what ``core.learn`` finds, and ``core.proposal_text`` writes down."""

from __future__ import annotations

from dataclasses import dataclass

from enforcer.core.enums import Access
from enforcer.core.model import DataTarget, Mode, NetTarget


@dataclass(frozen=True)
class Evidence:
    """What speaks for a grant: ``by`` which containers, how often each, the ``first`` and the ``last`` time in ns since 1970.

    ``asked``: every kind of access that was seen.
    """

    by: tuple[tuple[str, int], ...]
    first: int
    last: int
    asked: Access = Access.NONE

    @property
    def attempts(self) -> int:
        """How often in all."""
        return sum(n for _, n in self.by)


@dataclass(frozen=True)
class Group:
    """Containers that did the same: ``key`` is their name in the policy, ``name`` a glob, ``excluded`` what it must not match."""

    key: str
    name: str
    members: tuple[str, ...]
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataGrant:
    """One data object of a rule, and why."""

    target: DataTarget
    writes: bool
    evidence: Evidence


@dataclass(frozen=True)
class NetGrant:
    """One destination of a rule, and why. ``note``: how its ports differ from those that were seen, if they do."""

    target: NetTarget
    evidence: Evidence
    note: str = ""


@dataclass(frozen=True)
class Left:
    """What is not granted, and why: ``what`` is escaped text."""

    what: str
    why: str
    evidence: Evidence


@dataclass(frozen=True)
class LearntData:
    """A data rule: ``who`` are keys of groups. ``despite``: what it grants although the record refused it."""

    who: tuple[str, ...]
    grants: tuple[DataGrant, ...]
    despite: tuple[Left, ...] = ()


@dataclass(frozen=True)
class LearntNet:
    """A network rule. Without grants: nothing was reached. ``despite`` as of data rules."""

    who: tuple[str, ...]
    grants: tuple[NetGrant, ...]
    despite: tuple[Left, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """The whole of it, in the order in which it is written.

    ``despite``: what it lets through although the record refused it, and no rule is why. ``unjudged``: so many kinds of refusal
    that these were not compared with it.
    """

    mode: Mode
    groups: tuple[Group, ...]
    protected: tuple[DataTarget, ...]
    data: tuple[LearntData, ...]
    internal: tuple[str, ...]
    net: tuple[LearntNet, ...]
    left: tuple[Left, ...]
    despite: tuple[Left, ...] = ()
    unjudged: tuple[Left, ...] = ()
