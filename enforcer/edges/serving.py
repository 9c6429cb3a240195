"""Servers that sleep until somebody asks: ``serve_forever`` of the standard library wakes twice a second, in case it shall end."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
from typing import Any

log = logging.getLogger(__name__)


class Serving(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers each request in a thread of its own, from ``begin`` until ``end``. For AF_UNIX set ``address_family``."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 16

    def begin(self, name: str) -> None:
        """Serve in a thread of that name."""
        self._ending = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ending:
            self.handle_request()

    def end(self) -> None:
        """Stop listening; whoever is being answered still is."""
        self._ending = True
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the wait for the next one, whose accept(2) then fails
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- socketserver's own
        """One asker's trouble (it went away, its handshake failed) is nobody else's. Any other error is ours, and is said."""
        theirs = isinstance(sys.exception(), OSError)  # an ssl.SSLError is one
        log.log(logging.DEBUG if theirs else logging.ERROR, "a request was not answered", exc_info=True)
