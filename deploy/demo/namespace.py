"""Network namespaces: the engine's, which has no way out, and that of the internet."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import netns

from deploy.demo.process import Process, Result, run, start
from enforcer.errors import EdgeError, HostError

WITHIN4 = tuple(map(IPv4Network, ("127.0.0.0/8", "172.16.0.0/12", "203.0.113.0/24", "224.0.0.0/4")))
WITHIN6 = tuple(map(IPv6Network, ("::1/128", "2001:db8::/32", "fe80::/10", "fc00::/7", "ff00::/8")))
"""Where a closed namespace may have routes to: loopback, Docker's own pool, the documentation ranges, link-local."""

OUTSIDE = ("192.0.2.1", "198.51.100.1", "8.8.8.8", "2001:4860:4860::8888")
"""Addresses that must have no route; a look-up in the routing table sends nothing."""


@dataclass(frozen=True)
class Namespace:
    """A network namespace by its name under /run/netns; the empty name is the one that the demo itself is in."""

    name: str = ""

    def create(self) -> None:
        """Make it, with its loopback up."""
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def remove(self) -> None:
        """Unmake it; what is plugged into it goes with it. Not being there is fine."""
        if self.name and Path("/run/netns", self.name).exists():
            run("ip", "netns", "del", self.name)

    def run(self, *argv: str, check: bool = True, timeout: float = 60) -> Result:
        """Run a program in it, to its end."""
        return run(*self._enter(), *argv, check=check, timeout=timeout)

    def start(self, *argv: str, name: str, log: Path, env: dict[str, str] | None = None) -> Process:
        """Start a program in it, in the background."""
        return start(*self._enter(), *argv, name=name, log=log, env=env)

    def get(self, path: str, port: int, host: str = "127.0.0.1") -> str:
        """The body of an HTTP resource served in it. ``EdgeError`` if nobody answers, or not with 200."""
        connection = http.client.HTTPConnection(host, port, timeout=10)
        try:
            with self.entered():
                connection.connect()
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as e:
            raise EdgeError(f"http://{host}:{port}{path} does not answer: {e}") from e
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise EdgeError(f"http://{host}:{port}{path} answers {answer.status}: {body[:200]}")
        return body

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes meanwhile belong to the namespace."""
        if not self.name:
            yield
            return
        with Path("/proc/thread-self/ns/net").open() as own, Path("/run/netns", self.name).open() as other:
            netns.setns(other.fileno())
            try:
                yield
            finally:
                netns.setns(own.fileno())

    def _enter(self) -> tuple[str, ...]:
        # nsenter rather than `ip netns exec`: the latter mounts another /sys, which hides the cgroups
        return ("nsenter", f"--net=/run/netns/{self.name}") if self.name else ()

    def _ask(self, *words: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = json.loads(self.run("ip", "-j", "-d", *words).out or "[]")
        return answer

    def links(self) -> list[dict[str, Any]]:
        """Its interfaces, as ``ip -j -d link`` tells them."""
        return self._ask("link", "show")

    def route_to(self, address: str, *extra: str) -> str:
        """The interface by which a packet to ``address`` would leave; empty if there is no route."""
        found = self.run("ip", "-j", "route", "get", address, *extra, check=False)
        routes = json.loads(found.out) if found.status == 0 and found.out.strip() else []
        return str(routes[0].get("dev", "")) if routes else ""

    def assert_closed(self, own: tuple[str, ...] = ()) -> None:
        """``HostError`` if a packet could leave for anywhere but namespaces of ours. ``own`` are veth ends of ours."""
        for link in self.links():
            kind = link.get("linkinfo", {}).get("info_kind", link["link_type"])
            plugged = kind == "veth" and ("master" in link or link["ifname"] in own)
            if kind not in ("loopback", "bridge", "dummy") and not plugged:
                raise HostError(
                    f"{self.name} is not closed: {link['ifname']} ({kind}) is none of ours; nothing was sent"
                )
        for family in ("-4", "-6"):
            for route in self._ask(family, "route", "show", "table", "all"):
                self._assert_within(route)
        for address in OUTSIDE:
            if self.route_to(address):
                raise HostError(f"{self.name} is not closed: it has a route to {address}; nothing was sent")

    def _assert_within(self, route: dict[str, Any]) -> None:
        if route.get("type") in ("unreachable", "prohibit", "blackhole", "throw"):
            return
        there = route["dst"]
        if there == "default" or not _is_within(there):
            raise HostError(f"{self.name} is not closed: it has a route to {there}; nothing was sent")


def _is_within(prefix: str) -> bool:
    there = ip_network(prefix)
    if isinstance(there, IPv4Network):
        return any(there.subnet_of(known) for known in WITHIN4)
    return any(there.subnet_of(known) for known in WITHIN6)


def plug(near: tuple[Namespace, str], far: tuple[Namespace, str], addresses: tuple[tuple[str, str], ...]) -> None:
    """Join two namespaces by a veth pair: (namespace, interface) twice, (near, far) addresses with prefix length."""
    near_space, near_end = near
    far_space, far_end = far
    inside = ("netns", far_space.name) if far_space.name else ()
    near_space.run("ip", "link", "add", near_end, "type", "veth", "peer", "name", far_end, *inside)
    for near_address, far_address in addresses:
        near_space.run("ip", "address", "add", near_address, "dev", near_end, *_no_dad(near_address))
        far_space.run("ip", "address", "add", far_address, "dev", far_end, *_no_dad(far_address))
    near_space.run("ip", "link", "set", near_end, "up")
    far_space.run("ip", "link", "set", far_end, "up")


def _no_dad(address: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in address else ()
