"""What the engine's clients raise, ours and docker-py with requests and urllib3 beneath it: turned into our errors in one place."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from enforcer.errors import EdgeError

KNOCK_SECONDS = 20
"""How long an engine may take to accept a connection."""


class Refused(Exception):  # noqa: N818 -- reads as what is so
    """The engine answers our own client with an error; the text is its own."""


class NotKnown(Refused):
    """It knows no such thing."""


_NOT_UNDERSTOOD = (KeyError, TypeError, AttributeError, ValueError, msgspec.DecodeError)
"""What taking an answer apart raises if it has not the shape of the API: it is said, and never guessed at."""


def _missing() -> tuple[type[Exception], ...]:
    """What says that the engine knows no such thing. docker-py's only if somebody has loaded it: who has not, raises none."""
    if "docker" not in sys.modules:
        return (NotKnown,)
    from docker.errors import NotFound  # noqa: PLC0415 -- as above

    return (NotKnown, NotFound)


def _foreign() -> tuple[type[Exception], ...]:
    """Everything else that a client raises."""
    own = (Refused, http.client.HTTPException, json.JSONDecodeError, OSError)
    if "docker" not in sys.modules:
        return own
    import requests  # noqa: PLC0415 -- as above
    import urllib3  # noqa: PLC0415
    from docker.errors import DockerException, StreamParseError  # noqa: PLC0415

    # a stream that ends in the middle of an event; docker-py derives it from RuntimeError
    return (*own, DockerException, StreamParseError, requests.RequestException, urllib3.exceptions.HTTPError)


@contextmanager
def asking(what: str, gone: type[EdgeError] = EdgeError) -> Iterator[None]:
    """The one place where a foreign error becomes ours: ``gone`` if the engine knows no such thing, else EdgeError."""
    try:
        yield
    except _missing() as e:
        raise gone(f"docker: {what}: {_reason(e)}") from e
    except _foreign() as e:
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
    said = getattr(error, "explanation", None) or str(error)
    return " ".join(str(said).split())
