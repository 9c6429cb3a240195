"""Pins on a bpffs: where they may be, and how a build's go."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from enforcer.errors import EdgeError, HostError

MARKS = "disproved"


def bpffs(path: Path) -> None:
    """Make sure that ``path`` can hold pins: a bpffs is mounted above it, or is mounted now at /sys/fs/bpf. ``HostError`` if not.

    The root of a bpffs is refused: other programs keep their pins there.
    """
    mounted = Path("/proc/self/mounts").read_text().splitlines()
    roots = [Path(line.split()[1]) for line in mounted if line.split()[2] == "bpf"]
    standard = Path("/sys/fs/bpf")
    if not any(path.is_relative_to(root) for root in roots) and path.is_relative_to(standard):
        done = subprocess.run(["mount", "-t", "bpf", "bpf", standard], capture_output=True, text=True, check=False)  # noqa: S603, S607 -- fixed words
        if done.returncode:
            raise HostError(f"cannot mount bpffs at {standard} ({done.stderr.strip()}): mount it, then start again")
    elif path in (standard, *roots):
        raise HostError(f"{path} is the root of a bpffs, where others keep pins too: choose --pins below it")
    elif not any(path.is_relative_to(root) for root in roots):
        raise HostError(f"{path} is not on a bpffs: choose --pins below {standard}")


def remove(build_: Path) -> None:
    """Remove one build's pins, links first, so that no program runs on with half its maps. Raises ``EdgeError``.

    Only what a build consists of is touched: three directories with pins in them, and marks.
    """
    try:
        mark(build_, ())
        for name in ("links", "programs", "maps"):
            unpin(build_ / name)
            with suppress(FileNotFoundError):
                (build_ / name).rmdir()
        build_.rmdir()
    except OSError as e:
        raise EdgeError(f"cannot remove the pins in {build_}: {e.strerror}") from e


def mark(build_: Path, names: Iterable[str]) -> None:
    """Keep some names with a build, and no others: bpffs has no files but pins, so each is an empty directory."""
    for old in (build_ / MARKS).glob("*"):
        old.rmdir()
    with suppress(FileNotFoundError):
        (build_ / MARKS).rmdir()
    for name in names:
        (build_ / MARKS / name).mkdir(mode=0o700, parents=True)


def marked(build_: Path) -> frozenset[str]:
    """The names that are kept with a build."""
    return frozenset(path.name for path in (build_ / MARKS).glob("*"))


def unpin(directory: Path) -> None:
    """Remove every pin in a directory; what nothing else holds goes with it, some time after."""
    for entry in directory.glob("*"):
        entry.unlink()
