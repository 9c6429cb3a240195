"""The scrape's door: Prometheus's own HTTP server, on loopback unless told otherwise."""

from __future__ import annotations

import errno
import ssl
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from enforcer.errors import HostError, UsageError


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
        self._load()

    def _files(self) -> dict[str, str]:
        files = {"--tls-cert": self.certificate, "--tls-key": self.key, "--tls-client-ca": self.client_ca}
        return {option: path for option, path in files.items() if path}

    def _load(self) -> None:
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
        except ssl.SSLError as e:
            raise HostError(f"--tls-client-ca {self.client_ca} ({_reason(e)}): name a PEM certificate") from e


def _reason(error: ssl.SSLError) -> str:
    return error.reason.lower().replace("_", " ") if error.reason else "no PEM"


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
        try:
            self._server, self._thread = start_http_server(
                int(port),
                addr=address.strip("[]"),
                registry=self.registry,
                certfile=tls.certificate if tls else None,
                keyfile=tls.key if tls else None,
                client_cafile=(tls.client_ca or None) if tls else None,
                client_auth_required=bool(tls and tls.client_ca),
            )
        except OSError as e:
            what = "another program listens there" if e.errno == errno.EADDRINUSE else e.strerror or str(e)
            raise HostError(f"cannot listen at {listen} ({what}): choose --listen ADDR:PORT") from e

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
