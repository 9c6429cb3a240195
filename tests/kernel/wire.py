"""Two network namespaces and one wire: what leaves the near end is counted by nftables at the far one."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from deploy.demo.namespace import Namespace, plug
from tests.scenarios import policy

if TYPE_CHECKING:
    from tests.kernel.conftest import World


NEAR, FAR = ("203.0.113.2", "2001:db8::2"), ("203.0.113.10", "2001:db8::10")
OTHER = ("203.0.113.20", "2001:db8::20")
SCTP = 132
PROTOCOLS = {
    "tcp": "meta l4proto 6",
    "udp": "udp dport 443",
    "icmp": "icmp type echo-request",
    "icmpv6": "icmpv6 type echo-request",
    "sctp": "meta l4proto 132",
}
"""What the far end counts, in nftables' words."""

POLICY = """
version: 1
mode: {mode}
containers: {{alpha: {{name: alpha}}, beta: {{name: beta}}, watched: {{name: watched}}}}
network:
  rules:
    - who: alpha
      connect: [{{cidr: 203.0.113.10/32, ports: {ports}}}, {{cidr: "2001:db8::10/128", ports: {ports}}}]
      sockets: {sockets}
    - {{who: beta, connect: []}}
    - {{who: watched, connect: [], mode: monitor}}
"""


@dataclass
class Wire:
    """Two namespaces with one veth between them; ``far`` counts what comes from ``near``."""

    world: World
    near: Namespace
    far: Namespace
    ended: ExitStack = field(default_factory=ExitStack)

    def allow(self, ports: str = "[443/tcp]", *, sockets: str = "[]", mode: str = "enforce") -> None:
        """Put a policy in force for alpha; beta may go nowhere, watched is only watched."""
        self.world.enforce(policy(POLICY.format(ports=ports, sockets=sockets, mode=mode).encode()))

    def do(self, who: str, deed: str, *arguments: str):
        """A deed at the near end."""
        return self.world.do(who, deed, *arguments, namespace=self.near.name)

    def arrived(self) -> dict[str, int]:
        """Packets that the far end has got from the near one, by protocol."""
        listed = json.loads(self.far.run("nft", "-j", "list", "counters").out)["nftables"]
        return {c["counter"]["name"].removeprefix("n_"): c["counter"]["packets"] for c in listed if "counter" in c}

    def counted(self, who: str) -> int:
        """Attempts of a container that were counted."""
        subject = self.world.subject(who)
        return sum(n for key, n in self.world.maps.counts().items() if key[0] == subject)

    @contextmanager
    def running(self, who: str, deed: str, *arguments: str, at: Namespace | None = None) -> Iterator[subprocess.Popen]:
        """A deed that goes on, once it has said its first line; ``who`` "" for no container."""
        space = (at or self.near).name
        command = self.world.command(who or "alpha", deed, *arguments, namespace=space)
        if not who:
            command[command.index(deed) - 1] = "-"
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                assert process.stdout.readline().strip() in ("connected", "ready")
                yield process
            finally:
                process.send_signal(signal.SIGKILL)


def say(process: subprocess.Popen, word: str) -> str:
    """Have a talker send a word; what came back."""
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def packets(world: World) -> int:
    """Packets that our hooks have stopped."""
    return sum(world.maps.packets().values())


@pytest.fixture(scope="module")
def wire(world: World) -> Iterator[Wire]:
    """The wire, with everything attached."""
    if not world.probes.holds:
        world.enforce(policy())
        world.attach()
    name = f"enfw{os.getpid() % 10000}{secrets.token_hex(1)}"
    near, far = Namespace(f"{name}a"), Namespace(f"{name}b")
    with ExitStack() as ending:
        for space in (near, far):
            space.create()
            ending.callback(space.remove)
        addresses = [(f"{n}/{m}", f"{f}/{m}") for n, f, m in zip(NEAR, FAR, (24, 64), strict=True)]
        plug((near, "out"), (far, "in"), tuple(addresses))
        for address, bits in zip(OTHER, (24, 64), strict=True):
            far.run("ip", "address", "add", f"{address}/{bits}", "dev", "in", *(["nodad"] if ":" in address else []))
        near.assert_closed(own=("out",))
        counters = "".join(f"counter n_{name} {{ }}\n" for name in PROTOCOLS)
        rules = "".join(f"iifname in {match} counter name n_{name}\n" for name, match in PROTOCOLS.items())
        chain = f"chain c {{\ntype filter hook prerouting priority -300;\n{rules}}}"
        far.run("nft", f"table inet t {{\n{counters}{chain}\n}}")
        yield Wire(world, near, far)
