"""The host's ends of a container's cables: veth devices whose other end is in the network namespace of a process.

Only what the host's side says is believed: in its own namespace a container with CAP_NET_ADMIN may make what it likes. The host's
number of the other end's namespace (IFLA_LINK_NETNSID, RTM_GETNSID: net/core/net_namespace.c) is the host's to give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from enforcer.errors import EdgeError

Cables = Mapping[int, tuple[str, ...]]
"""Process → the names of the devices of this namespace that lead to its own."""

_NOT_ASSIGNED = {None, -1, 0xFFFFFFFF}
"""What the kernel answers for a namespace that nothing here leads to (NETNSA_NSID_NOT_ASSIGNED), or that is gone."""


def cables(pids: Iterable[int]) -> Cables:
    """What leads to the namespaces of these processes; nothing leads to one that has ended. Raises ``EdgeError``."""
    try:
        with IPRoute() as links:
            ends: dict[int, list[str]] = {}
            for link in links.get_links():  # by this each namespace at the other end of one has a number
                info, number = link.get_attr("IFLA_LINKINFO"), link.get_attr("IFLA_LINK_NETNSID")
                if number not in _NOT_ASSIGNED and info is not None and info.get_attr("IFLA_INFO_KIND") == "veth":
                    ends.setdefault(number, []).append(link.get_attr("IFLA_IFNAME"))
            return {pid: tuple(sorted(ends.get(_number(links, pid), ()))) for pid in pids}
    except (NetlinkError, OSError) as e:
        raise EdgeError(f"the host's network devices cannot be listed: {e}") from e


def _number(links: IPRoute, pid: int) -> int:
    try:
        found = links.get_netnsid(pid=pid) or {"nsid": None}
    except NetlinkError:
        return -1  # the process has ended
    return -1 if found["nsid"] in _NOT_ASSIGNED else int(found["nsid"] or 0)
