"""systemd, if it started us: readiness by sd_notify(3)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str) -> None:
    """Tell systemd, if it started us (sd_notify(3)); nothing otherwise."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:  # it may be gone: so be it
        connection.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
