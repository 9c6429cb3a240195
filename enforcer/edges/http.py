"""The scrape's door: Prometheus's text format over HTTP, on loopback unless told otherwise."""

from __future__ import annotations

import errno
import socket
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from enforcer.edges.exposition import CONTENT_TYPE, exposition
from enforcer.edges.memory import uncollected
from enforcer.edges.serving import Serving
from enforcer.errors import HostError, UsageError

if TYPE_CHECKING:
    import ssl

TIMEOUT_S = 30
QUICK = 1
"""How hard zlib tries: the text is a tenth of its size then, and better costs ten times as much."""


@dataclass(frozen=True)
class Tls:
    """PEM files. With ``client_ca`` only clients with a certificate of that authority are served."""

    certificate: str
    key: str
    client_ca: str = ""

    def check(self) -> None:
        """Raises ``HostError``, naming the option, if a file cannot be read or is not what it should be."""
        for option, path in self._files().items():
            try:
                Path(path).read_bytes()
            except OSError as e:
                raise HostError(f"cannot read {option} {path} ({e.strerror or e}): name a PEM file") from e
        self.context()

    def _files(self) -> dict[str, str]:
        files = {"--tls-cert": self.certificate, "--tls-key": self.key, "--tls-client-ca": self.client_ca}
        return {option: path for option, path in files.items() if path}

    def context(self) -> ssl.SSLContext:
        """What a server wraps its connections in. Raises ``HostError``."""
        import ssl  # noqa: PLC0415 -- 4 MB, which an agent without TLS need not carry

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # a key that wants a pass phrase is refused, else OpenSSL would wait for one at the terminal
            context.load_cert_chain(self.certificate, self.key, password=str)
        except ssl.SSLError as e:
            what = f"--tls-cert {self.certificate} with --tls-key {self.key}"
            raise HostError(f"{what} ({_reason(e)}): name a PEM certificate and its key without a pass phrase") from e
        try:
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except ssl.SSLError as e:
            raise HostError(f"--tls-client-ca {self.client_ca} ({_reason(e)}): name a PEM certificate") from e
        return context


def _reason(error: ssl.SSLError) -> str:
    return error.reason.lower().replace("_", " ") if error.reason else "no PEM"


class _Door(Serving):
    """``registry``: what is asked for; ``context``: what connections are wrapped in, None for plain HTTP."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, context: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.registry, self._context = registry, context
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- socketserver's own
        """In the connection's own thread: who is slow to shake hands keeps nobody waiting."""
        request.settimeout(TIMEOUT_S)
        if not self._context:
            return super().finish_request(request, client_address)
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Door

    def do_GET(self) -> None:
        """Everything, whatever the path."""
        with uncollected():
            text = exposition(self.server.registry)
        packed = "gzip" in (self.headers.get("Accept-Encoding") or "")
        if packed:
            packing = zlib.compressobj(QUICK, wbits=16 + zlib.MAX_WBITS)  # zlib.h: 16 for gzip's header
            text = packing.compress(text) + packing.flush()
        self.send_response(200)
        self.send_header("Content-Type", CONTENT_TYPE)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401 -- http.server's own
        """Scrapes are no news."""


class Scrape:
    """Listens at ``listen`` (``ADDR:PORT``, IPv6 in brackets). Register collectors with ``registry`` when they can answer.

    Raises ``UsageError`` for what is no such address, ``HostError`` if it cannot listen there or not with these files.
    """

    def __init__(self, listen: str, tls: Tls | None = None) -> None:
        address, _, port = listen.rpartition(":")
        if not address or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"--listen {listen}: write ADDR:PORT, such as 127.0.0.1:9469 or [::1]:9469")
        if tls:
            tls.check()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        context = tls.context() if tls else None
        try:
            self._server = _Door((address.strip("[]"), int(port)), self.registry, context)
        except OSError as e:
            what = "another program listens there" if e.errno == errno.EADDRINUSE else e.strerror or str(e)
            raise HostError(f"cannot listen at {listen} ({what}): choose --listen ADDR:PORT") from e
        self._server.begin("scrape")

    def close(self) -> None:
        """Stop listening."""
        self._server.end()
