"""The outside of tests: a namespace with 203.0.113.10 and 2001:db8::10, where TCP is accepted and UDP is echoed.

Run as a program (in that namespace) it listens, and notes whatever arrives: ``tcp 443 203.0.113.1``.
"""

from __future__ import annotations

import selectors
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.engine import Engine
from deploy.demo.namespace import Namespace, plug
from deploy.demo.process import await_that

ADDRESS, ADDRESS6 = "203.0.113.10", "2001:db8::10"
PORTS = (80, 443)


@dataclass(frozen=True)
class Outside:
    """Where it notes what arrives."""

    record: Path

    def arrived(self) -> list[str]:
        """Everything that arrived so far."""
        return self.record.read_text().splitlines()


@contextmanager
def outside(engine: Engine, *, back: str) -> Iterator[Outside]:
    """Plugged into the engine's namespace, for the length of a ``with``. ``back``: the IPv6 prefix that lives behind it."""
    space = Namespace(f"{engine.name}vo")
    record, link = engine.directory / "outside", f"{engine.name}v"
    record.unlink(missing_ok=True)
    space.create()
    try:
        addresses = (("203.0.113.1/24", f"{ADDRESS}/24"), ("2001:db8::1/64", f"{ADDRESS6}/64"))
        plug((engine.namespace, link), (space, "eth0"), addresses)
        space.run("ip", "-6", "route", "add", back, "via", "2001:db8::1")
        engine.assert_closed(link)
        command = (sys.executable, "-m", __name__, str(record))
        listener = space.start(*command, name="outside", log=engine.directory / "outside.log")
        try:
            await_that("the outside to listen", record.exists)
            yield Outside(record)
        finally:
            listener.stop()
    finally:
        space.remove()


def _listeners() -> Iterator[socket.socket]:
    for family, address in ((socket.AF_INET, ADDRESS), (socket.AF_INET6, ADDRESS6)):
        for port in PORTS:
            yield socket.create_server((address, port), family=family)
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, PORTS[-1]))
        yield datagrams


def listen(record: Path) -> None:
    """Serve until ended."""
    with selectors.DefaultSelector() as selector, record.open("a", buffering=1) as out:
        for listener in _listeners():
            selector.register(listener, selectors.EVENT_READ)
        out.write("")
        while True:
            for key, _ in selector.select():
                found: socket.socket = key.fileobj  # type: ignore[assignment]
                if found.type == socket.SOCK_STREAM:
                    made, peer = found.accept()
                    made.close()
                else:
                    said, peer = found.recvfrom(2048)
                    with suppress(OSError):  # there may be no way back: that it arrived is noted all the same
                        found.sendto(said, peer)
                out.write(
                    f"{'tcp' if found.type == socket.SOCK_STREAM else 'udp'} {found.getsockname()[1]} {peer[0]}\n"
                )


if __name__ == "__main__":
    listen(Path(sys.argv[1]))
