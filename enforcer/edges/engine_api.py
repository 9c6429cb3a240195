"""The questions that the agent asks of Docker's Engine API, over a unix socket and by the standard library.

docker-py with what it is built on takes 15 MB and 0.15 s to import, and 2 ms of the processor for each question; an agent that
asks about every container at each change of the policy cannot spend that. The names are docker-py's, which answers at any other
address, and whatever is to be changed in an engine. Raises what ``docker_errors.asking`` turns into our errors.
"""

from __future__ import annotations

import http.client
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from enforcer.edges.docker_errors import NotKnown, Refused

_IDLE = 4
"""Connections that are kept for the next question: as many as there are threads that ask."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path, self._seconds = path, seconds

    def connect(self) -> None:
        """To the socket; the host's name is never looked up."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self._seconds)
        self.sock.connect(self._path)

    def __del__(self) -> None:
        """Who forgets an engine leaves no connection to it."""
        self.close()


class EventStream:
    """One JSON object a line, until the engine goes away; ``close`` from any thread ends a wait."""

    def __init__(self, connection: _Connection, answer: http.client.HTTPResponse, door: socket.socket) -> None:
        self._connection, self._answer, self._door = connection, answer, door

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        with ExitStack() as ending:
            ending.callback(self.close)
            line = self._answer.readline()
            if not line:
                raise StopIteration
            found: dict[str, Any] = msgspec.json.decode(line)
            ending.pop_all()
        return found

    def close(self) -> None:
        """Who waits in ``next`` finds the stream at its end."""
        with suppress(OSError):  # the engine was first
            self._door.shutdown(socket.SHUT_RDWR)  # wakes the reader, who holds what is closed next
        self._answer.close()
        self._connection.close()
        self._door.close()


class EngineApi:
    """The engine at the unix socket ``path``, in the newest version of its API. Any thread may ask; ``seconds``: for an answer."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._idle: deque[_Connection] = deque()
        self._prefix = ""
        self._prefix = f"/v{self._get('/version')['ApiVersion']}"

    def info(self) -> dict[str, Any]:
        """The engine itself."""
        return self._get("/info")  # type: ignore[no-any-return]

    def containers(self, *, all: bool) -> list[dict[str, Any]]:
        """The listing; ``all``: stopped ones, too."""
        return self._get("/containers/json", all=int(all))  # type: ignore[no-any-return]

    def inspect_container(self, container: str) -> dict[str, Any]:
        """One container, by id or name."""
        return self._get(f"/containers/{quote(container, safe='')}/json")  # type: ignore[no-any-return]

    def networks(self) -> list[dict[str, Any]]:
        """Every network."""
        return self._get("/networks")  # type: ignore[no-any-return]

    def volumes(self) -> dict[str, Any]:
        """Every volume."""
        return self._get("/volumes")  # type: ignore[no-any-return]

    def events(self, *, since: str | None, filters: Mapping[str, Sequence[str]]) -> EventStream:
        """What happens from now on, or from ``since`` on."""
        asked = {"filters": msgspec.json.encode(filters).decode(), **({} if since is None else {"since": since})}
        connection = _Connection(self._path, self._seconds)
        with ExitStack() as failing:
            failing.callback(connection.close)
            connection.connect()
            door = connection.sock
            answer = self._asked(connection, "/events", asked)
            door.settimeout(None)
            failing.pop_all()
        return EventStream(connection, answer, door)

    def close(self) -> None:
        """Give the connections back."""
        while self._idle:
            self._idle.pop().close()

    def _get(self, path: str, **asked: str | int) -> Any:  # noqa: ANN401 -- what the engine says
        """The engine may have closed a connection that was idle: then once more, by a new one."""
        with suppress(IndexError):
            kept = self._idle.pop()
            with suppress(ConnectionError, http.client.BadStatusLine):
                return self._answered(kept, path, asked)
        return self._answered(_Connection(self._path, self._seconds), path, asked)

    def _answered(self, connection: _Connection, path: str, asked: Mapping[str, str | int]) -> Any:  # noqa: ANN401 -- as above
        with ExitStack() as failing:
            failing.callback(connection.close)
            body = self._asked(connection, path, asked).read()
            failing.pop_all()
        self._keep(connection)
        return msgspec.json.decode(body)

    def _keep(self, connection: _Connection) -> None:
        if len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def _asked(self, connection: _Connection, path: str, asked: Mapping[str, str | int]) -> http.client.HTTPResponse:
        query = f"?{urlencode(asked)}" if asked else ""
        connection.request("GET", f"{self._prefix}{path}{query}")
        answer = connection.getresponse()
        if answer.status >= 400:
            raise (NotKnown if answer.status == 404 else Refused)(_message(answer))
        return answer


def _message(answer: http.client.HTTPResponse) -> str:
    """Why not: the engine's own words, or the status if there are none."""
    try:
        found = msgspec.json.decode(answer.read(), type=dict[str, Any]).get("message")
    except msgspec.DecodeError:
        found = None
    return str(found or f"{answer.status} {answer.reason}")
