"""Every error that the enforcer raises, and the exit code that the command line turns it into.

::

    EnforcerError   1
    │ RefusedError  1   the policy refuses what the command needs        (the operator grants it)
    ├ PolicyError   2   the YAML is wrong: file, line, field, reason     (the operator fixes the file)
    │ UsageError    2   the command line is wrong                        (the operator fixes the call)
    ├ HostError     3   this host cannot do it: what is missing          (the operator fixes the host)
    ├ EdgeError     4   a neighbour failed: docker, nftables, bpf        (reconcile retries, bounded)
    │ ├ ContainerGone   the container ended while it was being looked at (reconcile forgets it)
    │ └ NobodyListens   no agent runs in this directory                  (plan compares with no policy)
    └ AbiError     70   a contract is broken: our bug                    (never retried)
"""

from __future__ import annotations

from dataclasses import dataclass


class EnforcerError(Exception):
    """The root: whatever the enforcer raises on purpose. ``exit_code`` is what the process ends with."""

    exit_code = 1


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a policy: where (file, 1-based line and column), at which path of the document, and why."""

    file: str
    line: int
    column: int
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.reason}"


class PolicyError(EnforcerError):
    """A policy does not load. ``problems`` holds every mistake found, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(p) for p in self.problems))


class UsageError(EnforcerError):
    """The command cannot mean anything: an unknown container, a flag that contradicts another."""

    exit_code = 2


class RefusedError(EnforcerError):
    """The enforcer refuses what a command of ours needs. The message names the rule that would grant it."""


class HostError(EnforcerError):
    """The host lacks something. The message says what, and what the operator can do."""

    exit_code = 3


class EdgeError(EnforcerError):
    """A neighbour (docker, nftables, the kernel's maps, the journal's disk) refused or went away."""

    exit_code = 4


class ContainerGone(EdgeError):  # noqa: N818 -- the name of DESIGN and STYLE
    """The container ended between the event that named it and the question about it."""


class NobodyListens(EdgeError):  # noqa: N818 -- reads as what happened, like the one above
    """There is no agent at the control socket: none has been started there, or it has ended."""


class AbiError(EnforcerError):
    """A record or a layout is not what ``probes/contract.h`` says: our bug, never retried, never guessed."""

    exit_code = 70
