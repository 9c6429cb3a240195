"""Containers as cgroups and namespaces of our own, with real connections, and a policy in force over them: for the sweep."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from deploy.demo.namespace import Namespace, plug
from enforcer.core.event import Event
from enforcer.core.model import Attachment, Container, Facts, Inode, Network
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.record import record_of
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.ecs import decode, encode
from enforcer.runtime.orders import Order, Orders
from enforcer.runtime.queue import ROOM
from enforcer.runtime.reconcile import Reconcile
from enforcer.runtime.records import Records
from enforcer.runtime.state import State, StateFile
from enforcer.runtime.sweep import Sweep
from tests.edges.tenant import Tenant
from tests.scenarios import policy

NEAR, FAR = "203.0.113.1", "203.0.113.2"
NEAR6, FAR6 = "2001:db8::1", "2001:db8::2"
OPEN, SHUT = 443, 444
"""Ports at the far side: the table's policy grants alpha the first one."""

PATIENCE = 60
"""Seconds after which what has not come will not: a test that waits for it then fails."""

GRANT_NOTHING = b"""
version: 1
mode: enforce
containers: {alpha: {name: alpha}}
network: {rules: [{who: alpha, connect: []}]}
"""


class Ground:
    """Two namespaces with a cable between them; containers in the near one, listeners in the far one; and a sweep.

    ``maps`` are filled by what is put in force; ``top`` is the cgroup above the containers.
    """

    def __init__(self, directory: Path, stack: ExitStack, maps: Maps) -> None:
        self.stack, self.maps, self.cgroups = stack, maps, Cgroups()
        self.top = f"/enforcer-sweep-{os.getpid()}-{secrets.token_hex(3)}"
        self._make_namespaces()
        stack.callback(self.cgroups.remove, self.top)
        self.cgroups.ensure(self.top)
        self.reconcile = Reconcile(self.maps, StateFile(directory / "state"), State(), canary=Inode(1, 3))
        self.sweep = Sweep(self.maps, lambda: self.reconcile.settled, self.cgroups)
        self.records = Records(self.reconcile.at, self.cgroups)
        self.facts = Facts(networks={"ground": Network("n1", "ground", subnets=(ip_network("203.0.113.0/30"),))})
        self.listeners = {
            (kind, address, port): self._listener(kind, address, port)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            for address in (FAR, FAR6)
            for port in (OPEN, SHUT)
        }

    def _make_namespaces(self) -> None:
        self.near, self.far = (Namespace(f"sweep{os.getpid()}{side}") for side in "nf")
        for space in (self.near, self.far):
            self.stack.callback(space.remove)
            space.create()
        pairs = ((f"{NEAR}/24", f"{FAR}/24"), (f"{NEAR6}/64", f"{FAR6}/64"))
        plug((self.near, "eth0"), (self.far, "eth0"), pairs)
        for space in (self.near, self.far):
            space.assert_closed(("eth0",))

    def _listener(self, kind: socket.SocketKind, address: str, port: int) -> socket.socket:
        with self.far.entered():
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        self.stack.enter_context(made).bind((address, port))
        if kind == socket.SOCK_STREAM:
            made.listen()
        return made

    def container(self, name: str, nested: str = "") -> Tenant:
        """A container that runs, known to the host's facts; its process is in a cgroup below its own if ``nested``."""
        identity = secrets.token_hex(32)
        place = f"{self.top}/{identity}"
        for path in (place, f"{place}/{nested}") if nested else (place,):
            self.stack.callback(self.cgroups.remove, path)
            self.cgroups.ensure(path)
        tenant = Tenant(self.near.name, self.cgroups.root / place.lstrip("/") / nested)
        self.stack.callback(tenant.end)
        made = Container(
            identity, name, attachments=(Attachment("ground"),), pid=tenant.pid, cgroup=self.cgroups.id_of(place)
        )
        self.facts = replace(self.facts, containers={**self.facts.containers, identity: made})
        return tenant

    def leave(self, tenant: Tenant, nested: str) -> None:
        """Have a container move its process to its own cgroup and remove the nested one."""
        place = next(f"{self.top}/{c.id}" for c in self.facts.containers.values() if c.pid == tenant.pid)
        (self.cgroups.root / place.lstrip("/") / "cgroup.procs").write_text(str(tenant.pid))
        self.cgroups.remove(f"{place}/{nested}")

    def load(self, text: bytes | None = None, **facts: object) -> None:
        """Put a policy in force, the table's unless another is given."""
        self.facts = replace(self.facts, **facts)  # type: ignore[arg-type]
        order = Order("", "a test", "", 0.0)
        self.reconcile.order(Orders(quarantined=dict.fromkeys(self.facts.quarantined, order)))
        self.reconcile.load(policy(text) if text else policy(), self.facts)

    def served(self, tenant: Tenant) -> socket.socket:
        """The far end of a connection that a container has accepted; it listens no longer."""
        tenant.do("listen", NEAR, 8080)
        with self.far.entered():
            caller = self.stack.enter_context(socket.create_connection((NEAR, 8080)))
        tenant.do("accept")
        tenant.do("listen-no-more")
        caller.settimeout(PATIENCE)
        return caller

    def accepted(self, address: str = FAR, port: int = SHUT) -> socket.socket:
        """The far end of the next connection."""
        made = self.stack.enter_context(self.listeners[socket.SOCK_STREAM, address, port].accept()[0])
        made.settimeout(PATIENCE)
        return made

    def events(self) -> list[Event]:
        """What the records of the sweep say, once in the journal."""
        found = [self.records.event(record_of(raw), 0) for raw in self.sweep.events.read(ROOM)]
        lines = [decode(encode(event, 1)) for event in found if event]
        return [event for event in lines if isinstance(event, Event)]
