"""Many flows: what one container does to the memory of flows does not change what is known of another's."""

from __future__ import annotations

from tests.kernel.test_inbound import SERVICE, knock
from tests.kernel.wire import FAR, NEAR, Wire, say

FLOWS = 131072
"""As many as map `flows` remembers (probes/maps.h)."""


def test_a_flood_of_allowed_flows_makes_nobody_forget_who_began(wire: Wire) -> None:
    """One container fills the memory of flows; another one, which may call nobody, goes on answering."""
    wire.allow("[1-65535/udp]")
    with wire.running("beta", "reply", NEAR[0], str(SERVICE)) as server:
        knock(wire)
        assert [say(server, "hear"), say(server, "x")] == ["done"] * 2
        assert wire.do("alpha", "flood", FAR[0], str(FLOWS // (1 << 16) + 1)).code == 0
        assert say(server, "x") == "done"
