"""The agent's threads: each is one loop with one job. If one ends by an error, all end and the process says why.

The kernel's programs go on meanwhile: they are pinned. An agent that limped on with a dead part would pretend.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

JOIN_S = 5.0


class Supervisor:
    """Runs loops. ``stopping`` is set when all must end; every loop waits on it instead of sleeping."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failure: BaseException | None = None

    def start(self, name: str, loop: Callable[[], None]) -> None:
        """Run ``loop`` in a thread. It returns when ``stopping`` is set."""

        def guarded() -> None:
            try:
                loop()
            except BaseException as e:
                self.failure = self.failure or e
                log.exception("the %s loop failed; the agent ends, enforcement goes on", name)
                self.stopping.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def every(self, name: str, seconds: float, step: Callable[[], object], *, at_once: bool = False) -> None:
        """Run ``step`` every ``seconds`` until the end; ``at_once`` for the first time without waiting."""

        def loop() -> None:
            if at_once:
                step()
            while not self.stopping.wait(seconds):
                step()

        self.start(name, loop)

    def stop(self) -> None:
        """End every loop and wait for them, bounded."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(JOIN_S)
