"""From what the policy says and what the host is to what the kernel holds: an ``Image``. Pure, and the only such place.

Here is who the subjects are, which data objects there are and who may do what with them; ``core.compile_net`` adds the
network. Whatever the policy says and this host cannot hold becomes a warning, never silence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any

from enforcer.core.compile_net import compile_net
from enforcer.core.ids import Ids, Reserved, Special
from enforcer.core.image import (
    DeviceKey,
    DockerId,
    Image,
    InodeKey,
    Object,
    ReasonKey,
    Row,
    RowKey,
    State,
    Subject,
    Table,
    docker_id,
)
from enforcer.core.meeting import Meeting
from enforcer.core.model import (
    READ_ONLY,
    READ_WRITE,
    Access,
    Container,
    DataRule,
    DataTarget,
    Facts,
    Inode,
    Kind,
    Mode,
    ObjectId,
    Policy,
)
from enforcer.core.objects import ObjectIndex, Protected
from enforcer.core.reach import strictest
from enforcer.core.select import PLACEHOLDER, fill, is_plain

# Connecting to a unix socket takes write permission on it (unix(7)), so whoever may write a file may connect to it.
WRITABLE = READ_WRITE | Access.CONNECT
"""What ``read-write`` grants, and what a container may do with its own layer."""


_WRITABLE, _READ_ONLY = int(WRITABLE), int(READ_ONLY)  # an enum's own | is fifty times as slow


@cache
def _row(granted: int, mode: Mode) -> Row:
    """There are few, for very many keys."""
    return Row(granted, int(mode))


@dataclass
class _Mention:
    """What the rules say about one container and one object, while it is being collected."""

    granted: int = 0
    modes: list[Mode] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


def compile(  # noqa: PLR0913 -- what is compiled, and what is known of it
    policy: Policy,
    facts: Facts,
    ids: Ids,
    generation: int,
    *,
    canary: Inode | None = None,
    met: Meeting | None = None,
) -> Image:
    """The kernel rows of ``policy`` on the host of ``facts``. ``ids`` must come from ``allocate`` for the same two.

    ``canary``: what the self-test may not open. ``met``: the two as they have met already.
    """
    met = met or Meeting(policy, facts)
    protected = met.protected
    data = _DataRows(met, ids=ids, generation=generation)
    for container in facts.containers.values():
        data.add(container)
    objects = _objects(protected, facts, data.numbers, generation, canary=canary)
    net = compile_net(met, ids, generation)
    tables: dict[Table, Mapping[Any, Any]] = {
        Table.PREPARED: _prepared(facts, ids),
        Table.CGROUPS: _cgroups(facts, ids),
        Table.OBJECTS: objects,
        Table.FILESYSTEMS: _filesystems(objects, facts, generation),
        Table.ROWS: data.rows | _reserved_rows(policy, generation),
        **net.tables,
    }
    warnings = chain(_unprotecting(policy, facts, protected), data.warnings, net.warnings)
    return Image(generation, tables, {**data.reasons, **net.reasons}, tuple(dict.fromkeys(warnings)))


class _DataRows:
    """Collects the rows of ROWS, container by container."""

    def __init__(self, met: Meeting, *, ids: Ids, generation: int) -> None:
        self._policy = met.policy
        self._names = met.names
        self._index = ObjectIndex(met.facts.objects)
        self._ids = ids
        self._generation = generation
        self._protected = met.protected
        self.numbers = {first: ids.object(first) for first in dict.fromkeys(met.protected.same.values())}
        self._found: dict[DataTarget, tuple[ObjectId, ...]] = {}
        self.rows: dict[RowKey, Row] = {}
        self.reasons: dict[ReasonKey, tuple[str, ...]] = {}
        # A dict for its order: each warning once.
        self.warnings: dict[str, None] = {}

    def add(self, container: Container) -> None:
        """The default row of a container, and one for each protected object that a rule mentions or that is its own."""
        names = self._names[container.id]
        rules = [rule for rule in self._policy.data_rules if not names.isdisjoint(rule.who)]
        subject = self._ids.subject(container.id)
        default = strictest((self._mode(rule) for rule in rules), default=self._policy.mode)
        self._put(subject, 0, 0, default)
        for object_id, mention in self._mentions(container, rules).items():
            number = self.numbers[object_id]
            self._put(subject, number, mention.granted, strictest(mention.modes, default=default))
            if mention.rules:
                self.reasons[subject, number] = tuple(dict.fromkeys(mention.rules))

    def _put(self, subject: int, number: int, granted: int, mode: Mode) -> None:
        self.rows[RowKey(self._generation, subject, number)] = _row(granted, mode)

    def _mode(self, rule: DataRule) -> Mode:
        return self._policy.mode if rule.mode is None else rule.mode

    def _mentions(self, container: Container, rules: Iterable[DataRule]) -> Mapping[ObjectId, _Mention]:
        mentions: dict[ObjectId, _Mention] = defaultdict(_Mention)
        for rule in rules:
            for targets, bits in ((rule.read_write, _WRITABLE), (rule.read_only, _READ_ONLY)):
                for object_id in self._matching(container, rule, targets):
                    mention = mentions[self._protected.same[object_id]]
                    mention.granted |= bits
                    mention.modes.append(self._mode(rule))
                    mention.rules.append(rule.id)
        own = self._protected.same.get(ObjectId(Kind.LAYER, container.name))
        if own is not None:
            mentions[own].granted |= _WRITABLE
        return mentions

    def _matching(self, container: Container, rule: DataRule, targets: Iterable[DataTarget]) -> Iterable[ObjectId]:
        for target in targets:
            for object_id in self._find(container, target):
                if object_id in self._protected.objects:
                    yield object_id
                else:
                    what = f"{object_id.kind} {object_id.name!r}"
                    self.warnings[f"{rule.id}: {what} is not protected: any container may touch it"] = None

    def _find(self, container: Container, target: DataTarget) -> tuple[ObjectId, ...]:
        if PLACEHOLDER in target.pattern:
            return self._index.matching(DataTarget(target.kind, fill(target.pattern, container.name)))
        if target not in self._found:
            self._found[target] = self._index.matching(target)
        return self._found[target]


def _reserved_rows(policy: Policy, generation: int) -> dict[RowKey, Row]:
    return {
        RowKey(generation, Reserved.UNNAMED, 0): Row(0, int(policy.mode)),
        RowKey(generation, Reserved.CANARY, 0): Row(0, int(Mode.ENFORCE)),
    }


def _prepared(facts: Facts, ids: Ids) -> dict[DockerId, int]:
    return {docker_id(container): ids.subject(container) for container in facts.containers}


def _cgroups(facts: Facts, ids: Ids) -> dict[int, Subject]:
    return {
        number: Subject(ids.subject(c.id), int(State.ARMED), c.cgroup)
        for c in facts.containers.values()
        if c.cgroup
        for number in (c.cgroup, *c.nested)
    }


def _objects(
    protected: Protected, facts: Facts, numbers: Mapping[ObjectId, int], generation: int, *, canary: Inode | None
) -> dict[InodeKey, Object]:
    """The nearest object answers, so what is the agent's own stands within whatever encloses it, and the canary within that."""
    rows: dict[InodeKey, Object] = {}

    def put(inode: Inode, number: int, *, has_inner: bool) -> None:
        key = InodeKey(inode.inode, inode.device, generation)
        rows[key] = Object(number, int(has_inner), inode.version)

    for object_id, found in protected.objects.items():
        first = protected.same[object_id]
        for inode in found.links:
            put(inode, numbers[first], has_inner=False)
        for inode in found.inodes:
            put(inode, numbers[first], has_inner=first in protected.enclosing)
    for own in facts.own:
        put(own.inode, Special.JOURNAL if own.journal else Special.OWN, has_inner=True)
    if canary is not None:
        put(canary, Reserved.CANARY, has_inner=False)
    return rows


def _filesystems(objects: Iterable[InodeKey], facts: Facts, generation: int) -> dict[DeviceKey, int]:
    devices = {key.device for key in objects} | facts.disks
    return {DeviceKey(generation, device): 1 for device in devices}


def _unprotecting(policy: Policy, facts: Facts, protected: Protected) -> Iterable[str]:
    """What is listed as protected and is not."""
    index = ObjectIndex(facts.objects)
    for number, target in enumerate(policy.protected):
        if not index.matching(target):
            missing = target.kind is Kind.PATH and is_plain(target.pattern)
            why = "does not exist on this host" if missing else "matches nothing on this host"
            yield f"data.protected[{number}]: {target.kind} {target.pattern!r} {why}"
    for object_id, found in protected.objects.items():
        if not found.inodes:
            yield f"data.protected: {object_id.kind} {object_id.name!r} has no directory yet, so nothing guards it"
        if found.unlooked:
            what = f"{object_id.kind} {object_id.name!r}"
            yield f"data.protected: {what} has too many files to look for hard links that lead to them from elsewhere"
