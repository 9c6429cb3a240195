"""Has the clock stood, or was it set? What is removed for its age goes by a clock, and one that is ahead makes everything old."""

from __future__ import annotations

import time

AHEAD_NS = 60_000_000_000
"""A clock that goes ahead by more than this, against the time since the machine's start, was set."""

STOOD_NS = 3600 * 1_000_000_000
"""So long must it have stood before age removes anything: a wrong clock is most often found, by NTP or a person, within that."""


def since_boot() -> int:
    """Nanoseconds since the machine's start, sleep included: nobody sets this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Standing:
    """Looks at the clock from time to time. ``ahead``: by how much it was set ahead; 0 if it was not, or once that is on record."""

    def __init__(self, now_ns: int, boot_ns: int) -> None:
        self._offset, self._since = now_ns - boot_ns, boot_ns
        self.ahead = 0

    def look(self, now_ns: int, boot_ns: int) -> None:
        """The clock says ``now_ns``, ``boot_ns`` after the machine's start."""
        moved = now_ns - boot_ns - self._offset
        if abs(moved) > AHEAD_NS:
            self._offset, self._since = now_ns - boot_ns, boot_ns
            self.ahead = max(self.ahead, moved)

    def stood(self, boot_ns: int) -> bool:
        """Has the clock stood for long enough to remove by?"""
        return boot_ns - self._since >= STOOD_NS
