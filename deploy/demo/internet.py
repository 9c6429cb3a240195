"""The only outside that the demo has: a network namespace with 203.0.113.10 and 2001:db8::10 in it.

Run as a program (in that namespace) it listens, answers one line, and records what arrived: the ground truth against
which the enforcer's word is held.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.engine import Engine
from deploy.demo.ledger import Kind, Ledger
from deploy.demo.namespace import Namespace, plug
from deploy.demo.process import Process, await_that

ADDRESS = "203.0.113.10"
ADDRESS6 = "2001:db8::10"
GREETING = b"the internet says hello\n"
MAX_RECORDS = 10_000
"""The record ends there: far more than the demo sends, and no disk is filled by a mistake."""

TCP_PORTS = (80, 443)
UDP_PORTS = (53, 443)


@dataclass(frozen=True)
class Arrival:
    """One connection or datagram that arrived: ``said`` is its first line, by which the sender names itself."""

    protocol: str
    port: int
    peer: str
    said: str


@dataclass(frozen=True)
class Internet:
    """The namespace, the interface by which the engine's namespace reaches it, the listener and its record."""

    namespace: Namespace
    outlet: str
    listener: Process
    record: Path

    def arrivals(self) -> list[Arrival]:
        """Everything that arrived so far."""
        return [Arrival(**json.loads(line)) for line in self.record.read_text().splitlines()]


def connect_internet(engine: Engine, ledger: Ledger) -> Internet:
    """Make it, plug the engine's namespace into it, and listen there."""
    space = Namespace(f"{ledger.name}net")
    outlet = f"{ledger.name}out"
    ledger.add(Kind.NAMESPACE, space.name)
    space.create()
    ledger.add(Kind.LINK, engine.namespace.name, outlet)
    addresses = (("203.0.113.1/24", f"{ADDRESS}/24"), ("2001:db8::1/64", f"{ADDRESS6}/64"))
    plug((engine.namespace, outlet), (space, "eth0"), addresses)
    record = engine.directory / "arrivals.jsonl"
    command = (sys.executable, "-m", "deploy.demo.internet", str(record))
    listener = ledger.add_process(space.start(*command, name="internet", log=engine.directory / "internet.log"))
    await_that("the internet's listener to be up", record.exists)
    engine.assert_closed(outlet)
    return Internet(namespace=space, outlet=outlet, listener=listener, record=record)


def _listeners() -> list[socket.socket]:
    sockets = []
    for family, address in ((socket.AF_INET, ADDRESS), (socket.AF_INET6, ADDRESS6)):
        for kind, ports in ((socket.SOCK_STREAM, TCP_PORTS), (socket.SOCK_DGRAM, UDP_PORTS)):
            for port in ports:
                sockets.append(listener := socket.socket(family, kind))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    listener.listen(16)
    return sockets


def _take(listener: socket.socket) -> Arrival:
    port = listener.getsockname()[1]
    if listener.type == socket.SOCK_DGRAM:
        said, peer = listener.recvfrom(256)
        return Arrival("udp", port, peer[0], _first_line(said))
    connection, peer = listener.accept()
    with connection:
        connection.settimeout(2)
        try:
            said = connection.recv(256)
            connection.sendall(GREETING)
        except OSError:  # it connected and fell silent or went away: that it connected is what counts
            said = b""
    return Arrival("tcp", port, peer[0], _first_line(said))


def _first_line(said: bytes) -> str:
    return said.partition(b"\n")[0].decode(errors="replace").strip()


def listen(record: Path) -> None:
    """Serve until ended, at most ``MAX_RECORDS`` arrivals. The record exists once everything listens."""
    with selectors.DefaultSelector() as selector:
        for listener in _listeners():
            selector.register(listener, selectors.EVENT_READ)
        with record.open("a", buffering=1) as out:
            served = 0
            while served < MAX_RECORDS:
                for key, _ in selector.select():
                    served += 1
                    out.write(json.dumps(_take(key.fileobj).__dict__) + "\n")  # type: ignore[arg-type]


if __name__ == "__main__":
    listen(Path(sys.argv[1]))
