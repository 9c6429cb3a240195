"""``verify network`` asks the running agent whom an operator has cut off; without an agent there is nobody."""

from __future__ import annotations

from enforcer.cli.verify import quarantined
from enforcer.edges.control import Control
from enforcer.settings import Settings


def test_the_running_agent_is_asked(tmp_path):
    """By its control socket, for what `status` shows."""
    status = {"quarantined": [{"id": "a" * 64, "container": "guest"}]}
    control = Control(Settings(run=tmp_path).socket, lambda request: status if request["command"] == "status" else {})
    try:
        assert quarantined(tmp_path) == {"a" * 64}
    finally:
        control.close()
    assert quarantined(tmp_path) == frozenset()
