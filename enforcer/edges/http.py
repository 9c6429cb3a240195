"""The scrape's door: Prometheus's own HTTP server, on loopback unless told otherwise."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server

from enforcer.errors import HostError, UsageError


@dataclass(frozen=True)
class Tls:
    """PEM files. With ``client_ca`` only clients with a certificate of that authority are served."""

    certificate: str
    key: str
    client_ca: str = ""


class Scrape:
    """Listens at ``listen`` (``ADDR:PORT``, IPv6 in brackets). Register collectors with ``registry`` when they can answer."""

    def __init__(self, listen: str, tls: Tls | None = None) -> None:
        address, _, port = listen.rpartition(":")
        if not address or not port.isdigit() or not 0 < int(port) < 65536:
            raise UsageError(f"--listen {listen}: write ADDR:PORT, such as 127.0.0.1:9469 or [::1]:9469")
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        options = {"certfile": tls.certificate, "keyfile": tls.key} if tls else {}
        if tls and tls.client_ca:
            options |= {"client_cafile": tls.client_ca, "client_auth_required": True}  # type: ignore[dict-item]
        try:
            self._server, self._thread = start_http_server(
                int(port),
                addr=address.strip("[]"),
                registry=self.registry,
                **options,  # type: ignore[arg-type]
            )
        except OSError as e:
            what = "another program listens there" if e.errno == errno.EADDRINUSE else e.strerror or str(e)
            raise HostError(f"cannot listen at {listen} ({what}): choose --listen ADDR:PORT") from e

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
