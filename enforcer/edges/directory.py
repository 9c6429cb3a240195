"""Directories that only root may look into."""

from __future__ import annotations

from pathlib import Path

from enforcer.errors import HostError


def private(path: Path, option: str) -> Path:
    """Make ``path`` and those above it where they are missing, mode 0700. Raises ``HostError`` naming the option to change."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise HostError(f"cannot make {path} ({e.strerror}): run as root, or choose {option} elsewhere") from e
    return path
