"""The self-test: the canary, run every minute and when asked. What it finds is said loudly; what was detached is attached again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from enforcer.errors import EnforcerError
from enforcer.runtime.proof import Finding, Proof

log = logging.getLogger(__name__)

FIRST_S = 10.0
"""How long a question waits for the first check."""


class Notify(Protocol):
    """Puts something on record: ``runtime.pipeline.Pipeline.notice``."""

    def __call__(self, action: str, message: str, *, outcome: str = "success", **fields: str | int) -> None:
        """One notice."""


@dataclass(frozen=True)
class Check:
    """One self-test: what was found, and for each hold group that was attached again, whether it holds now."""

    finding: Finding
    reattached: Mapping[str, bool]


class SelfTest:
    """Keeps what the last check found. ``run`` is the canary; ``reattach`` attaches hold groups anew and says which it could."""

    def __init__(
        self, *, run: Callable[[], Finding], reattach: Callable[[Collection[str]], Collection[str]], notify: Notify
    ) -> None:
        self._run, self._reattach, self._notify = run, reattach, notify
        self._checking = threading.Lock()
        self._finding = Finding({"canary": "it has not run yet"})
        self._ran = threading.Event()
        self.time = 0.0

    @property
    def finding(self) -> Finding:
        """What the last check found. A start that adopts does not wait for the first one: who asks meanwhile does, bounded."""
        self._ran.wait(FIRST_S)
        return self._finding

    def check(self) -> Check:
        """Run the canary now. Any thread may ask; checks come one after the other.

        What failed stays failed until the next check, even if it could be mended: a scrape must have the time to see it.
        """
        with self._checking:
            before, self._finding = self._finding, self._look()
            self._tell(before.failures if self.time else {})
            self.time = time.time()
            self._ran.set()
            return Check(self._finding, self._mend())

    def _look(self) -> Finding:
        try:
            return self._run()
        except EnforcerError as e:
            return Finding({"canary": str(e)})

    def _tell(self, before: Mapping[str, str]) -> None:
        for group, what in self._finding.failures.items():
            log.critical("the self-test failed: %s: %s", group, what)
        if self._finding.failures and self._finding.failures != before:
            self._notify("selftest-failed", _line(self._finding.failures), outcome="failure")
        if self._finding.success and before:
            log.warning("the self-test passes again")
            self._notify("selftest-passed", "what did not hold holds again")

    def _mend(self) -> dict[str, bool]:
        """What was not stopped may have been detached behind our back: attach it anew, once, and look."""
        open_ = [p.group for p in self._finding.proofs if p.stopped is False]
        done = self._reattach(open_) if open_ else ()
        if not done:
            return {}
        failures = self._look().failures
        held = {group: group not in failures for group in done}
        for group, holds in held.items():
            what = f"{group} was found detached and is attached again; it {'holds' if holds else 'still does not hold'}"
            log.critical(what)
            self._notify("probe-reattached", what, outcome="success" if holds else "failure", group=group)
        return held


def _line(failures: Mapping[str, str]) -> str:
    return "; ".join(f"{group}: {what}" for group, what in failures.items())


def plain(check: Check) -> dict[str, Any]:
    """A check as the control socket hands it out."""
    return {
        "success": check.finding.success,
        "failures": dict(check.finding.failures),
        "reattached": dict(check.reattached),
        "groups": [_plain(proof) for proof in check.finding.proofs],
    }


def _plain(proof: Proof) -> dict[str, Any]:
    return {
        "group": proof.group,
        "mechanism": proof.mechanism.name.lower() if proof.mechanism else "none",
        "stopped": proof.stopped,
        "counted": proof.counted,
        "recorded": proof.recorded,
        "failed": proof.failed,
        "why": proof.why,
    }
