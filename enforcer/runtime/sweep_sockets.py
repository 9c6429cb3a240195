"""The sweep's look at raw and packet sockets that a container made before it was governed, or before its rules took them away.

A raw one is cut off by the kernel's programs, which drop whatever it sends and gets from then on. A packet socket passes no hook
of a cgroup, and the kernel lets nobody end one: it is recorded as observed, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from enforcer import abi
from enforcer.core.decide import NetJudgement, judge_socket
from enforcer.core.ids import Reserved
from enforcer.core.model import Verdict
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.procfs import Procfs
from enforcer.edges.rawsockets import RAW, RawSocket, RawSockets
from enforcer.errors import HostError
from enforcer.runtime.look import Look, record_of
from enforcer.runtime.owners import Owner, Owners

NO_END = "the kernel ends no packet socket: restart the container, or quarantine it"

CROWDED = "there are more than are remembered: restart the container, or quarantine it"

PEERS = {"raw": Reserved.RAW_SOCKET, "packet": Reserved.PACKET_SOCKET}


class SocketSweep:
    """Looks at the namespaces that it is given, one at a time. ``maps`` are the sweep's."""

    def __init__(self, maps: Maps) -> None:
        self._maps, self._sockets, self._procfs = maps, RawSockets(), Procfs()
        self._cookies: dict[bytes, str] = {}  # what was cut in this look, and whose it is

    def look(self, pid: int, owners: Owners, look: Look, stands: Callable[[Look], bool]) -> Iterator[abi.CEvent]:
        """Judge what is in the namespace of a process, and cut what the policy does not allow; the records to report.

        ``stands`` says whether the maps still hold what is judged by. Raises ``ContainerGone``, ``EdgeError``.
        """
        found = [(s, owner) for s in self._sockets.all(pid) if (owner := owners.holding(s.inode))]
        if found and stands(look):
            namespace = self._procfs.network(pid)
            self._cookies = {}
            for socket, owner in found:
                if record := self._judge(socket, owner, namespace, look):
                    yield record
            for key, name in self._cookies.items():  # those that came after may have pushed out those before
                if not self._maps.row("cut", key, abi.FlowValue):
                    look.failures[f"raw sockets that {name} had before the policy are not all cut off"] = CROWDED

    def _judge(self, socket: RawSocket, owner: Owner, namespace: int, look: Look) -> abi.CEvent | None:
        image = look.snapshot.image
        judged = judge_socket(image, subject=owner.subject, socket=socket.kind, protocol=socket.protocol)
        if judged.verdict is Verdict.ALLOWED:
            return None
        name = owner.container.name
        failure = f"a {socket.kind} socket that {name} had before the policy is not cut off"
        # what a quarantined container has, its host's side of the cable holds, or the guard of that says that it does not
        held = socket.kind != RAW and owner.container.id in look.snapshot.facts.quarantined
        return look.settle(
            (namespace, -socket.inode, image.generation, judged.verdict),
            judged,
            record=partial(_record, image.generation, socket, owner, judged),
            cut=partial(self._cut, socket, owner),
            failure="" if held else failure,
        )

    def _cut(self, socket: RawSocket, owner: Owner) -> str:
        """Why it is not cut off; "" if it is."""
        if socket.kind != RAW:
            return NO_END
        try:
            cookie = self._sockets.cookie(*owner.holders[socket.inode], socket.inode)
        except HostError as e:
            return str(e)
        key = cookie.to_bytes(8, "little")
        if cookie:
            self._maps.put_row("cut", key, abi.FlowValue(state=abi.FLOW_DENIED))
        if cookie and not self._maps.row("cut", key, abi.FlowValue):
            return "no program of ours holds packets on this host"
        if cookie:
            self._cookies[key] = owner.container.name
        return ""


def _record(generation: int, socket: RawSocket, owner: Owner, judged: NetJudgement) -> abi.CEvent:
    made = record_of(generation, owner, judged, inode=socket.inode, uid=socket.uid, protocol=socket.protocol)
    made.peer = PEERS[socket.kind]
    return made
