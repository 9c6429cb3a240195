"""nftables on single network devices (family netdev): a table of our own that lets nothing through some of the host's devices.

Here everything passes that a device takes or gives, packet sockets' frames and ARP too, before any bridge or cgroup sees it. What
stands in ``edges/nft.py`` of messages, transactions and ownership holds here as well.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator
from typing import NamedTuple

from enforcer.edges.nft import NotOurs, RuleMessage, TableMessage
from enforcer.edges.nft_link import Kernel, Message, Netlink
from enforcer.edges.nft_rule import NF_DROP, comment, comment_of
from enforcer.edges.pyroute import NLM_F_CREATE, genex, nf, verdict
from enforcer.errors import HostError

NETDEV = 5
"""NFPROTO_NETDEV."""

PRIORITY = -500
"""Before everybody else's there."""


class Way(enum.StrEnum):
    """What the host gets from a device, and what it gives to it."""

    IN = "in"
    OUT = "out"


HOOKS = {Way.IN: 0, Way.OUT: 1}
"""enum nf_dev_hooks: ingress and, since Linux 5.17 with CONFIG_NETFILTER_EGRESS, egress."""


class Shut(NamedTuple):
    """One device, shut one way."""

    device: str
    way: Way

    @property
    def chain(self) -> str:
        """The name of the chain that does it."""
        return f"{self.way}-{self.device}"


class NetdevTable:
    """The table ``name``; ``owner`` as in ``edges.nft.Nft``. ``both``: False once the kernel shuts devices inwards only."""

    def __init__(self, name: str, owner: str) -> None:
        self.name, self.both = name, True
        self._comment = f"enforcer {owner}"

    def keep(self, devices: Collection[str]) -> bool:
        """Shut these devices both ways, and no others; no table for none. Whether anything had to be changed.

        Raises ``HostError`` where the kernel cannot, ``EdgeError`` if the table is another's.
        """
        if not devices:
            with Kernel() as kernel:
                return self._remove(kernel)
        if self.both:
            try:
                return self._shut_all(devices, tuple(Way))
            except HostError:
                self._shut_all(devices, (Way.IN,))
                self.both = False
                return True
        return self._shut_all(devices, (Way.IN,))

    def remove(self) -> bool:
        """Remove the table whole; whether there was one of ours: another's stays. Raises ``HostError`` as ``keep`` does."""
        with Kernel() as kernel:
            try:
                return self._remove(kernel)
            except NotOurs:
                return False

    def _remove(self, kernel: Kernel) -> bool:
        if self._table(kernel) is None:
            return False
        kernel.commit([self._gone()])
        return True

    def _shut_all(self, devices: Collection[str], ways: Collection[Way]) -> bool:
        with Kernel() as kernel:
            return self._make(kernel, {Shut(device, way) for device in devices for way in ways})

    def _make(self, kernel: Kernel, wanted: Collection[Shut]) -> bool:
        """One device more or less is a chain more or less; anything else that is not as it has to be is made anew, whole."""
        table = self._table(kernel)
        there = self._there(kernel) if table is not None and not table.get_attr("NFTA_TABLE_FLAGS") else None
        names = {shut.chain for shut in wanted}
        if there == names:
            return False
        messages: list[Message] = []
        if there is None or not there <= names:
            messages += [self._gone()] if table is not None else []
            messages += [self._begun()]
            there = set()
        for shut in sorted(wanted):
            if shut.chain not in there:
                messages += self._shut(shut)
        kernel.commit(messages)
        return True

    def _there(self, kernel: Kernel) -> set[str] | None:
        """The chains that do what their names say; None if anything else stands in the table."""
        chains = self._of_ours(
            kernel.every(nf.NFT_MSG_GETCHAIN, self._named(nf.nft_chain_msg, "NFTA_CHAIN_TABLE")), "CHAIN"
        )
        rules = self._of_ours(kernel.every(nf.NFT_MSG_GETRULE, self._named(RuleMessage, "NFTA_RULE_TABLE")), "RULE")
        marked = sorted(r.get_attr("NFTA_RULE_CHAIN") for r in rules if self._is_ours(r, "NFTA_RULE_USERDATA"))
        found = {chain.get_attr("NFTA_CHAIN_NAME") for chain in chains if _shuts(chain)}
        return found if len(found) == len(chains) and marked == sorted(found) and len(rules) == len(marked) else None

    def _of_ours(self, found: list[Netlink], kind: str) -> list[Netlink]:
        return [f for f in found if f["nfgen_family"] == NETDEV and f.get_attr(f"NFTA_{kind}_TABLE") == self.name]

    def _table(self, kernel: Kernel) -> Netlink:
        found = kernel.one(nf.NFT_MSG_GETTABLE, self._named(TableMessage, "NFTA_TABLE_NAME"))
        if found is not None and not self._is_ours(found, "NFTA_TABLE_USERDATA"):
            raise NotOurs(
                f"nftables: there is a table netdev {self.name} that is not this agent's: rename it, or remove it by "
                f"`nft delete table netdev {self.name}`, or unload the agent that made it"
            )
        return found

    def _is_ours(self, found: Netlink, attribute: str) -> bool:
        return comment_of(found.get_attr(attribute)) == self._comment

    def _begun(self) -> Message:
        table = self._named(TableMessage, "NFTA_TABLE_NAME")
        table["attrs"].append(["NFTA_TABLE_USERDATA", comment(self._comment)])
        return nf.NFT_MSG_NEWTABLE, NLM_F_CREATE, table

    def _gone(self) -> Message:
        return nf.NFT_MSG_DELTABLE, 0, self._named(TableMessage, "NFTA_TABLE_NAME")

    def _shut(self, shut: Shut) -> Iterator[Message]:
        """A chain that drops, and in it a rule that counts what it drops."""
        chain = self._named(nf.nft_chain_msg, "NFTA_CHAIN_TABLE")
        hook = [
            ["NFTA_HOOK_HOOKNUM", HOOKS[shut.way]],
            ["NFTA_HOOK_PRIORITY", PRIORITY],
            ["NFTA_HOOK_DEV", shut.device],
        ]
        chain["attrs"] += [
            ["NFTA_CHAIN_NAME", shut.chain],
            ["NFTA_CHAIN_HOOK", {"attrs": hook}],
            ["NFTA_CHAIN_POLICY", NF_DROP],
            ["NFTA_CHAIN_TYPE", "filter"],
        ]
        yield nf.NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain
        rule = self._named(RuleMessage, "NFTA_RULE_TABLE")
        rule["attrs"] += [
            ["NFTA_RULE_CHAIN", shut.chain],
            ["NFTA_RULE_EXPRESSIONS", [genex("counter", {"bytes": 0, "packets": 0}), *verdict(NF_DROP)]],
            ["NFTA_RULE_USERDATA", comment(self._comment)],
        ]
        yield nf.NFT_MSG_NEWRULE, NLM_F_CREATE, rule

    def _named(self, kind: type[Netlink], attribute: str) -> Netlink:
        message = kind()
        message["nfgen_family"] = NETDEV
        message["attrs"] = [[attribute, self.name]]
        return message


def _shuts(chain: Netlink) -> bool:
    """Is it what its name says, with the device there?"""
    way, _, device = chain.get_attr("NFTA_CHAIN_NAME").partition("-")
    hook = chain.get_attr("NFTA_CHAIN_HOOK")
    if hook is None or way not in set(Way) or chain.get_attr("NFTA_CHAIN_POLICY") != NF_DROP:
        return False
    place = (hook.get_attr("NFTA_HOOK_HOOKNUM"), hook.get_attr("NFTA_HOOK_PRIORITY"), hook.get_attr("NFTA_HOOK_DEV"))
    return place == (HOOKS[Way(way)], PRIORITY, device)
