"""A bell between threads (eventfd(2)): one rings it, another waits for it beside what else it waits for, by poll(2)."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable


class Bell:
    """Rung by any thread, heard by one. It stays rung until it is hushed."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """The descriptor that can be read while the bell is rung."""
        return self._fd

    def ring(self) -> None:
        """Wake whoever waits, now or next."""
        os.eventfd_write(self._fd, 1)

    def hush(self) -> None:
        """From now on it has not been rung: look for what it was rung for after this, not before."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return  # nobody has rung

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def await_any(descriptors: Iterable[int], seconds: float | None = None) -> list[int]:
    """The descriptors that can be read, as soon as one can; none after so many ``seconds`` (None: however long it takes)."""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return [found for found, _ in waiting.poll(None if seconds is None else max(0.0, seconds) * 1e3)]
