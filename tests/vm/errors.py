"""What goes wrong around a machine, as against inside it."""

from __future__ import annotations

import shutil


class MachineError(Exception):
    """The image could not be built, or the machine did not come to the end of its script. One line, then evidence."""


def require(*tools: str) -> None:
    """Raise ``MachineError`` unless every program is there."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise MachineError(f"missing on this host: {', '.join(missing)}; run `make install`")
