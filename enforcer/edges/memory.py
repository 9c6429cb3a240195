"""The agent's own memory, once it is in force: what a start made and needs no longer goes back to the kernel."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Drop what nobody refers to, leave the rest alone from now on, and give free pages back (malloc_trim(3), in the GNU libc)."""
    gc.collect()
    gc.freeze()
    gc.enable()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
