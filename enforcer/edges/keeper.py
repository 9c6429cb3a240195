"""Seals and removes segments beside the writer, in a thread of its own, in steps that leave the writer its turn."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from enforcer.edges.seal import discard, tidy
from enforcer.errors import EdgeError, UsageError

_REST = 3
_LONGEST_REST = 0.1  # seconds


class _StoppedError(Exception):
    """The journal lets its directory go."""


@dataclass(frozen=True)
class _Order:
    current: Path
    remove: tuple[Path, ...]


class Keeper:
    """Works while its journal holds the directory; ``trouble`` is why the last work could not be done, empty if it could.

    Its thread has the writer's priority: a lower one could be kept from the processor while it holds the interpreter, and the
    writer with it. Instead it rests after each step for three times as long as the step took.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._remove: list[Path] = []  # what could not be removed yet stays here
        self._done: set[Path] = set()
        self._began = 0.0
        self.trouble = ""

    def order(self, current: Path, remove: Sequence[Path] = ()) -> None:
        """Remove what is said, seal the rest but ``current``; soon."""
        self._orders.put(_Order(current, tuple(remove)))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="journal-keeper", daemon=True)
            self._thread.start()

    def settle(self) -> None:
        """Finish what was ordered, then stop."""
        self._orders.put(None)
        if self._thread:
            self._thread.join()

    def stop(self) -> None:
        """Stop within a step; what is unfinished is done at the next start."""
        self._stopping.set()
        self.settle()

    def _run(self) -> None:
        while order := self._orders.get():
            try:
                self._began = time.monotonic()
                kept = self._discarded([*self._remove, *order.remove])
                self.trouble = tidy(self._directory, order.current, self._done, self._step) or kept
            except _StoppedError:
                return
            except (OSError, EdgeError, UsageError) as e:
                self.trouble = str(e)

    def _discarded(self, segments: Sequence[Path]) -> str:
        """Remove what can be removed; why the first that could not is there still, nothing if all are gone."""
        troubles, self._remove = [], []
        for segment in segments:
            try:
                discard(segment)
            except OSError as e:
                troubles.append(str(e))
                self._remove.append(segment)
        return troubles[0] if troubles else ""

    def _step(self) -> None:
        now = time.monotonic()
        if self._stopping.wait(min(_REST * (now - self._began), _LONGEST_REST)):
            raise _StoppedError
        self._began = time.monotonic()
