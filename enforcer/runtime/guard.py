"""Keeps the egress guard in the host's packet filter: written when it changes, looked at again when anybody changes rules."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from enforcer.core.egress import Guard, guard
from enforcer.core.model import Facts, Policy
from enforcer.edges.bell import Bell
from enforcer.edges.nft_news import Changes
from enforcer.errors import EdgeError, HostError
from enforcer.runtime.isolation import Cordon
from enforcer.settings import PINS

if TYPE_CHECKING:
    from enforcer.edges.nft import Nft, Written

log = logging.getLogger(__name__)

LOOK_S = 60.0
"""The table is looked at so often even if nobody tells of a change; where the kernel tells none at all, every ``BLIND_S``."""

BLIND_S = 10.0


class Tell(Protocol):
    """Puts something on record: ``Pipeline.notice``."""

    def __call__(self, action: str, message: str, *, outcome: str = "success", **fields: str | int) -> None:
        """``action`` is a short word, ``message`` one line for a person."""


def name_of(pins: Path) -> str:
    """The table of the agent with this directory of pins: ``enforcer`` for the default one, else with a number of its own."""
    return "enforcer" if pins == PINS else f"enforcer-{_owner(pins)}"


def table_of(pins: Path) -> Nft:
    """That table, to be read and written."""
    from enforcer.edges.nft import Nft  # noqa: PLC0415 -- pyroute2's part takes 0.05 s and 4 MB: not in a start without a guard

    return Nft(name_of(pins), _owner(pins))


def remove_tables(pins: Path) -> list[str]:
    """Remove that table, and the one on devices; what has gone. A kernel without nftables has none."""
    name = name_of(pins)
    try:
        gone = {f"inet {name}": table_of(pins).remove(), f"netdev {name}": Cordon(name, _owner(pins)).table.remove()}
    except HostError:
        return []
    return [table for table, there in gone.items() if there]


def _owner(pins: Path) -> str:
    return hashlib.sha256(str(pins.absolute()).encode()).hexdigest()[:8]


class EgressGuard:
    """The table of the agent with these ``pins``. ``follow`` and ``check`` are for one thread, the rest for any.

    What cannot be written is not raised but told: ``trouble`` says it, and every look tries again.
    """

    def __init__(self, pins: Path) -> None:
        self._pins, self.name = pins, name_of(pins)
        self._tell: Tell | None = None
        self._bell = Bell()
        self._bridges: Mapping[str, str] = {}
        self._lock = threading.Lock()
        self._cordon = Cordon(self.name, _owner(pins))
        self._drops: dict[str, str] = {}  # mark of a dropping rule → network, those of networks that are free again too
        self._counted: dict[str, int] = {}  # mark → packets: what the table loses is remembered here
        self._holds = False  # whether the table held `wanted` when it was last looked at
        self._inherited: bool | None = None  # whether the table was there before this agent; None: not looked for yet
        self.wanted = Guard({}, {})
        self.trouble = ""

    @cached_property
    def _table(self) -> Nft:
        return table_of(self._pins)

    def tell_to(self, tell: Tell) -> None:
        """From now on put on record what happens, and first what is so."""
        self._tell = tell
        if self.trouble:
            self._say_trouble()

    def know(self, bridges: Mapping[str, str]) -> None:
        """Docker id of each network → the host's interface on it, "" where it has none."""
        self._bridges = bridges

    def follow(self, policy: Policy, facts: Facts, blocked: Iterable[str]) -> None:
        """Make it what it has to be now; nothing is asked of the kernel if that is what it was, or if nothing is guarded."""
        wanted = guard(policy, facts, blocked, self._bridges)
        if wanted != self.wanted or (wanted.networks and not self._holds):
            self._drops |= {rule.mark: rule.network for rule in wanted.rules if not rule.passes}
            self.wanted, self._holds = wanted, False
            self._check_table()
        self._cordon.follow(facts)

    def give_up(self) -> None:
        """A start was refused: remove the table, unless it was there before. A quarantine, which somebody ordered, stays."""
        if self._inherited is False:
            self._table.remove()

    def check(self) -> None:
        """Look whether the tables are as they have to be, and make them so."""
        self._check_table()
        if self._cordon.check():
            self._say(
                "quarantine-restored", f"somebody changed the table netdev {self.name}: it is as it has to be again"
            )

    def _check_table(self) -> None:
        try:
            if self._inherited is None:
                self._inherited = self._table.is_there()
            self._remember(self._table.read() or ())
            changed = self._table.keep(self.wanted.rules, dict(self._counted))
        except (HostError, EdgeError) as e:
            self._fails(str(e))
            return
        if changed and self._holds:
            self._say(
                "egress-guard-restored", f"somebody changed the table inet {self.name}: it is as it has to be again"
            )
        elif self.trouble:
            self._say("egress-guard-in-force", "the egress guard is in force again")
        self.trouble, self._holds = "", True

    def require(self) -> None:
        """Raise ``HostError`` unless everything that has to be guarded is."""
        for what, why in self.degraded().items():
            raise HostError(f"--require deny: {what}: {why}")

    def plain(self) -> dict[str, Any]:
        """For ``status``: the table, and what it holds with the packets that it has dropped."""
        counts = self.counts()
        return {
            "table": f"inet {self.name}",
            "holds": not self.trouble,
            "networks": [
                {"network": name, "bridge": rules[0].bridge, "dropped": counts[name]}
                for name, rules in self.wanted.networks.items()
            ],
        }

    def degraded(self) -> dict[str, str]:
        """What is not guarded although it should be → why."""
        found = {
            f"nothing is stopped from leaving network {name!r}": why for name, why in self.wanted.unguarded.items()
        }
        if self.trouble and self.wanted.networks:
            names = ", ".join(sorted(self.wanted.networks))
            found[f"the egress guard does not hold: packets may leave {names}"] = self.trouble
        return found

    def shortcomings(self) -> dict[str, str]:
        """What of ``degraded``, and of what quarantine asks for, is not held → why."""
        return {**self.degraded(), **self._cordon.degraded()}

    def counts(self) -> Counter[str]:
        """Network → packets that the table has dropped, as far back as this agent knows; every guarded network is in it."""
        found: Counter[str] = Counter(dict.fromkeys(self.wanted.networks, 0))
        try:
            self._remember(self._table.read() or ())
        except (HostError, EdgeError) as e:
            log.debug("the egress guard's counters cannot be read: %s", e)  # `trouble` says it, and what was read stays
        with self._lock:
            for mark, packets in self._counted.items():
                found[self._drops[mark]] += packets
        return found

    def run(self, stopped: Callable[[float], bool], due: Callable[[], None]) -> None:
        """Have ``due`` called (which is to ``check``) at once, whenever somebody changes rules, and now and then, until the end."""
        due()  # an earlier agent may have left what nobody wants any more
        try:
            changes = Changes()
        except HostError as e:
            log.debug("no news of rules: %s", e)
            while not stopped(BLIND_S):
                due()
            return
        while not stopped(0):
            changes.wait(LOOK_S, self._bell.fileno())
            if not stopped(0):
                due()
        changes.close()

    def wake(self) -> None:
        """End the wait of ``run``."""
        self._bell.ring()

    def _remember(self, rules: Iterable[Written]) -> None:
        with self._lock:
            for rule in rules:
                if rule.mark in self._drops:
                    self._counted[rule.mark] = max(rule.packets, self._counted.get(rule.mark, 0))

    def _fails(self, why: str) -> None:
        before, self.trouble, self._holds = self.trouble, why, False
        if why != before:
            self._say_trouble()

    def _say_trouble(self) -> None:
        if self.wanted.networks:
            self._say("egress-guard-failed", f"the egress guard does not hold: {self.trouble}")

    def _say(self, action: str, message: str) -> None:
        log.warning(message)
        if self._tell:
            outcome = "success" if action == "egress-guard-in-force" else "failure"
            self._tell(action, message, outcome=outcome, table=self.name)
