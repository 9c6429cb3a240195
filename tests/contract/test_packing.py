"""The quick way to bytes and the thorough one are the same: for every row that images hold."""

from __future__ import annotations

import pytest

from enforcer.core.image import Table
from enforcer.edges.bpf.maps import LAYOUT
from enforcer.layout import pack, packing
from tests.unit.worlds import GUIDE, GUIDE_FACTS, built


@pytest.mark.parametrize("table", Table)
def test_the_quick_way_to_bytes_is_the_thorough_one(table: Table) -> None:
    """Keys and values of each table of the guide's policy on the guide's host."""
    rows = built(GUIDE, GUIDE_FACTS)[0].tables[table]
    assert rows, f"the guide fills {table}"
    for kind, values in zip(LAYOUT[table], (rows.keys(), rows.values()), strict=True):
        assert packing(kind, next(iter(values)))(values) == b"".join(pack(kind, value) for value in values)
