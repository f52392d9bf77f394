"""Buckets are those of the plain definition, however little memory there is and whoever does the work."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.tasks import Workers
from pipelines.lsh import kernels
from pipelines.lsh.buckets import CELL_BITS, Piece, Span, cut, find_buckets, piece_bytes
from pipelines.lsh.columns import BandFiles
from pipelines.lsh.edges import BLOCK_EDGES
from pipelines.lsh.joining import joined, representatives
from pipelines.lsh.memory import MIB, Memory
from pipelines.minhash import bands, minhash
from tests.pipelines.lsh_twin import Rows, buckets_of, clusters_of, listed, stars_of, write_rows

AMPLE = Memory(limit_bytes=1 << 30)
# Badly made hashes, of high bits or low bits only, good ones,
# and such that become neighbours when they are spread.
NEIGHBOUR = pow(0x9E3779B97F4A7C15, -1, 1 << 64)
HASHES = st.one_of(
    st.integers(0, 300).map(lambda value: (12345 + value) * NEIGHBOUR % (1 << 64)),
    st.integers(0, 5),
    st.integers(0, 5).map(lambda value: value << 61),
    st.integers(0, (1 << 64) - 1),
)


def find(folder, rows, counts, *, memory=AMPLE, workers=Workers()):  # noqa: B008 - frozen
    return find_buckets(
        BandFiles(write_rows(folder, rows, counts)), work=folder / "work", workers=workers, memory=memory
    )


@st.composite
def cases(draw):
    """(rows, documents per file) with many collisions."""
    count, width = draw(st.integers(0, 40)), draw(st.integers(1, 3))
    pool = draw(st.lists(HASHES, min_size=1, max_size=8))
    rows = draw(
        st.lists(st.lists(st.sampled_from(pool), min_size=width, max_size=width), min_size=count, max_size=count)
    )
    split = draw(st.integers(0, count))
    return np.array(rows, np.uint64).reshape(count, width), [split, count - split]


@settings(max_examples=25)
@given(cases())
def test_edges_are_the_stars_of_the_plain_definition(tmp_path_factory, case):
    rows, counts = case
    found = find(tmp_path_factory.mktemp("lsh"), rows, counts)
    assert listed(found.edges, with_band=True) == stars_of(rows)
    buckets = [bucket for each in buckets_of(rows).values() for bucket in each]
    assert (found.buckets, found.members) == (len(buckets), sum(map(len, buckets)))
    flags = found.edges.candidates()
    assert np.flatnonzero(flags).tolist() == sorted({document for bucket in buckets for document in bucket})


@settings(max_examples=8)
@given(cases(), st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_little_memory_changes_no_edge(tmp_path_factory, case, limits):
    """Neither does another memory over the parts of a run before."""
    rows, counts = case
    folder = tmp_path_factory.mktemp("lsh")
    for limit_rows in limits:
        found = find(folder, rows, counts, memory=Rows(rows=limit_rows))
        assert listed(found.edges, with_band=True) == stars_of(rows)
        assert found.buckets == sum(map(len, buckets_of(rows).values()))


def test_many_rows_in_several_passes_and_by_any_workers_are_the_same_bytes(tmp_path):
    """One bucket is larger than the memory, and its keys are cut down to the single one."""
    generator = np.random.default_rng(5)
    rows = generator.integers(0, 6_000, (8_000, 2), dtype=np.uint64)
    rows[generator.random(8_000) < 0.4, 0] = 7
    results = []
    small = Rows(rows=1200)
    for number, (memory, workers) in enumerate(
        [(AMPLE, Workers()), (small, Workers()), (small, Workers(jobs=2)), (small, Workers(jobs=2, scheduler="dask"))]
    ):
        (tmp_path / str(number)).mkdir()
        found = find(tmp_path / str(number), rows, [1, 0, 5_000, 2_999], memory=memory, workers=workers)
        results.append((found.edges, found.buckets, b"".join(part.path.read_bytes() for part in found.edges.parts)))
    (ample, buckets, _), *others = results
    assert len(ample.parts) == 2
    assert listed(ample, with_band=True) == stars_of(rows)
    for edges, buckets_found, data in others:
        assert len(edges.parts) > 10
        assert buckets_found == buckets
        assert data == others[0][2]
        assert listed(edges, with_band=True) == listed(ample, with_band=True)


def test_a_text_that_is_there_often_makes_as_many_edges_and_no_more(tmp_path):
    count = BLOCK_EDGES + 1000
    found = find(tmp_path, np.full((count, 1), 99, np.uint64), [count])
    assert (found.edges.count, found.buckets, found.members) == (count - 1, 1, count)
    assert not representatives(found.edges).any()


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100), st.sampled_from([0, 20, 50]))
def test_pieces_cover_all_rows_once_and_fit(counts, limit_rows, shift):
    limit = piece_bytes(limit_rows, 4, 4)
    pieces, larger = cut(Span(3, 1 << 20, shift, len(counts)), np.array(counts, np.int64), limit, 4)
    cells = sorted(cell for piece in pieces for cell in range(piece.first, piece.end))
    inner = {(span.low - (1 << 20)) >> shift for span in larger}
    assert len(set(cells)) == len(cells)
    assert not inner & set(cells)
    assert {cell for cell, count in enumerate(counts) if count} <= inner | set(cells)
    assert all(piece_bytes(counts[cell], counts[cell], 4) > limit for cell in inner)
    for piece in pieces:
        held = counts[piece.first : piece.end]
        assert piece.rows == sum(held)
        assert piece_bytes(sum(held), max(held, default=0), 4) <= limit or (shift == 0 and len(held) == 1)


def test_the_clusters_of_real_texts_are_those_of_datasketch(minipile, tmp_path):
    from datasketch import MinHash, MinHashLSH

    texts = [document.text for path in sorted(minipile.glob("*.jsonl.zst")) for document in read_documents(path)]
    texts = [text[:2000] for text in texts[::8]]
    texts += [f"{text} and some more words" for text in texts[::5]] + texts[:10]
    signatures = minhash(texts)
    number, rows = bands(num_perm=128, threshold=0.8)
    hashes = np.array(
        [
            [xxhash.xxh3_64_intdigest(row[band * rows : (band + 1) * rows].tobytes()) for band in range(number)]
            for row in signatures
        ],
        np.uint64,
    )
    lsh, pairs = MinHashLSH(num_perm=128, params=(number, rows)), []
    for row, signature in enumerate(signatures):
        sketch = MinHash(num_perm=128, hashvalues=signature, scheme="affine32")
        pairs += [(row, other) for other in lsh.query(sketch)]
        lsh.insert(row, sketch)
    rank = np.random.default_rng(2).permutation(len(texts))
    found = find(tmp_path, hashes, [100, len(texts) - 100])
    expected = clusters_of(len(texts), pairs, rank.tolist())
    assert representatives(found.edges, rank=rank).tolist() == expected
    assert sum(row != top for row, top in enumerate(expected)) > len(texts) // 10


@given(st.data(), st.integers(1, 30))
def test_joining_gives_the_member_of_smallest_rank_in_any_order_of_edges(data, documents):
    pairs = data.draw(st.lists(st.tuples(*2 * [st.integers(0, documents - 1)]), max_size=40))
    rank = data.draw(st.one_of(st.none(), st.lists(st.integers(-3, 3), min_size=documents, max_size=documents)))
    order = data.draw(st.permutations(pairs))
    expected = clusters_of(documents, pairs, rank or [0] * documents)
    for kind in (np.int32, np.int64):
        blocks = [np.array(part, kind).reshape(-1, 2) for part in (order[:5], order[5:])]
        ranks = None if rank is None else np.array(rank, kind)
        assert joined(documents, blocks, rank=ranks).tolist() == expected


def test_a_long_chain_is_joined():
    count = 300_000
    chain = np.stack([np.arange(count - 1), np.arange(1, count)], axis=1)[::-1].astype(np.int32)
    assert not joined(count, [chain.copy()]).any()
    assert (joined(count, [chain.copy()], rank=np.arange(count)[::-1].copy()) == count - 1).all()


def test_ranks_and_edges_of_other_documents_are_refused():
    with pytest.raises(UsageError, match=r"int64\[3\], not one integer for each of 4"):
        joined(4, [], rank=np.arange(3))
    with pytest.raises(UsageError, match="float64"):
        joined(4, [], rank=np.zeros(4))
    for wrong in ([[0, 4]], [[-1, 0]]):
        with pytest.raises(IndexError, match="not between 0 and 3"):
            joined(4, [np.array(wrong, np.int32)])


def test_damaged_edges_and_changed_columns_are_named(tmp_path):
    rows = np.arange(40, dtype=np.uint64).reshape(20, 2) // 4
    found = find(tmp_path, rows, [20])
    part = found.edges.parts[0].path
    whole = part.read_bytes()
    part.write_bytes(whole[:-4])
    with pytest.raises(CorruptData, match="does not hold"):
        representatives(found.edges)
    part.write_bytes(b"\xff" * len(whole))
    for use in (representatives, lambda edges: edges.candidates()):
        with pytest.raises(CorruptData, match="a document is not"):
            use(found.edges)
    for folder in (tmp_path / "work").glob("edges-*"):
        shutil.rmtree(folder)
    with pytest.raises(CorruptData, match="others than a moment ago"):
        find(tmp_path, rows * np.uint64(977), [20])


def test_too_little_memory_says_what_is_the_least(tmp_path):
    rows = np.zeros((4, 1), np.uint64)
    for jobs in (1, 3):
        with pytest.raises(UsageError, match=r"MiB of memory are too little for .* it takes [\d,]+ MiB") as error:
            find(tmp_path, rows, [4], memory=Memory(limit_bytes=100 * MIB, jobs=jobs), workers=Workers(jobs=jobs))
        least = int(re.findall(r"--memory (\d+)MiB", error.value.hint)[0])
        Memory(limit_bytes=least * MIB, jobs=jobs).per_worker()
        with pytest.raises(UsageError):
            Memory(limit_bytes=(least - 1) * MIB, jobs=jobs).per_worker()
    Memory(limit_bytes=200 * MIB).check_here(20 * MIB)
    with pytest.raises(UsageError, match="it takes 226 MiB"):
        Memory(limit_bytes=200 * MIB).check_here(50 * MIB)


@given(st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=6), st.sampled_from([np.int32, np.int64]))
def test_stars_that_do_not_fit_are_continued(cells, kind):
    """For numbers of 64 bits too, which no test has documents enough for."""
    keys = np.array([key for cell in cells for key in cell], np.uint64)
    ids = (np.arange(len(keys)) + (1 << 40 if kind is np.int64 else 0)).astype(kind)
    ends = np.cumsum([len(cell) for cell in cells], dtype=np.int64)
    edges, state, found = np.empty((9, 2), kind), np.zeros(2, np.int64), []
    table = np.empty(32, np.uint64), np.empty(32, kind)
    while state[0] < len(ends):
        found += edges[: kernels.find_stars(keys, ids, ends, *table, edges, state)].tolist()
    expected, repeated, first = [], 0, int(ids[0]) if len(ids) else 0
    for cell in cells:
        expected += [
            [first + cell.index(key), first + place] for place, key in enumerate(cell) if cell.index(key) != place
        ]
        repeated += sum(cell.count(key) > 1 for key in set(cell))
        first += len(cell)
    assert found == expected
    assert state[1] == repeated


@given(st.lists(HASHES, max_size=50), HASHES, st.sampled_from([0, 4, 16, 28, 40, 52]))
def test_cells_are_counted_and_filled_as_plain_arithmetic_says(hashes, low, shift):
    low = low >> (shift + CELL_BITS) << (shift + CELL_BITS) if shift < 52 else 0
    span = Span(0, low, shift, 1 << CELL_BITS)
    keys = [value * 0x9E3779B97F4A7C15 % (1 << 64) for value in hashes]
    cells = [(key - low) >> shift if key >= low else -1 for key in keys]
    counts = np.zeros(span.cells, np.int64)
    array = np.array(hashes, np.uint64)
    kernels.count_cells(array, np.uint64(low), np.uint64(shift), counts)
    expected = np.bincount([cell for cell in cells if 0 <= cell < span.cells], minlength=span.cells)
    assert np.array_equal(counts, expected)
    part = counts[span.cells // 4 :]
    piece = Piece(span, span.cells // 4, span.cells, int(part.sum()))
    ends = np.cumsum(part)
    found, ids = np.zeros(part.sum(), np.uint64), np.zeros(part.sum(), np.int32)
    places = ends - part
    assert kernels.scatter(array, 100, np.uint64(piece.low), np.uint64(shift), places, found, ids)
    wanted = sorted((cell, row) for row, cell in enumerate(cells) if piece.first <= cell < piece.end)
    assert ids.tolist() == [100 + row for _, row in wanted]
    assert found.tolist() == [keys[row] for _, row in wanted]
