"""systemd, if it started us: readiness by sd_notify(3)."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell systemd, if it started us (sd_notify(3)); nothing otherwise."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
