"""The ``data`` section: what is protected, and who may do what with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from enforcer.core.cursor import Cursor, Fields, shown
from enforcer.core.document import Scalar
from enforcer.core.model import DataRule, DataTarget, Kind
from enforcer.core.parse_text import host_path, mode_of, name_glob, who_of
from enforcer.core.select import PLACEHOLDER, is_plain, may_overlap

_KINDS = tuple(k.value for k in (Kind.VOLUME, Kind.PATH, Kind.LAYER))


def protected_of(cursors: Iterable[Cursor]) -> tuple[DataTarget, ...]:
    """The entries of ``data.protected``."""
    return tuple(t for c in cursors if (t := _target(c, rule=False)))


def data_rules_of(
    cursors: Iterable[Cursor], *, containers: Collection[str], protected: tuple[DataTarget, ...] | None
) -> tuple[DataRule, ...]:
    """The rules of ``data.rules``. ``protected`` is ``None`` if that section is wrong: coverage is not judged then."""
    cover = None if protected is None else _Cover.of(protected)
    return tuple(r for c in cursors if (r := _rule(c, containers=containers, cover=cover)))


@dataclass(frozen=True)
class _Cover:
    """What is protected, in the order in which a match is found soonest: policies of 10,000 objects have to load."""

    exact: frozenset[DataTarget]
    globs_first: tuple[DataTarget, ...]

    @classmethod
    def of(cls, protected: tuple[DataTarget, ...]) -> _Cover:
        return cls(frozenset(protected), tuple(sorted(protected, key=lambda t: is_plain(t.pattern))))

    def holds(self, granted: DataTarget) -> bool:
        """Whether the grant can concern something protected. Of two globs the host decides."""
        pattern = granted.pattern.replace(PLACEHOLDER, "*")
        return granted in self.exact or any(
            p.kind is granted.kind and may_overlap(p.pattern, pattern) for p in self.globs_first
        )


def _rule(cursor: Cursor, *, containers: Collection[str], cover: _Cover | None) -> DataRule | None:
    fields = cursor.fields("data rule")
    if fields is None:
        return None
    who = fields.need("who", hint='name one or more of "containers"')
    mode = fields.get("mode")
    if not {"read-write", "read-only"} & (fields.known.keys() | fields.meant):
        cursor.refuse('grants nothing; give "read-write" or "read-only" (an empty list grants nothing on purpose)')
    grants = {key: _granted(fields, key, cover) for key in ("read-write", "read-only")}
    _refuse_repeats(grants)
    return DataRule(
        id=cursor.path,
        who=who_of(who, containers) if who else (),
        read_write=tuple(t for _, t in grants["read-write"]),
        read_only=tuple(t for _, t in grants["read-only"]),
        mode=mode_of(mode) if mode else None,
    )


def _granted(fields: Fields, key: str, cover: _Cover | None) -> list[tuple[Cursor, DataTarget]]:
    section = fields.get(key)
    found = [(c, t) for c in (section.items() if section else None) or [] if (t := _target(c, rule=True))]
    for cursor, target in found:
        if cover and not cover.holds(target):
            cursor.refuse(
                f'{target.kind} "{shown(target.pattern)}" is under nothing in "data.protected", so granting it means '
                "nothing; protect it there or correct the name"
            )
    return found


def _refuse_repeats(grants: dict[str, list[tuple[Cursor, DataTarget]]]) -> None:
    seen: dict[DataTarget, str] = {}
    for key, targets in grants.items():
        for cursor, target in targets:
            if target not in seen:
                seen[target] = key
            elif seen[target] == key:
                cursor.refuse(f'"{shown(target.pattern)}" is listed twice; keep one')
            else:
                cursor.refuse(f'"{shown(target.pattern)}" stands in {seen[target]} of this rule too; keep one')


def _target(cursor: Cursor, *, rule: bool) -> DataTarget | None:
    """A data object. In a rule a bare text names a volume, and ``{name}`` may stand in it."""
    if rule and isinstance(cursor.node, Scalar):
        kind, value = Kind.VOLUME.value, cursor
    elif (fields := cursor.fields("data object")) and (chosen := fields.choose(_KINDS)):
        kind, value = chosen
    else:
        return None
    read = host_path if kind == Kind.PATH else name_glob
    pattern = read(value, placeholder=rule)
    return DataTarget(kind=Kind(kind), pattern=pattern) if pattern is not None else None
