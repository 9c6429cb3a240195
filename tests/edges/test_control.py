"""The control socket: one request, one answer, for root only."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from enforcer.edges.control import Control, ask
from enforcer.errors import AbiError, EdgeError, EnforcerError, HostError, NobodyListens, UsageError

REFUSALS = {error.__name__: error for error in (EnforcerError, UsageError, HostError, EdgeError, AbiError)}


def answer(request: dict[str, object]) -> dict[str, object]:
    """Says what it was asked; refuses some requests."""
    if request.get("command") == "refuse":
        raise REFUSALS[str(request["as"])]("not that")
    return {"asked": request}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """A socket that answers."""
    control = Control(tmp_path / "control.sock", answer)
    yield tmp_path / "control.sock"
    control.close()


def test_request_and_answer(served: Path) -> None:
    """What is asked arrives, and the answer comes back, also for several one after the other."""
    assert ask(served, {"command": "a"}) == {"asked": {"command": "a", "uid": 0}}
    assert ask(served, {"command": "b", "x": [1]}) == {"asked": {"command": "b", "x": [1], "uid": 0}}


def test_who_asks_is_the_kernels_word(served: Path) -> None:
    """The uid is that of the process at the other end, also if it says that it is another's."""
    assert ask(served, {"command": "a", "uid": 1000}) == {"asked": {"command": "a", "uid": 0}}
    served.chmod(0o666)
    served.parent.chmod(0o711)
    program = (
        "import os; from pathlib import Path; from enforcer.edges.control import ask; os.setuid(65534); "
        "print(ask(Path('control.sock'), {'uid': 0}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=served.parent, capture_output=True, text=True
    )
    assert done.stdout == "{'asked': {'uid': 65534}}\n", done.stderr


def test_only_root_may_ask(served: Path) -> None:
    """The socket is 0600 from the first moment."""
    assert stat.S_IMODE(served.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", REFUSALS)
def test_errors_cross_the_socket(served: Path, name: str) -> None:
    """What the agent refuses is raised to whoever asked, in the agent's words, and ends a command with the same code."""
    with pytest.raises(EnforcerError, match="not that") as refused:
        ask(served, {"command": "refuse", "as": name})
    assert type(refused.value) is REFUSALS[name]


def test_garbage_is_answered(served: Path) -> None:
    """What is no request gets an error, and the next request is served."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(served))
        connection.sendall(b"\xff{nonsense\n")
        assert b"not a request" in connection.makefile("rb").readline()
    assert ask(served, {"command": "a"}) == {"asked": {"command": "a", "uid": 0}}


def test_nobody_there(tmp_path: Path) -> None:
    """Without an agent the error says so and what to look at."""
    with pytest.raises(NobodyListens, match="is `enforcer run` running"):
        ask(tmp_path / "control.sock", {"command": "status"})


def test_a_killed_agents_socket(tmp_path: Path) -> None:
    """A socket that nobody listens at any more is nobody, too."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(NobodyListens):
        ask(tmp_path / "control.sock", {"command": "status"})


def test_an_agent_that_breaks_off(tmp_path: Path) -> None:
    """Somebody listens, but there is no answer: that is not the same as nobody."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        ending = threading.Thread(target=lambda: _read_and_close(listener))
        ending.start()
        with pytest.raises(EdgeError, match="broke off") as broken:
            ask(tmp_path / "control.sock", {"command": "status"})
        ending.join()
    assert not isinstance(broken.value, NobodyListens)


def _read_and_close(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        lines.readline()


def test_a_place_that_cannot_be(tmp_path: Path) -> None:
    """A socket path that is too long, or in no directory, is refused with the option to change."""
    for path in (tmp_path / ("x" * 120), tmp_path / "missing" / "control.sock"):
        with pytest.raises(HostError, match="--run"):
            Control(path, answer)


def test_a_dead_agents_socket_is_taken_over(tmp_path: Path) -> None:
    """A socket that a killed agent left behind does not stop the next one; after close none is left."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    control = Control(path, answer)
    assert msgspec.json.encode(ask(path, {"command": "a"}))
    control.close()
    assert not path.exists()
