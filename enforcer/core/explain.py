"""Why would a container be allowed or denied? Asked of an image compiled for it, so that it is what the kernel says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address

from enforcer.core.compile import compile
from enforcer.core.decide import NetJudgement, judge_net, judge_object
from enforcer.core.ids import Ids, Space, allocate, object_key
from enforcer.core.image import NET, Image, InodeKey, NetKey, Regime
from enforcer.core.model import Access, Container, Facts, Kind, Mode, NetRule, ObjectId, Policy, Verdict
from enforcer.core.words import access_words, protocol_word
from enforcer.errors import UsageError

_GENERATION = 1


@dataclass(frozen=True)
class Explanation:
    """The answer. ``rules``: ids of those that decided (empty: none names it). ``text``: one line for a person."""

    verdict: Verdict
    rules: tuple[str, ...]
    granted: Access
    mode: Mode
    text: str


@dataclass(frozen=True)
class Destination:
    """Where a connection would go: an address or a container's name, ``protocol`` an IPPROTO number."""

    host: str
    port: int
    protocol: int = 6


def explain_data(policy: Policy, facts: Facts, *, container: str, target: ObjectId, asked: Access) -> Explanation:
    """May ``container`` (name or id) do this with a data object? UsageError if either is not on this host."""
    ids = allocate(Ids(), policy, facts)
    image = compile(policy, facts, ids, _GENERATION)
    who = find_container(facts, container)
    what = f"{target.kind} {target.name}"
    if target not in facts.objects:
        raise UsageError(f"there is no {what} on this host: 'enforcer matrix' lists what is protected")
    deed = "/".join(access_words(asked)) or "touch"
    number = object_number(image, facts, ids, target)
    if number == 0:
        text = f"{who.name} may {deed} {target.name}: it is not protected, so any container may"
        return Explanation(Verdict.ALLOWED, (), asked, Mode.MONITOR, text)
    found = judge_object(image, subject=ids.subject(who.id), number=number, asked=asked)
    rules = image.reasons.get((ids.subject(who.id), number), ())
    own = target == ObjectId(Kind.LAYER, who.name)
    why = f"{_listed(rules)} {_grants(found.granted)}" if rules else _unnamed(own=own)
    text = f"{who.name} {_may(found.verdict)} {deed} {target.name}{_only(found.verdict)}: {why}"
    return Explanation(found.verdict, rules, found.granted, found.mode, text)


def explain_net(policy: Policy, facts: Facts, *, container: str, to: Destination) -> Explanation:
    """May ``container`` (name or id) connect there? UsageError if it or the destination's name is unknown."""
    ids = allocate(Ids(), policy, facts)
    image = compile(policy, facts, ids, _GENERATION)
    who = find_container(facts, container)
    subject = ids.subject(who.id)
    address = _address(facts, who, to.host)
    found = judge_net(image, subject=subject, address=address, protocol=to.protocol, port=to.port)
    naming = image.reasons.get((subject, NET), ())
    granting = _granting(policy, facts, who=who, to=replace(to, host=address), naming=naming)
    allowed = found.verdict is Verdict.ALLOWED
    regime = image.net_subjects[NetKey(_GENERATION, subject)].regime
    cut_off = "an operator has quarantined it" if regime == Regime.QUARANTINED else ""
    why = _why_allowed(granting, governed=bool(regime)) if allowed else cut_off or _why_not(facts, ids, naming, found)
    where = f"{to.host}:{to.port}/{protocol_word(to.protocol)}"
    text = f"{who.name} {_may(found.verdict)} connect to {where}{_only(found.verdict)}: {why}"
    return Explanation(found.verdict, granting if allowed else naming, found.granted, found.mode, text)


def find_container(facts: Facts, name: str) -> Container:
    """The container of that name or id. UsageError if there is none."""
    for container in facts.containers.values():
        if name in (container.name, container.id):
            return container
    raise UsageError(f"there is no container {name!r} on this host: 'docker ps -a' lists them")


def object_number(image: Image, facts: Facts, ids: Ids, target: ObjectId) -> int:
    """Which protected object answers for a data object of the host: itself, the one that shares its inode, or 0: none.

    ``ids`` must know the protected objects only, as fresh ones do.
    """
    for inode in facts.objects[target].inodes:
        found = image.objects.get(InodeKey(inode.inode, inode.device, image.generation))
        if found is not None:
            return found.id
    return ids.known.get((Space.OBJECT, object_key(target)), 0)


def _address(facts: Facts, who: Container, host: str) -> str:
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        own = {a.network for a in who.attachments}
        places = sorted(find_container(facts, host).attachments, key=lambda a: a.network not in own)
        addresses = [address for place in places for address in place.addresses]
        if not addresses:
            raise UsageError(f"container {host!r} has no address now: give one instead of its name") from None
        return addresses[0]


def _granting(
    policy: Policy, facts: Facts, *, who: Container, to: Destination, naming: Iterable[str]
) -> tuple[str, ...]:
    """Which of the rules that name ``who`` allow it by themselves? None if it needs no grant at all."""
    rules = [rule for rule in policy.net_rules if rule.id in naming]
    if _suffice(policy, facts, who=who, to=to, rules=[replace(rule, connect=()) for rule in rules]):
        return ()
    return tuple(rule.id for rule in rules if _suffice(policy, facts, who=who, to=to, rules=[rule]))


def _suffice(policy: Policy, facts: Facts, *, who: Container, to: Destination, rules: Iterable[NetRule]) -> bool:
    """Do these network rules, and no others, allow it?"""
    reduced = replace(policy, net_rules=tuple(rules))
    ids = allocate(Ids(), reduced, facts)
    image = compile(reduced, facts, ids, _GENERATION)
    found = judge_net(image, subject=ids.subject(who.id), address=to.host, protocol=to.protocol, port=to.port)
    return found.verdict is Verdict.ALLOWED


def _may(verdict: Verdict) -> str:
    return "may" if verdict is Verdict.ALLOWED else "may not"


def _only(verdict: Verdict) -> str:
    return ", but is only watched (mode monitor)" if verdict is Verdict.OBSERVED else ""


def _listed(rules: Iterable[str]) -> str:
    return " and ".join(rules)


def _grants(granted: Access) -> str:
    if Access.WRITE in granted:
        return "grants read-write"
    return "grants read-only" if Access.READ in granted else "grants nothing"


def _unnamed(*, own: bool) -> str:
    return "it is its own layer" if own else "no rule names it"


def _why_allowed(granting: tuple[str, ...], *, governed: bool) -> str:
    if not governed:
        return "no network rule concerns it"
    return f"{_listed(granting)} grants it" if granting else "it stays within the container or its internal networks"


def _why_not(facts: Facts, ids: Ids, naming: tuple[str, ...], found: NetJudgement) -> str:
    names = {network.id: network.name for network in facts.networks.values()}
    home = names.get(ids.network_of(found.network) or "", "")
    leaves = f", and it would leave {home}" if found.external and home else ""
    if not naming:
        return f"no rule names it, and it is on internal networks only{leaves}"
    return f"{_listed(naming)} does not grant it{leaves}"
