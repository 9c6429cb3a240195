"""News of a few directories (inotify(7)): something in them has been written to its end, has come by a rename, or has gone."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from enforcer.edges.bell import Bell, await_any

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _DELETE, _MOVE_SELF = (
    0x8,
    0x40,
    0x80,
    0x200,
    0x800,
)  # include/uapi/linux/inotify.h
_MASK = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE | _MOVE_SELF
_ROOM = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)


def around(path: Path) -> tuple[Path, ...]:
    """The directories in which something happens when the file or directory at ``path`` is changed or replaced, links followed."""
    places = {path.absolute().parent, Path(os.path.realpath(path)).parent}
    return tuple(places | {path} if path.is_dir() else places)


class News:
    """Waits for what happens in directories. A host may be out of watches, or a directory gone: then ``wait`` just lasts."""

    def __init__(self) -> None:
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._bell = Bell()

    def wait(self, places: Iterable[Path], seconds: float) -> None:
        """Return when something has happened in ``places`` since this was last called, or after so many seconds, or ``wake``."""
        for place in places:  # those that are watched already stay so; others may have come to be there
            _libc.inotify_add_watch(self._fd, os.fsencode(place), ctypes.c_uint32(_MASK))
        await_any((*((self._fd,) if self._fd >= 0 else ()), self._bell.fileno()), seconds)
        with suppress(OSError):  # nothing to read
            while os.read(self._fd, _ROOM):
                pass

    def wake(self) -> None:
        """End ``wait``. Any thread may call it."""
        self._bell.ring()

    def close(self) -> None:
        """Watch nothing any more."""
        self._bell.close()
        if self._fd >= 0:
            os.close(self._fd)
