"""The control socket: one JSON object in, one out, a line each. Only root can reach it (0600 in a 0700 directory)."""

from __future__ import annotations

import os
import socket
import socketserver
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from enforcer.edges.directory import hold
from enforcer.edges.serving import Serving
from enforcer.errors import AbiError, EdgeError, EnforcerError, HostError, NobodyListens, UsageError

TIMEOUT_S = 10
LONGEST = 1 << 16

REFUSALS: Mapping[object, type[EnforcerError]] = MappingProxyType(
    {error.exit_code: error for error in (EnforcerError, UsageError, HostError, EdgeError, AbiError)}
)
"""An answer's ``exit_code`` → what ``ask`` raises: the agent's refusals end a command as if it had refused itself."""

Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""Answers a request, in which ``uid`` is what the kernel says of who asks (SO_PEERCRED, unix(7)), whatever the asker says."""

CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""


class _Server(Serving):
    address_family = socket.AF_UNIX
    allow_reuse_address = False


class Control:
    """Serves ``answer`` at ``path`` in a thread of its own until ``close``.

    Raises ``HostError`` if it cannot listen, or if another agent does: the directory is locked as long as one serves there.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        class Handler(socketserver.StreamRequestHandler):
            timeout = TIMEOUT_S

            def handle(self) -> None:
                uid = _uid_of(self.connection)
                answered = _answered(lambda asked: answer({**asked, "uid": uid}), self.rfile.readline(LONGEST))
                self.wfile.write(msgspec.json.encode(answered) + b"\n")

        self._path = path
        self._held = hold(path.parent, "--run")
        try:
            path.unlink(missing_ok=True)
            self._server = _Server(str(path), Handler)  # type: ignore[arg-type]  # AF_UNIX has a path
            path.chmod(0o600)  # until here the directory's 0700 keeps others out
        except OSError as e:
            os.close(self._held)
            raise HostError(f"cannot listen at {path} ({e.strerror or e}): choose --run elsewhere") from e
        self._server.begin("control")

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._server.end()
        self._path.unlink(missing_ok=True)
        os.close(self._held)


def _uid_of(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(raw)
    return int(uid)


def _answered(answer: Answer, line: bytes) -> dict[str, Any]:
    try:
        return answer(msgspec.json.decode(line, type=dict[str, Any]))
    except msgspec.DecodeError as e:
        return {"error": f"not a request: {e}", "exit_code": UsageError.exit_code}
    except EnforcerError as e:
        return {"error": str(e), "exit_code": e.exit_code}


def ask(path: Path, request: dict[str, Any], *, seconds: float = TIMEOUT_S) -> dict[str, Any]:
    """The agent's answer to one request, which may take so many ``seconds``.

    Raises ``NobodyListens`` where no agent is, ``EdgeError`` for one that does not answer, and for one that refuses the
    error that ``REFUSALS`` has for its exit code, with its own words.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            line = connection.makefile("rb").readline()
    except OSError as e:
        kind = NobodyListens if isinstance(e, ConnectionRefusedError | FileNotFoundError) else EdgeError
        raise kind(
            f"no agent answers at {path} ({e.strerror or e}): is `enforcer run` running, with this --run?"
        ) from e
    try:
        answer = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as e:
        raise EdgeError(f"the agent at {path} broke off its answer: has it just stopped?") from e
    if "error" in answer:
        raise REFUSALS.get(answer.get("exit_code"), EdgeError)(answer["error"])
    return answer
