"""Networks and places on them, as Docker's answers tell them (Engine API 1.41 and later)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from enforcer.core.model import Attachment, Network
from enforcer.edges.docker_fields import identity_of, name_of, text_of


def attachments_of(found: dict[str, Any], *, mode: str) -> tuple[Attachment, ...]:
    """Where a container is attached, from a listing or an inspection. ``mode``: its network mode."""
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    if not networks and mode and not mode.startswith("container:"):  # created, and the engine has not yet said where
        networks = {"bridge" if mode == "default" else mode: None}
    found_in = ((name, networks[name] or {}) for name in sorted(networks))
    return tuple(Attachment(name, _addresses(place), _aliases(place, found), _links(place)) for name, place in found_in)


def _addresses(endpoint: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        str(ip_address(a)) for a in (text_of(endpoint, "IPAddress"), text_of(endpoint, "GlobalIPv6Address")) if a
    )


def _aliases(endpoint: dict[str, Any], container: dict[str, Any]) -> tuple[str, ...]:
    """Without the short id, which every container has and a listing does not tell. Engines from 26 on tell all as DNSNames."""
    said = {str(name) for key in ("Aliases", "DNSNames") for name in endpoint.get(key) or ()}
    return tuple(sorted(said - {identity_of(container)[:12]}))


def _links(endpoint: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """``name:alias``, or the name alone, which is the alias then."""
    pairs = (str(link).partition(":") for link in endpoint.get("Links") or ())
    return tuple(sorted((name, alias or name) for name, _, alias in pairs))


def network_of(found: dict[str, Any]) -> Network:
    """A network, from their list."""
    pools = (found.get("IPAM") or {}).get("Config") or ()
    return Network(
        id=name_of(found, "Id"),
        name=name_of(found),
        internal=bool(found.get("Internal")),
        subnets=tuple(ip_network(text_of(p, "Subnet"), strict=False) for p in pools if p.get("Subnet")),
        gateways=tuple(str(ip_address(text_of(p, "Gateway").partition("/")[0])) for p in pools if p.get("Gateway")),
    )


def bridge_of(found: dict[str, Any]) -> str:
    """The host's interface on a network, "" unless it is a bridge."""
    if found.get("Driver") != "bridge":
        return ""
    return text_of(found.get("Options") or {}, "com.docker.network.bridge.name") or f"br-{found['Id'][:12]}"
