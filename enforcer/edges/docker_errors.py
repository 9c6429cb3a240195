"""What docker-py, and requests and urllib3 beneath it, raise: turned into our errors in one place."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound, StreamParseError

from enforcer.errors import EdgeError

KNOCK_SECONDS = 20
"""How long an engine may take to accept a connection."""

_FOREIGN = (
    DockerException,
    StreamParseError,  # a stream that ends in the middle of an event; docker-py derives it from RuntimeError
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    json.JSONDecodeError,
    OSError,
)

_NOT_UNDERSTOOD = (KeyError, TypeError, AttributeError, ValueError)
"""What taking an answer apart raises if it has not the shape of the API: it is said, and never guessed at."""


@contextmanager
def asking(what: str, gone: type[EdgeError] = EdgeError) -> Iterator[None]:
    """The one place where a foreign error becomes ours: ``gone`` if the engine knows no such thing, else EdgeError."""
    try:
        yield
    except NotFound as e:
        raise gone(f"docker: {what}: {_reason(e)}") from e
    except _FOREIGN as e:
        raise EdgeError(f"docker: {what}: {_reason(e)}") from e
    except _NOT_UNDERSTOOD as e:
        raise EdgeError(f"docker: {what}: the engine's answer is not understood ({type(e).__name__}: {e})") from e


def knock(url: str) -> None:
    """Connect once ourselves: docker-py leaks the socket of a connection that fails."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(KNOCK_SECONDS)
            door.connect(url.removeprefix("unix://"))


def _reason(error: Exception) -> str:
    said = error.explanation if isinstance(error, APIError) and error.explanation else str(error)
    return " ".join(str(said).split())
