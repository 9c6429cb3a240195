"""Segments, plain and sealed, read in blocks: the same lines either way, and what is damaged is said."""

from __future__ import annotations

import pytest
import zstandard

from enforcer.edges.chained import verify
from enforcer.edges.journal import Journal
from enforcer.edges.segments import blocks, plain, read, sealed, segments_of
from enforcer.errors import EdgeError
from tests.edges.test_journal import EVENT, NOTICE, sequences, written


def seal(segment, *, keep=False):
    """Compress a segment as ``zstd`` would, and remove it."""
    target = sealed(segment)
    target.write_bytes(zstandard.ZstdCompressor().compress(segment.read_bytes()))
    if not keep:
        segment.unlink()
    return target


def test_blocks_are_whole_lines_however_small(tmp_path):
    """Put together the blocks are the file, each ends with a newline, and what stands behind the last one is left out."""
    segment = written(tmp_path / "log", [EVENT] * 20, [NOTICE] * 20)
    content = segment.read_bytes()
    for path in (segment, seal(segment, keep=True)):
        for size in (100, 1000, 5000, 1 << 20):
            found = list(blocks(path, size=size))
            assert b"".join(found) == content
            assert all(block.endswith(b"\n") for block in found)
            assert b"".join(blocks(path, start=content.index(b"\n") + 1, size=size)) == content.split(b"\n", 1)[1]
    segment.write_bytes(content + b"{half")
    assert b"".join(blocks(segment, size=100)) == content


def test_a_sealed_segment_reads_as_it_did(tmp_path):
    """Records of sealed and plain segments come in the order of their numbers."""
    seal(written(tmp_path / "log", [EVENT, EVENT]))
    with Journal(tmp_path / "log") as journal:
        assert journal.append([EVENT]) == 3
    assert [path.name[-8:] for path in segments_of(tmp_path / "log")] == ["sonl.zst", "03.jsonl"]
    assert sequences(tmp_path / "log") == [1, 2, 3]


def test_a_segment_that_is_there_both_ways_is_read_once(tmp_path):
    """Between the renaming of the sealed one and the removal of the plain one, nothing is told twice."""
    seal(written(tmp_path / "log", [EVENT, EVENT]), keep=True)
    assert sequences(tmp_path / "log") == [1, 2]


def test_a_segment_that_is_sealed_while_it_is_read_is_read_on(tmp_path):
    """A reader that listed the plain one finds the other one in its place."""
    segment = written(tmp_path / "log", [EVENT, EVENT])
    content = segment.read_bytes()
    seal(segment)
    assert b"".join(blocks(segment)) == content
    assert [item.sequence for item in read([segment])] == [1, 2]
    assert plain(sealed(segment)) == segment


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_sealed_segment_that_is_cut_short_is_said(tmp_path, share):
    """A truncated one gives what it holds and then an error that names it; it never just ends."""
    target = seal(written(tmp_path / "log", [EVENT] * 2000))
    data = target.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(EdgeError, match=r"zst is (cut short|damaged)"):
        list(blocks(target))


def test_a_sealed_segment_that_is_damaged_is_said(tmp_path):
    """A flipped bit is found by the format's own checksum or by its grammar, or by the chain."""
    target = sealed(written(tmp_path / "log", [EVENT] * 200))
    compressed = zstandard.ZstdCompressor(write_checksum=True).compress(plain(target).read_bytes())
    target.write_bytes(compressed[:-1] + bytes([compressed[-1] ^ 1]))
    with pytest.raises(EdgeError, match="is damaged"):
        list(blocks(target))


def test_bytes_that_only_look_sealed_are_an_error(tmp_path):
    """A frame's beginning and nothing else."""
    (tmp_path / "x.zst").write_bytes(b"(\xb5/\xfd")
    with pytest.raises(EdgeError, match="is damaged"):
        list(blocks(tmp_path / "x.zst"))


@pytest.mark.parametrize("left", [0, 1, 3])
def test_a_sealed_segment_that_is_emptied_is_damaged(tmp_path, left):
    """It is no plain one without records: also where it was listed as plain, and where it is verified alone."""
    target = seal(written(tmp_path / "log", [EVENT] * 3))
    target.write_bytes(target.read_bytes()[:left])
    for path in (target, plain(target)):
        with pytest.raises(EdgeError, match="is damaged"):
            list(blocks(path))
    assert [fault.kind for fault in verify(target).faults] == ["damaged"]


@pytest.mark.parametrize("byte", range(4))
def test_a_sealed_segment_with_a_damaged_beginning_is_damaged(tmp_path, byte):
    """What begins with another magic number is not taken for text."""
    target = seal(written(tmp_path / "log", [EVENT] * 3))
    data = bytearray(target.read_bytes())
    data[byte] ^= 0x40
    target.write_bytes(data)
    with pytest.raises(EdgeError, match="is damaged"):
        sequences(tmp_path / "log")


@pytest.mark.parametrize("sized", [False, True])
def test_frames_that_we_never_write_are_refused(tmp_path, sized):
    """One that does not say how long it is, or a second one behind it, could be cut short without a sign."""
    segment = written(tmp_path / "log", [EVENT] * 3)
    stream = zstandard.ZstdCompressor().compressobj()
    unsized = stream.compress(segment.read_bytes()) + stream.flush()
    frame = zstandard.ZstdCompressor().compress(segment.read_bytes())
    sealed(segment).write_bytes(frame + frame if sized else unsized)
    with pytest.raises(EdgeError, match=r"is damaged: (its frame does not say|more than its one frame)"):
        list(blocks(sealed(segment)))
