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
    """Runs loops. ``stopping`` is set when all must end; every loop waits on it instead of sleeping.

    ``failed`` is called when a loop has ended by an error.
    """

    def __init__(self, failed: Callable[[], None] = lambda: None) -> None:
        self.stopping = threading.Event()
        self._failed = failed
        self._threads: list[threading.Thread] = []
        self._wakes: list[Callable[[], None]] = []
        self.failure: BaseException | None = None

    def start(self, name: str, loop: Callable[[], None], wake: Callable[[], None] = lambda: None) -> None:
        """Run ``loop`` in a thread. It returns when ``stopping`` is set; ``wake`` ends what else it may be waiting for."""

        def guarded() -> None:
            try:
                loop()
            except BaseException as e:
                self.failure = self.failure or e
                log.exception("the %s loop failed; the agent ends, enforcement goes on", name)
                self._end()
                self._failed()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        self._wakes.append(wake)
        thread.start()

    def follow(
        self, name: str, loop: Callable[[Callable[[float], bool]], None], wake: Callable[[], None] = lambda: None
    ) -> None:
        """The same for a loop that is given ``stopping.wait``: how it waits, and whether it is to end."""
        self.start(name, lambda: loop(self.stopping.wait), wake)

    def _end(self) -> None:
        self.stopping.set()
        for wake in tuple(self._wakes):
            wake()

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
        self._end()
        for thread in self._threads:
            thread.join(JOIN_S)
