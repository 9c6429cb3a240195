"""The chain at the end of a batch: what it covers, and what cannot pass for one."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.core.chain import ORIGIN, closed, digest_of, link_of

LINES = b'{"a":1,"enforcer":{"schema":2}}\n{"a":2,"enforcer":{"schema":2}}\n'
MARKS = st.text(alphabet=st.characters(), max_size=40) | st.sampled_from(['"', "\\", "\udcff", '"chain":{', "\n"])


@given(mark=MARKS)
def test_a_chain_gives_back_what_was_committed(mark):
    """Number, mark, previous digest and digest are read back from the last line, which stays one line of JSON."""
    batch, digest = closed(LINES, 2, mark=mark, previous="ab" * 32)
    *_, last = batch.splitlines(keepends=True)
    link = link_of(last)
    assert (link.records, link.mark, link.previous, link.sha256) == (2, mark, "ab" * 32, digest)
    assert batch.count(b"\n") == LINES.count(b"\n")
    assert json.loads(last)["enforcer"]["chain"]["sha256"] == digest


def test_the_digest_is_what_sha256sum_gives():
    """All bytes of the batch up to the digest's own opening quote: anybody can compute it."""
    batch, digest = closed(LINES, 2, mark="m", previous=ORIGIN)
    covered = batch[: batch.index(b'"sha256":"') + len('"sha256":"')]
    assert (
        hashlib.sha256(covered).hexdigest() == digest == digest_of(batch, link_of(batch.splitlines(keepends=True)[-1]))
    )


@pytest.mark.parametrize("position", range(0, 179, 7))
def test_no_byte_can_change(position):
    """Whatever byte of what is covered is another one, the digest is not that of the batch."""
    batch, digest = closed(LINES, 2, mark="m", previous=ORIGIN)
    link = link_of(batch.splitlines(keepends=True)[-1])
    changed = bytearray(batch)
    changed[position] ^= 1
    assert digest_of(bytes(changed), link) != digest


@pytest.mark.parametrize(
    "line",
    [
        LINES,
        b"\n",
        b'{"enforcer":{"schema":2,"chain":{"records":1,"mark":"","previous":"","sha256":""}}}\n',
        closed(LINES, 2, mark="m", previous=ORIGIN)[0].removesuffix(b"\n"),
        b'{"name":' + json.dumps(closed(LINES, 2, mark="", previous=ORIGIN)[0].decode()).encode() + b"}}}\n",
    ],
)
def test_what_ends_no_batch_is_told(line):
    """A line without a chain, with half of one, or with one inside a text, which JSON writes with other quotes."""
    assert link_of(line) is None


def test_a_mark_has_a_bound():
    """A mark is a position, not a store."""
    with pytest.raises(ValueError, match="at most 4096"):
        closed(LINES, 2, mark="x" * 4097, previous=ORIGIN)
