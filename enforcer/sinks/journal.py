"""The sink that keeps the evidence. A disk that fails stops the log, not the enforcement, and every loss is counted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from enforcer.core.event import Event, Notice
from enforcer.core.model import Verdict
from enforcer.errors import EdgeError

VIOLATIONS = "journal"
"""The cause under which violations that reached the agent but not the disk are counted."""

NOTICES = "journal-notice"
"""The cause under which the agent's own notices that did not reach the disk are counted."""

_LOG = logging.getLogger(__name__)


class Log(Protocol):
    """What the sink writes to: ``enforcer.edges.journal.Journal``."""

    @property
    def mark(self) -> str:
        """The mark that was committed last."""

    def append(self, batch: Sequence[Event | Notice], *, mark: str = "") -> int:
        """Commit the whole batch and the mark, or raise ``EdgeError`` with nothing of it kept."""

    def close(self) -> None:
        """Let it go."""


class JournalSink:
    """Takes batches for ``journal`` and owns it. Used by one thread; ``lost`` may be read by any."""

    def __init__(self, journal: Log) -> None:
        self._journal = journal
        self._lost = {VIOLATIONS: 0, NOTICES: 0}
        self._unsaid: Mapping[str, int] = {}  # what was lost before the failure that goes on now, while one does

    @property
    def lost(self) -> Mapping[str, int]:
        """What never reached the disk since the start, by cause: violations (each record's ``count``) and notices."""
        return dict(self._lost)

    @property
    def mark(self) -> str:
        """What was last committed as a mark, by this run or one before it; empty if nothing was."""
        return self._journal.mark

    def write(self, batch: Sequence[Event | Notice], mark: str = "") -> bool:
        """Commit the batch with its mark, or count it as lost; never raises for the disk's sake. After a loss it says how much.

        Whether it is committed: who keeps allowed accesses until then need not have them counted here.
        """
        if not batch:
            return True
        try:
            self._journal.append([*self._recovery(batch[0].time_ns), *batch], mark=mark)
        except EdgeError as e:
            self._lose(batch, e)
            return False
        self._recovered()
        return True

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _lose(self, batch: Sequence[Event | Notice], error: EdgeError) -> None:
        if not self._unsaid:
            self._unsaid = self.lost
            _LOG.error("%s; enforcement goes on, what is lost is counted", error)
        violations = (item for item in batch if isinstance(item, Event) and item.verdict is not Verdict.ALLOWED)
        self._lost[VIOLATIONS] += sum(item.count for item in violations)
        self._lost[NOTICES] += sum(isinstance(item, Notice) for item in batch)

    def _recovered(self) -> None:
        if self._unsaid:
            _LOG.warning("the journal is written again; %d violations were not recorded", self._since(VIOLATIONS))
            self._unsaid = {}

    def _recovery(self, time_ns: int) -> list[Notice]:
        if not self._unsaid:
            return []
        violations, notices = self._since(VIOLATIONS), self._since(NOTICES)
        message = f"the journal could not be written: {violations} violations and {notices} notices are missing here"
        fields = {"violations": violations, "notices": notices}
        return [Notice(0, time_ns, "journal-resumed", message, outcome="failure", fields=fields)]

    def _since(self, cause: str) -> int:
        return self._lost[cause] - self._unsaid[cause]
