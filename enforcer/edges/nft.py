"""nftables by netlink: one table of our own in the inet family, read, changed and removed; no other table is ever touched.

Messages are built and taken apart by pyroute2, whose constants are those of linux/netfilter/nf_tables.h. A change is one
transaction: it takes place whole, between two packets, or not at all. The table carries no OWNER flag: the kernel removes
such a table with its owner's socket, and ours must outlive the agent (PERSIST, which would help, is of Linux 6.9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from enforcer.core.egress import DROP, Chain, Rule
from enforcer.edges.nft_link import INET, Kernel, Message, Netlink
from enforcer.edges.nft_rule import NF_ACCEPT, comment, comment_of, expressions
from enforcer.edges.pyroute import NLM_F_APPEND, NLM_F_CREATE, nf, nlmsg_atoms
from enforcer.errors import EdgeError

PRIORITY = -10
"""Before Docker's chains and everybody's at filter (0), after connection tracking (-200) and DNAT (-100)."""

HOOKS = {Chain.INPUT: 1, Chain.FORWARD: 2}
"""enum nf_inet_hooks."""


class NotOurs(EdgeError):  # noqa: N818 -- reads as what is so, like ContainerGone
    """There is a table of our name that somebody else has made."""


class TableMessage(nf.nft_table_msg):  # type: ignore[misc]
    """pyroute2's, but for the comment."""

    comment = nlmsg_atoms.cdata  # pyroute2's own class takes it for text, and anybody may write there what is none


class RuleMessage(nf.nft_rule_msg):  # type: ignore[misc]
    """The same."""

    comment = nlmsg_atoms.cdata


@dataclass(frozen=True)
class Written:
    """A rule as the kernel has it. ``mark`` is "" unless we wrote it; ``packets`` is what it has counted, if it drops."""

    chain: str
    handle: int
    mark: str
    packets: int


class Nft:
    """The table ``name``. ``owner`` tells our table from another's of the same name: it stands in the table's comment."""

    def __init__(self, name: str, owner: str) -> None:
        self.name = name
        self._comment = f"enforcer {owner}"

    def is_there(self) -> bool:
        """Is there such a table, in whatever state? Raises as ``read`` does."""
        with Kernel() as kernel:
            return self._table(kernel) is not None

    def read(self) -> tuple[Written, ...] | None:
        """The rules of the table; None if there is none, or somebody has changed its chains or put it to sleep.

        Raises ``HostError`` where the kernel has no nftables, ``EdgeError`` if the table is another's.
        """
        with Kernel() as kernel:
            return self._read(kernel)

    def keep(self, rules: Sequence[Rule], packets: Mapping[str, int]) -> bool:
        """Make the table hold ``rules`` and nothing else, no table for no rules; whether anything had to be changed.

        A rule that is there already stays, with what it has counted; a new one begins at ``packets`` of its mark. Raises as
        ``read`` does, and ``HostError`` if the kernel cannot hold such a rule.
        """
        with Kernel() as kernel:
            if not rules:
                return self._remove(kernel)
            there = self._read(kernel)
            kept = {found.mark: found for found in there or ()}
            wanted = {rule.mark: rule for rule in rules}
            surplus = [f for f in there or () if f.mark not in wanted or kept[f.mark] is not f]
            missing = [rule for mark, rule in wanted.items() if mark not in kept]
            if there is not None and not missing and not surplus:
                return False
            begin = [] if there is not None else list(self._anew(kernel))
            kernel.commit([*begin, *map(self._delete, surplus), *(self._add(r, packets) for r in missing)])
            return True

    def remove(self) -> bool:
        """Remove the table whole; whether there was one of ours: another's stays. Raises ``HostError`` as ``read`` does."""
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

    def _read(self, kernel: Kernel) -> tuple[Written, ...] | None:
        table = self._table(kernel)
        if table is None or table.get_attr("NFTA_TABLE_FLAGS") or not all(self._stands(kernel, c) for c in HOOKS):
            return None
        answers = kernel.every(nf.NFT_MSG_GETRULE, self._named(RuleMessage, "NFTA_RULE_TABLE"))
        return tuple(self._written(a) for a in answers if a.get_attr("NFTA_RULE_TABLE") == self.name)

    def _table(self, kernel: Kernel) -> Netlink:
        found = kernel.one(nf.NFT_MSG_GETTABLE, self._named(TableMessage, "NFTA_TABLE_NAME"))
        if found is not None and _comment(found, "NFTA_TABLE_USERDATA") != self._comment:
            raise NotOurs(
                f"nftables: there is a table inet {self.name} that is not this agent's: rename it, or remove it by "
                f"`nft delete table inet {self.name}`, or unload the agent that made it"
            )
        return found

    def _stands(self, kernel: Kernel, chain: Chain) -> bool:
        asked = self._named(nf.nft_chain_msg, "NFTA_CHAIN_TABLE")
        asked["attrs"].append(["NFTA_CHAIN_NAME", chain.value])
        found = kernel.one(nf.NFT_MSG_GETCHAIN, asked)
        hook = found.get_attr("NFTA_CHAIN_HOOK") if found is not None else None
        place = (HOOKS[chain], PRIORITY)
        return hook is not None and (hook.get_attr("NFTA_HOOK_HOOKNUM"), hook.get_attr("NFTA_HOOK_PRIORITY")) == place

    def _written(self, found: Netlink) -> Written:
        text, before = _comment(found, "NFTA_RULE_USERDATA"), f"{self._comment} "
        mark = text.removeprefix(before).partition(":")[0] if text.startswith(before) else ""
        # pyroute2 takes expressions apart when they are asked for, at 0.5 ms a rule: openings can be many
        parts = found.get_attr("NFTA_RULE_EXPRESSIONS") if mark.startswith(DROP) else ()
        counters = [part for part in parts or () if part.get_attr("NFTA_EXPR_NAME") == "counter"]
        return Written(
            chain=found.get_attr("NFTA_RULE_CHAIN"),
            handle=found.get_attr("NFTA_RULE_HANDLE"),
            mark=mark,
            packets=sum(e.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_COUNTER_PACKETS") for e in counters),
        )

    def _anew(self, kernel: Kernel) -> Iterator[Message]:
        """The table and its chains, in place of what somebody has made of them."""
        if self._table(kernel) is not None:
            yield self._gone()
        table = self._named(TableMessage, "NFTA_TABLE_NAME")
        table["attrs"].append(["NFTA_TABLE_USERDATA", comment(self._comment)])
        yield nf.NFT_MSG_NEWTABLE, NLM_F_CREATE, table
        for chain, number in HOOKS.items():
            message = self._named(nf.nft_chain_msg, "NFTA_CHAIN_TABLE")
            hook = [["NFTA_HOOK_HOOKNUM", number], ["NFTA_HOOK_PRIORITY", PRIORITY]]
            message["attrs"] += [
                ["NFTA_CHAIN_NAME", chain.value],
                ["NFTA_CHAIN_HOOK", {"attrs": hook}],
                ["NFTA_CHAIN_POLICY", NF_ACCEPT],
                ["NFTA_CHAIN_TYPE", "filter"],
            ]
            yield nf.NFT_MSG_NEWCHAIN, NLM_F_CREATE, message

    def _gone(self) -> Message:
        return nf.NFT_MSG_DELTABLE, 0, self._named(TableMessage, "NFTA_TABLE_NAME")

    def _add(self, rule: Rule, packets: Mapping[str, int]) -> Message:
        """What lets through goes to the head of its chain, what drops to its end: so the order of writing does not matter."""
        message = self._named(RuleMessage, "NFTA_RULE_TABLE")
        message["attrs"] += [
            ["NFTA_RULE_CHAIN", rule.chain.value],
            ["NFTA_RULE_EXPRESSIONS", expressions(rule, packets.get(rule.mark, 0))],
            ["NFTA_RULE_USERDATA", comment(f"{self._comment} {rule.mark}: {rule.network}")],
        ]
        return nf.NFT_MSG_NEWRULE, NLM_F_CREATE | (0 if rule.passes else NLM_F_APPEND), message

    def _delete(self, found: Written) -> Message:
        message = self._named(RuleMessage, "NFTA_RULE_TABLE")
        message["attrs"] += [["NFTA_RULE_CHAIN", found.chain], ["NFTA_RULE_HANDLE", found.handle]]
        return nf.NFT_MSG_DELRULE, 0, message

    def _named(self, kind: type[Netlink], attribute: str) -> Netlink:
        message = kind()
        message["nfgen_family"] = INET
        message["attrs"] = [[attribute, self.name]]
        return message


def _comment(found: Netlink, attribute: str) -> str:
    return comment_of(found.get_attr(attribute))
