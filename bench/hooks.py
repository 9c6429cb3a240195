"""What the network hooks take of an allowed connect, datagram and packet: the kernel's own figures, for a run of each program.

One child in a scratch cgroup makes fresh sockets and connects them, so that each connect is an attempt that nobody remembers;
another sends on flows that are known. Destinations change from one to the next. Everything stays in the child's network namespace.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network

from bench.figure import Figure, Table
from bench.paired import BATCHES
from bench.runtime import counted, nothing, timed
from bench.scratch import Scratch, scratch
from enforcer.core.model import Attachment, Mode, NetRule, Network, Policy, Selector, ToCidr, ToNetwork
from enforcer.edges.bpf.programs import CGROUP_SKB, CGROUP_SOCK_ADDR, CONNECT4, EGRESS, SENDMSG4

MANY = 100_000
"""Prefixes that a container is granted in the dearer case, all over the address space and of all lengths from /24."""

PEERS = 20
CONNECTS, SENDS = 400, 2000

CHILD = """
import json, os, socket, struct, sys, threading
def serve():
    made = socket.create_server(("0.0.0.0", 9), backlog=64)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind(("0.0.0.0", 9))
    away = socket.create_server(("0.0.0.0", 10), backlog=64)
    threading.Thread(target=lambda: [away.accept()[0].close() for _ in iter(int, 1)], daemon=True).start()
    print(json.dumps("ready"), flush=True)
    while True:
        one, _ = made.accept()
        while one.recv(1 << 16):
            pass
if not (server := os.fork()):
    serve()
json.loads(sys.stdin.readline())
open(sys.argv[1], "w").write("0")
datagrams, streams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), {}
for line in sys.stdin:
    what, names, n = json.loads(line)
    if what == "connect":
        for i in range(n):
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.connect((names[i % len(names)], 10))
            one.close()
    elif what == "datagram":
        for i in range(n):
            datagrams.sendto(b"x", (names[i % len(names)], 9))
    else:
        one = streams.get(names[0])
        if not one:
            one = streams[names[0]] = socket.create_connection((names[0], 9))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(n):
            one.send(b"x")
    print(json.dumps("done"), flush=True)
os.kill(server, 9)
"""


def table() -> Table:
    """By the program, in nanoseconds beyond one that does nothing at the same place."""
    with world() as made, counted() as runs, ExitStack() as ending:
        few, many = (ending.enter_context(loading(made, name)) for name in ("few", "many"))
        inside, outside = addresses()
        loads: dict[str, tuple[str, int, int, Callable[[], None]]] = {
            "allowed connect, exact address": (
                *("enf_connect4", CGROUP_SOCK_ADDR, CONNECT4),
                lambda: few("connect", inside, CONNECTS),
            ),
            f"allowed connect, {MANY:,} CIDRs": (
                *("enf_connect4", CGROUP_SOCK_ADDR, CONNECT4),
                lambda: many("connect", outside, CONNECTS),
            ),
            "sendmsg of an allowed flow": (
                *("enf_sendmsg4", CGROUP_SOCK_ADDR, SENDMSG4),
                lambda: few("datagram", inside[:1], SENDS),
            ),
            "egress packet of an allowed flow, UDP": (
                *("enf_egress", CGROUP_SKB, EGRESS),
                lambda: few("datagram", inside[:1], SENDS),
            ),
            "egress packet of an allowed flow, TCP": (
                *("enf_egress", CGROUP_SKB, EGRESS),
                lambda: few("stream", inside, SENDS),
            ),
        }
        figures = []
        for name, (function, kind, attach, load) in loads.items():
            program = made.program(function)
            ending.callback(os.close, program)
            with nothing(kind, attach, made.cgroups.root / made.parent.lstrip("/")) as empty:
                found = timed({"ours": program, "nothing": empty}, runs, load, BATCHES)
            beyond = [a - b for a, b in zip(found["ours"], found["nothing"], strict=True)]
            figures.append(Figure.of(name, "ns", beyond, must=TARGETS[name][0], aim=TARGETS[name][1]))
    rows = [(f.name, f"{f.minimum:.0f}", f"{f.median:.0f}") for f in figures]
    return Table((f"beyond an empty program, {BATCHES} batches", "least ns", "median"), rows, figures)


TARGETS = {
    "allowed connect, exact address": (150, 100),
    f"allowed connect, {MANY:,} CIDRs": (350, 250),
    "sendmsg of an allowed flow": (80, 40),
    "egress packet of an allowed flow, UDP": (80, 40),
    "egress packet of an allowed flow, TCP": (80, 40),
}


def addresses() -> tuple[list[str], list[str]]:
    """Of containers on the network that ``few`` is granted; and within the prefixes that ``many`` is granted."""
    inside = [str(IPv4Address("198.51.100.10") + n) for n in range(PEERS)]
    return inside, [str(IPv4Address("198.18.0.1") + n * 256) for n in range(CONNECTS)]


def _prefixes() -> list[IPv4Network]:
    """The /24s that are connected to, and others evenly from all over, none of which holds them."""
    first = int(IPv4Address("198.18.0.0")) >> 8
    wanted = range(first, first + CONNECTS)
    others = (n * 2**24 // MANY for n in range(1, MANY))
    return [IPv4Network((n << 8, 24)) for n in (*wanted, *(n for n in others if n not in wanted))][:MANY]


def world() -> AbstractContextManager[Scratch]:
    """``few`` may connect to the containers on a network, ``many`` to a great many prefixes."""
    network = Network(f"{1:064x}", "inside", subnets=(IPv4Network("198.51.100.0/24"),))
    peers = {f"peer-{n}": (Attachment("inside", (a,)),) for n, a in enumerate(addresses()[0])}
    attachments = peers | {"few": (Attachment("inside", ("198.51.100.200",)),)}
    policy = Policy(
        Mode.ENFORCE,
        containers={name: Selector(name=name) for name in ("few", "many")},
        net_rules=(
            NetRule("few", ("few",), (ToNetwork("inside"),)),
            NetRule("many", ("many",), tuple(map(ToCidr, _prefixes()))),
        ),
    )
    return scratch(policy, containers=("few", "many", *peers), networks=(network,), attachments=attachments)


@contextmanager
def loading(made: Scratch, name: str) -> Iterator[Callable[[str, list[str], int], None]]:
    """Has a child in the container do so many of one thing, to the addresses in turn."""
    with made.child(name, CHILD) as child:
        if not child.stdin or not child.stdout:
            raise AssertionError("a child without pipes")
        said, heard = child.stdin, child.stdout

        def load(what: str, names: list[str], n: int) -> None:
            said.write(json.dumps((what, names, n)) + "\n")
            said.flush()
            heard.readline()

        heard.readline()
        said.write('""\n')
        said.flush()
        yield load
        child.stdin.close()
        child.wait(timeout=10)
