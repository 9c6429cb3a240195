"""Records as Apache Parquet, written in groups of rows: memory does not grow with the journal.

Needs ``pyarrow``, which is large and which nothing else does: it comes with the extra ``export``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO

from enforcer.core.event import Event, Notice
from enforcer.core.flat import COLUMNS, Column, Type, Value, row
from enforcer.errors import EdgeError, HostError

GROUP = 1 << 14
"""Rows of a group: some megabytes while it is made, and readers can skip by its statistics."""

_TIMES = -(2**63), 2**63 - 1  # ns since 1970: the years 1677 to 2262


class _Counting:
    """A file that may be a pipe: Parquet asks how far it is, but never goes back."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._written = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """All of ``data``."""
        self._file.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written."""
        return self._written

    def flush(self) -> None:
        """The file's own owner does so."""

    def close(self) -> None:
        """The file stays open."""
        self.closed = True


def write_parquet(items: Iterable[Event | Notice], file: BinaryIO) -> int:
    """Write all of ``items``, group by group; how many there were. Errors of ``file`` are those of ``OSError``.

    Raises ``HostError`` without pyarrow, ``EdgeError`` for a number that its column cannot hold.
    """
    arrow, parquet = _pyarrow()
    schema, number = _schema(arrow), 0
    try:
        with parquet.ParquetWriter(_Counting(file), schema, compression="zstd") as writer:
            for rows in _groups(items):
                writer.write_batch(_batch(arrow, schema, rows))
                number += len(rows)
    except (arrow.ArrowInvalid, OverflowError) as e:
        raise EdgeError(f"a record among those from number {number + 1} on does not fit into Parquet: {e}") from e
    return number


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415 -- only who exports pays for it
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as e:
        raise HostError("Parquet needs pyarrow: pip install 'enforcer[export]', or choose --format csv") from e
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:  # noqa: ANN401 -- pyarrow has no types
    types = {
        Type.TIME: arrow.timestamp("ns", tz="UTC"),
        Type.INT: arrow.int64(),
        Type.UNSIGNED: arrow.uint64(),
        Type.FLAG: arrow.bool_(),
        Type.TEXT: arrow.string(),
        Type.TEXTS: arrow.list_(arrow.string()),
    }
    return arrow.schema([(column.name, types[column.type]) for column in COLUMNS])


def _groups(items: Iterable[Event | Notice]) -> Iterator[list[tuple[Value, ...]]]:
    rest = iter(items)
    while rows := [row(item) for item in islice(rest, GROUP)]:
        yield rows


def _batch(arrow: Any, schema: Any, rows: Sequence[tuple[Value, ...]]) -> Any:  # noqa: ANN401 -- pyarrow has no types
    columns = zip(zip(*rows, strict=True), COLUMNS, schema, strict=True)
    arrays = [arrow.array(_clipped(values, column), field.type) for values, column, field in columns]
    return arrow.record_batch(arrays, schema=schema)


def _clipped(values: Sequence[Value], column: Column) -> Sequence[Value]:
    """One record with a clock's nonsense must not keep all the others from being exported: the help text says so."""
    if column.type is not Type.TIME:
        return values
    return [min(max(value, _TIMES[0]), _TIMES[1]) if isinstance(value, int) else value for value in values]
