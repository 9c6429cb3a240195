"""A proposal as the YAML of a policy, with the evidence in comments.

Names come from containers. In YAML they stand in double quotes; in comments they are escaped, so that none ends its line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from enforcer.core.enums import Access, Kind
from enforcer.core.model import DataTarget, NetTarget, PortRange, ToCidr, ToContainer, ToHost, ToNetwork
from enforcer.core.proposal import Evidence, Group, LearntData, LearntNet, Left, Proposal
from enforcer.core.protocols import ICMP, ICMPV6, WORDS
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import access_words, escape

NAMED = 6
"""Containers that a line of evidence names; the others are counted."""

LEFT = 200
"""Lines of what is not granted; the rest is counted."""

DESPITE = "GRANTED THOUGH DENIED"
"""Stands before what the record refused (denied, killed or only watched) and the proposal lets through."""


def text_of(proposal: Proposal) -> str:
    """The whole document, newline included. The policy parser reads it without a complaint."""
    sections = [_head(proposal), _containers(proposal.groups), _data(proposal), _network(proposal), _left(proposal)]
    return "\n\n".join("\n".join(section) for section in map(list, sections) if section) + "\n"


def _head(proposal: Proposal) -> Iterator[str]:
    evidence = [g.evidence for rule in proposal.data for g in rule.grants]
    evidence += [g.evidence for rule in proposal.net for g in rule.grants]
    yield "# Proposed by `enforcer learn` from what was recorded. Read it before it is put in force: it grants what was"
    yield "# done, lawful or not, and nothing that was not done meanwhile."
    if (
        proposal.despite
        or proposal.unjudged
        or any((*(rule.despite for rule in proposal.data), *(rule.despite for rule in proposal.net)))
    ):
        yield f"# It lets through what the record also refused: look for {DESPITE}."
    if evidence:
        first, last = min(e.first for e in evidence), max(e.last for e in evidence)
        yield f"# {sum(e.attempts for e in evidence)} accesses, {_time(first)} to {_time(last)}."
    yield "version: 1"
    yield f"mode: {proposal.mode.name.lower()}"


def _containers(groups: Iterable[Group]) -> Iterator[str]:
    lines = [f"  {_quoted(g.key)}: {{{_selector(g)}}}" for g in groups]
    return iter(["containers:", *lines] if lines else [])


def _selector(group: Group) -> str:
    out = f", except: [{', '.join(map(_quoted, group.excluded))}]" if group.excluded else ""
    return f"name: {_quoted(group.name)}{out}"


def _data(proposal: Proposal) -> Iterator[str]:
    if not proposal.protected:
        return
    yield "data:"
    yield "  protected:"
    yield from (f"    - {{{target.kind.value}: {_quoted(target.pattern)}}}" for target in proposal.protected)
    if proposal.data:
        yield "  rules:"
    for rule in proposal.data:
        yield from _data_rule(rule)


def _data_rule(rule: LearntData) -> Iterator[str]:
    for grant in rule.grants:
        yield f"    # {_object(grant.target)}: {_story(grant.evidence)}"
    yield from _despite(rule.despite, "    ")
    parts = [f"who: {_list(map(_quoted, rule.who))}"]
    for key, writes in (("read-write", True), ("read-only", False)):
        targets = [_target(g.target) for g in rule.grants if g.writes is writes]
        parts += [f"{key}: {_list(targets)}"] if targets else []
    yield f"    - {{{', '.join(parts)}}}"


def _object(target: DataTarget) -> str:
    return f"{target.kind.value} {escape(target.pattern)}"


def _target(target: DataTarget) -> str:
    return (
        _quoted(target.pattern) if target.kind is Kind.VOLUME else f"{{{target.kind.value}: {_quoted(target.pattern)}}}"
    )


def _network(proposal: Proposal) -> Iterator[str]:
    if not proposal.internal and not proposal.net:
        return
    yield "network:"
    if proposal.internal:
        yield f"  internal: {_list(map(_quoted, proposal.internal))}"
    if proposal.net:
        yield "  rules:"
    for rule in proposal.net:
        yield from _net_rule(rule)


def _net_rule(rule: LearntNet) -> Iterator[str]:
    for grant in rule.grants:
        more = f"; {grant.note}" if grant.note else ""
        yield f"    # {escape(_destination(grant.target))}: {_story(grant.evidence)}{more}"
    if not rule.grants:
        yield "    # no connection was recorded"
    yield from _despite(rule.despite, "    ")
    yield f"    - {{who: {_list(map(_quoted, rule.who))}, connect: {_list(f'{{{_destination(g.target)}}}' for g in rule.grants)}}}"


def _destination(target: NetTarget) -> str:
    match target:
        case ToNetwork():
            place = f"network: {_quoted(target.network)}"
        case ToContainer():
            place = f"container: {_quoted(target.container)}"
        case ToCidr():
            place = f"cidr: {_quoted(str(target.cidr))}"
        case ToHost():
            place = "host: true"
    return f"{place}, ports: {_list(_ports(target.ports))}"


def _ports(ranges: Iterable[PortRange]) -> Iterator[str]:
    for found in ranges:
        if found.protocol == ICMP:
            yield "icmp"
        elif found.protocol != ICMPV6:  # which the word means, too
            ports = str(found.first) if found.first == found.last else f"{found.first}-{found.last}"
            yield f"{ports}/{WORDS[found.protocol]}"


def _story(evidence: Evidence) -> str:
    """How often, when, by whom."""
    deeds = "" if evidence.asked in (Access.CONNECT, Access.NONE) else f"{'/'.join(access_words(evidence.asked))} "
    named = ", ".join(f"{escape(name)} ({n})" for name, n in evidence.by[:NAMED])
    more = f" and {len(evidence.by) - NAMED} more" if len(evidence.by) > NAMED else ""
    return f"{deeds}{_times(evidence.attempts)}, {_time(evidence.first)} to {_time(evidence.last)}, by {named}{more}"


def _despite(items: tuple[Left, ...], indent: str) -> Iterator[str]:
    """What is granted although it was refused: the word that one looks for, and then who and what."""
    for item in items[:LEFT]:
        yield f"{indent}# {DESPITE}: {_line(item)}"
    if len(items) > LEFT:
        yield f"{indent}# {DESPITE}: {len(items) - LEFT} more"


def _line(left: Left) -> str:
    when = f"{_time(left.evidence.first)} to {_time(left.evidence.last)}"
    return f"{left.what}: {left.why}, {_times(left.evidence.attempts)}, {when}"


def _left(proposal: Proposal) -> Iterator[str]:
    yield from _despite(proposal.despite, "")
    for item in proposal.unjudged[:LEFT]:
        yield f"# {DESPITE}, perhaps, for so many kinds were refused that not all were compared: {_line(item)}"
    if not proposal.left:
        return
    yield "# Not granted:"
    for left in proposal.left[:LEFT]:
        yield f"#   {_line(left)}"
    if len(proposal.left) > LEFT:
        yield f"#   and {len(proposal.left) - LEFT} more"


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _time(time_ns: int) -> str:
    return f"{to_rfc3339(time_ns)[:19]}Z"


def _list(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
