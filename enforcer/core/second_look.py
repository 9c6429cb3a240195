"""A proposal put before what its record refused: whatever it would let through all the same is found, and said beside the rule.

A grant is as wide as a policy can say it, and a record may hold both that something was allowed and that it was refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from enforcer.core.decide import decide
from enforcer.core.enums import Verdict
from enforcer.core.event import FileAttempt, NetAttempt, Who
from enforcer.core.hindsight import Hindsight
from enforcer.core.model import DataRule, DataTarget, Mode, NetRule, Policy, Selector, ToContainer
from enforcer.core.proposal import Left, Proposal
from enforcer.core.record import Refusal, Seen
from enforcer.core.select import glob_match, is_plain, named


class Granted(NamedTuple):
    """A refusal that the proposal would not repeat, and the id of the rule that would grant it: empty if none does."""

    refusal: Refusal
    rule: str


def policy_of(proposal: Proposal) -> Policy:
    """What the text of a proposal loads as, but for the hash of that text."""
    data, net = enumerate(proposal.data), enumerate(proposal.net)
    return Policy(
        mode=proposal.mode,
        containers={g.key: Selector(name=g.name, excluded=g.excluded) for g in proposal.groups},
        protected=proposal.protected,
        data_rules=tuple(
            DataRule(
                _data_id(n),
                rule.who,
                read_write=tuple(g.target for g in rule.grants if g.writes),
                read_only=tuple(g.target for g in rule.grants if not g.writes),
            )
            for n, rule in data
        ),
        internal=proposal.internal,
        net_rules=tuple(NetRule(_net_id(n), rule.who, tuple(g.target for g in rule.grants)) for n, rule in net),
    )


def granted(proposal: Proposal, refusals: Iterable[Refusal]) -> tuple[Granted, ...]:
    """Those that the proposal, once it is enforced, lets through."""
    policy = replace(policy_of(proposal), mode=Mode.ENFORCE)
    by_name: dict[str, list[Refusal]] = defaultdict(list)
    for refusal in refusals:
        by_name[refusal.event.who.name].append(refusal)
    globs = tuple(target for target in policy.protected if not is_plain(target.pattern))
    plain = frozenset(policy.protected).difference(globs)
    return tuple(
        found
        for several in by_name.values()
        for found in _granted(replace(policy, protected=_protecting(several, plain, globs)), several)
    )


def _protecting(
    refusals: Iterable[Refusal], plain: Collection[DataTarget], globs: Iterable[DataTarget]
) -> tuple[DataTarget, ...]:
    """What of the protected concerns these: a record may name thousands of objects, and each image is made for all."""
    objects = {refusal.event.attempt.object for refusal in refusals if isinstance(refusal.event.attempt, FileAttempt)}
    found = {target for o in objects if (target := DataTarget(o.kind, o.name)) in plain}
    found.update(t for t in globs if any(t.kind is o.kind and glob_match(t.pattern, o.name) for o in objects))
    return tuple(sorted(found, key=lambda target: (target.kind, target.pattern)))


def _granted(policy: Policy, refusals: list[Refusal]) -> Iterator[Granted]:
    """For those of one container."""
    own = _concerning(policy, refusals[0].event.who)
    # each is asked of its own half: to compile the other half, too, for every object or peer would take the most of the time
    data, net = Hindsight(replace(own, net_rules=(), internal=())), Hindsight(replace(own, protected=(), data_rules=()))
    for refusal in refusals:
        event = refusal.event
        answer = (net if isinstance(event.attempt, NetAttempt) else data).answer(event)
        if decide(answer.granted, event.asked, Mode.ENFORCE) is Verdict.ALLOWED:
            yield Granted(refusal, answer.rule[0] if answer.rule else "")


def _concerning(policy: Policy, who: Who) -> Policy:
    """The part of a policy that one container is judged by, with the ids that its rules have in the whole."""
    keys = named(policy, who)
    data = tuple(replace(r, who=found) for r in policy.data_rules if (found := tuple(k for k in r.who if k in keys)))
    net = tuple(replace(r, who=found) for r in policy.net_rules if (found := tuple(k for k in r.who if k in keys)))
    needed = keys | {to.container for rule in net for to in rule.connect if isinstance(to, ToContainer)}
    containers = {key: selector for key, selector in policy.containers.items() if key in needed}
    return replace(policy, containers=containers, data_rules=data, net_rules=net)


def told(proposal: Proposal, found: Iterable[Granted], left: Mapping[tuple[str, str], Seen]) -> Proposal:
    """The proposal that says beside its rules what of ``left`` they grant, and no longer lists that as not granted."""
    by_rule: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for refusal, rule in found:
        by_rule[rule].add((refusal.what, refusal.why))
    ours = {_data_id(n) for n in range(len(proposal.data))} | {_net_id(n) for n in range(len(proposal.net))}
    stray = set().union(*(keys for rule, keys in by_rule.items() if rule not in ours))
    gone = {(refusal.what, refusal.why) for refusal, _ in found}
    return replace(
        proposal,
        data=tuple(replace(rule, despite=_lines(by_rule[_data_id(n)], left)) for n, rule in enumerate(proposal.data)),
        net=tuple(replace(rule, despite=_lines(by_rule[_net_id(n)], left)) for n, rule in enumerate(proposal.net)),
        despite=_lines(stray, left),
        left=tuple(item for item in proposal.left if (item.what, item.why) not in gone),
    )


def _lines(keys: Iterable[tuple[str, str]], left: Mapping[tuple[str, str], Seen]) -> tuple[Left, ...]:
    return tuple(Left(what, why, left[what, why].evidence) for what, why in sorted(keys))


def _data_id(number: int) -> str:
    return f"data.rules[{number}]"


def _net_id(number: int) -> str:
    return f"network.rules[{number}]"
