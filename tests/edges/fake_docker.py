"""An engine made of recorded answers, on a real unix socket: docker-py itself is part of what is tested."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

RECORDED = Path(__file__).parent / "recorded"


def recorded(name: str) -> Any:
    """One recorded answer."""
    return json.loads((RECORDED / f"{name}.json").read_text())


class FakeDocker:
    """Answers by path. ``asked`` lists the requests; change ``answers`` to change the world."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix://{directory}/docker.sock"
        self.asked: list[str] = []
        self.queries: list[dict[str, list[str]]] = []
        self.events: list[bytes] = [json.dumps(e).encode() + b"\n" for e in recorded("events")]
        self.stay_open = threading.Event()
        """Until it is set the event stream stays open after its last event."""
        self.answers: dict[str, tuple[int, Any]] = {
            "/version": (200, recorded("version")),
            "/info": (200, recorded("info")),
            "/networks": (200, recorded("networks")),
            "/volumes": (200, recorded("volumes")),
            "/containers/json": (200, recorded("containers")),
        }
        for container in recorded("containers"):
            name = container["Names"][0].lstrip("/")
            detail = (200, recorded(f"container-{name}"))
            self.answers |= {f"/containers/{container['Id']}/json": detail, f"/containers/{name}/json": detail}

    @contextmanager
    def serving(self) -> Iterator[FakeDocker]:
        """Serve for the length of a ``with``."""
        server = _Server(self.url.removeprefix("unix://"), _Handler)
        server.fake = self
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.stay_open.set()
            server.shutdown()
            server.server_close()
            thread.join()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    fake: FakeDocker

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        fake, url = self.server.fake, urlsplit(self.path)
        path = "/" + url.path.split("/", 2)[2] if url.path.startswith("/v1.") else url.path
        fake.asked.append(path)
        fake.queries.append(parse_qs(url.query))
        if path == "/events":
            self._stream(fake)
            return
        status, answer = fake.answers.get(path, (404, {"message": f"No such thing: {path}"}))
        body = json.dumps(answer).encode() if not isinstance(answer, bytes) else answer
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, fake: FakeDocker) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in fake.events:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.flush()
        fake.stay_open.wait()
        self.close_connection = True  # without the last chunk, as an engine that dies

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        pass
