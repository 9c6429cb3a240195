"""From the image that the kernel holds to the one that it should hold, in steps that are each safe to stop after.

A new generation is written beside the live one, published with one store, and the old one is swept away. Within a
generation (the host changed, the policy did not) rows change in place, and their order is what keeps them safe:

- Whoever appears has its rows before its name is known; whoever vanishes loses its name before its rows.
- An address that changes hands is nobody's in between, so that no grant to the old holder reaches the new one.
- An inode that goes from one object to another (two volumes turn out to be one directory) is granted, while it moves,
  no more than before or no more than after: rows are narrowed before the move and widened after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import Any, NamedTuple

from enforcer.core.ids import Reserved
from enforcer.core.image import TIMELESS, Image, Row, RowKey, Subject, Table

PUT_ORDER = (
    Table.NAMES,
    Table.NET_ROWS,
    Table.CIDRS,
    Table.SUBNETS,
    Table.MEMBERS,
    Table.NET_SUBJECTS,
    Table.ENDPOINTS,
    Table.FILESYSTEMS,
    Table.OBJECTS,
    Table.PREPARED,
    Table.CGROUPS,
)
"""What others point to comes first. ROWS come before all of these; deletions go backwards."""


class Put(NamedTuple):
    """Write ``value`` under ``key``, whether or not the table has the key."""

    table: Table
    key: Any
    value: Any


class Delete(NamedTuple):
    """Remove ``key``, which the table has."""

    table: Table
    key: Any


class Publish(NamedTuple):
    """Make ``generation`` the live one."""

    generation: int


class Renew(NamedTuple):
    """Judge every flow anew: what the network is judged by has changed."""


Op = Put | Delete | Publish | Renew

NETWORK = frozenset({Table.NET_SUBJECTS, Table.NET_ROWS, Table.CIDRS, Table.ENDPOINTS, Table.SUBNETS, Table.MEMBERS})
"""The tables that flows are judged by. A flow that was judged is not asked about again until they change."""


def plan(old: Image | None, new: Image) -> tuple[Op, ...]:
    """The operations that turn ``old`` (None: empty maps) into ``new``. Only differences; none if they are equal."""
    if old is None:
        return tuple(_replace(Image(generation=0), new))
    if old.generation != new.generation:
        return tuple(_replace(old, new))
    ops = tuple(_amend(old, new))
    judged_by = any(isinstance(op, Put | Delete) and op.table in NETWORK for op in ops)
    return (*ops, Renew()) if judged_by else ops


def applied(image: Image | None, ops: Iterable[Op]) -> Image:
    """What the kernel holds after ``ops``. A simulation: the result has no reasons and no warnings."""
    start = image or Image(generation=0)
    tables: dict[Table, dict[Any, Any]] = {table: dict(rows) for table, rows in start.tables.items()}
    generation = start.generation
    for op in ops:
        match op:
            case Put(table, key, value):
                tables[table][key] = value
            case Delete(table, key):
                del tables[table][key]
            case Publish():
                generation = op.generation
    return Image(generation, tables=tables)


def _replace(old: Image, new: Image) -> Iterator[Op]:
    """No key of one generation is a key of another, in the tables whose keys carry it."""
    timed = [table for table in (Table.ROWS, *PUT_ORDER) if table not in TIMELESS]
    names = Image(old.generation, tables={table: old.tables[table] for table in TIMELESS})
    stranded = tuple(_stranded(names, new))
    for table in timed:
        yield from map(Put, repeat(table), new.tables[table].keys(), new.tables[table].values())
    yield from stranded
    yield Publish(new.generation)
    for table in (Table.PREPARED, Table.CGROUPS):
        yield from _puts(applied(names, stranded), new, table)
        yield from _deletes(applied(names, stranded), new, table)
    for table in reversed(timed):
        yield from map(Delete, repeat(table), old.tables[table])


def _stranded(old: Image, new: Image) -> Iterator[Op]:
    """Names of subjects that have no rows in the new generation: who still lives is nobody in particular meanwhile."""
    for table in (Table.CGROUPS, Table.PREPARED):
        rows = new.rows
        for key, value in old.tables[table].items():
            subject = value.id if isinstance(value, Subject) else value
            if RowKey(new.generation, subject, 0) not in rows:
                yield Put(table, key, _unnamed(value)) if key in new.tables[table] else Delete(table, key)


def _unnamed(value: Subject | int) -> Subject | int:
    nobody = int(Reserved.UNNAMED)
    return value._replace(id=nobody) if isinstance(value, Subject) else nobody


def _amend(old: Image, new: Image) -> Iterator[Op]:
    narrowed = tuple(_narrowed(old, new))
    yield from _changed_hands(old, new)
    yield from narrowed
    for table in PUT_ORDER:
        yield from _puts(old, new, table)
    for table in reversed(PUT_ORDER):
        if table is not Table.ENDPOINTS:
            yield from _deletes(old, new, table)
    rows = Image(old.generation, tables={Table.ROWS: old.rows})
    yield from _widened(applied(rows, narrowed), new)


def _puts(old: Image, new: Image, table: Table) -> Iterator[Op]:
    """New keys before changed ones: a new inner object must answer before the one around it is granted to others."""
    before, after = old.tables[table], new.tables[table]
    if before == after:  # most are, most of the time, and comparing them whole is no Python
        return iter(())
    fresh = (Put(table, key, value) for key, value in after.items() if key not in before)
    changed = (Put(table, key, value) for key, value in after.items() if key in before and before[key] != value)
    return chain(fresh, changed)


def _deletes(old: Image, new: Image, table: Table) -> Iterator[Op]:
    gone = old.tables[table].keys() - new.tables[table].keys()
    return (Delete(table, key) for key in old.tables[table] if key in gone) if gone else iter(())


def _changed_hands(old: Image, new: Image) -> Iterator[Op]:
    """Addresses that go away or go over to another; those that go over are put again after the subjects."""
    gone = {key for key, _ in old.endpoints.items() - new.endpoints.items()}
    return (Delete(Table.ENDPOINTS, key) for key in old.endpoints if key in gone) if gone else iter(())


def _narrowed(old: Image, new: Image) -> Iterator[Op]:
    """What can be said of the rows before any inode moves: nothing that the old or the new image would not say.

    Default rows first: whoever loses a row falls back on them.
    """
    rows_before, rows_after = old.rows, new.rows
    changed = {key for key, _ in rows_before.items() ^ rows_after.items()}
    if not changed:
        return
    objects_before = {found.id for found in old.objects.values()}
    objects_after = {found.id for found in new.objects.values()}
    for key in sorted(changed, key=_defaults_first):
        before, after, default = rows_before.get(key), rows_after.get(key), key._replace(object=0)
        if default not in rows_before or (key.object and key.object not in objects_before):
            value = after  # a new subject, or an object that no inode leads to yet: the row answers for nothing yet
        elif default not in rows_after or (key.object and key.object not in objects_after):
            value = before  # on the way out: the row stays until nothing leads to it
        else:
            value = _common(before or rows_before[default], after or rows_after[default])
        if value is None and before is not None:
            yield Delete(Table.ROWS, key)
        elif value != before:
            yield Put(Table.ROWS, key, value)


def _widened(narrowed: Image, new: Image) -> Iterator[Op]:
    """The rest of the rows. Default rows last: while they are strict, whoever loses a row is judged strictly."""
    puts, deletes = tuple(_puts(narrowed, new, Table.ROWS)), tuple(_deletes(narrowed, new, Table.ROWS))
    return chain.from_iterable(
        (op for op in ops if isinstance(op, Put | Delete) and (op.key.object == 0) is default)
        for default in (False, True)
        for ops in (puts, deletes)
    )


def _defaults_first(key: RowKey) -> tuple[bool, RowKey]:
    return key.object != 0, key


def _common(one: Row, other: Row) -> Row:
    return Row(one.granted & other.granted, max(one.mode, other.mode))
