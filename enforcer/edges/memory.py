"""The agent's own memory, once it is in force: what a start made and needs no longer goes back to the kernel."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Whoever makes a million rows makes no garbage, and looking for it among them takes longer than making them."""
    looking = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looking:
            gc.enable()


def settle() -> None:
    """Drop what nobody refers to, leave the rest alone from now on, and give free pages back (malloc_trim(3), in the GNU libc)."""
    gc.collect()
    gc.freeze()
    gc.enable()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
