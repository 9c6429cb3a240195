"""A file that is there whole or not at all, for root alone: evidence must not be half of it, nor be read by everyone."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from enforcer.errors import EdgeError, UsageError

STANDARD = Path("-")
"""The name that stands for standard output."""


@contextmanager
def outfile(path: Path) -> Iterator[BinaryIO]:
    """Open ``path`` for writing; what is written takes its place, mode 0600, once the block ends without an error.

    Raises ``UsageError`` for what is there and is no regular file, and where there is no such directory; ``EdgeError``
    if it cannot be written. Where the reader of standard output goes away (``| head``) the block ends, quietly.
    """
    if path == STANDARD:
        with _standard() as file:
            yield file
        return
    _refuse_special(path)
    try:
        with _temporary(path) as (file, name):
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(name).replace(path)
    except OSError as e:
        raise EdgeError(f"{path} cannot be written: {e.strerror}") from e


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """Beside ``path``, since a rename is atomic on one filesystem only. Gone in the end, unless it has been renamed."""
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".part", dir=path.parent)
    except FileNotFoundError as e:
        raise UsageError(f"there is no directory {path.parent}") from e
    try:
        with os.fdopen(fd, "wb") as file:
            yield file, name
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _refuse_special(path: Path) -> None:
    """A rename would replace a device, a pipe or a socket by a file: no more /dev/null on this host."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as e:
        raise UsageError(f"{path} cannot be looked at: {e.strerror}") from e
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no regular file; - means standard output")


@contextmanager
def _standard() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as e:
        discard_output()
        raise EdgeError(f"standard output cannot be written: {e.strerror}") from e


def discard_output() -> None:
    """What standard output still holds goes nowhere: else the interpreter would complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
