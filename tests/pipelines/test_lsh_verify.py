"""An edge stands only between sets that are similar enough, exactly, and comparisons left out are reported."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.tasks import Workers
from pipelines.lsh.buckets import find_buckets
from pipelines.lsh.columns import BandFiles
from pipelines.lsh.joining import representatives
from pipelines.lsh.memory import Memory
from pipelines.lsh.quality import pairs_below, s_curve
from pipelines.lsh.sets import SetFiles, write_sets
from pipelines.lsh.similarity import kernels
from pipelines.lsh.verify import millionths, plan_centres, verify_edges
from tests.pipelines.lsh_twin import DIGEST, listed, similarity, verified_of, write_all_sets, write_rows

AMPLE = Memory(limit_bytes=1 << 30)
SETS = st.frozensets(st.integers(0, 9) | st.integers((1 << 64) - 3, (1 << 64) - 1), max_size=9).map(sorted)


@dataclass(frozen=True, kw_only=True)
class Tight(Memory):
    """Room for so many edges per worker: no real memory is as small."""

    limit_bytes: int = 1 << 30
    edges: int

    def per_worker(self, **_: object) -> int:
        from pipelines.lsh.stars import CACHE_PAIRS, row_bytes
        from pipelines.lsh.verify import _LEAST_WINDOW_BYTES

        return 8 * CACHE_PAIRS + _LEAST_WINDOW_BYTES + row_bytes(1) * self.edges


def verify(folder, rows, sets, counts, *, memory=AMPLE, jobs=1, **options):
    columns = BandFiles(write_rows(folder, rows, counts))
    workers = Workers(jobs=jobs)
    given = {"work": folder / "work", "workers": workers}
    edges = find_buckets(columns, memory=AMPLE, **given).edges
    return verify_edges(
        edges, sets=write_all_sets(folder, sets, counts), documents=counts, memory=memory, **given, **options
    )


@st.composite
def cases(draw):
    """(band hashes, sets, documents per file, ranks)."""
    count, width = draw(st.integers(0, 25)), draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=count, max_size=count))
    sets = draw(st.lists(SETS, min_size=count, max_size=count))
    rank = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    split = draw(st.integers(0, count))
    return np.array(rows, np.uint64).reshape(count, width), sets, [split, count - split], rank


@settings(max_examples=30)
@given(cases(), st.sampled_from([0.2, 0.5, 2 / 3, 0.8, 1.0]), st.sampled_from([1, 2, 64]))
def test_verified_edges_are_those_of_the_plain_definition(tmp_path_factory, case, threshold, cap):
    rows, sets, counts, rank = case
    given = {"threshold": threshold, "comparisons_per_member": cap, "rank": np.array(rank, np.int64)}
    found = verify(tmp_path_factory.mktemp("lsh"), rows, sets, counts, **given)
    edges, figures = verified_of(rows, sets, rank, Fraction(millionths(threshold), kernels.ONE), cap)
    assert listed(found.edges) == edges
    assert (found.failed, found.capped_members, found.capped_buckets) == figures


@pytest.fixture(scope="module")
def planted():
    """(band hashes, sets, documents per file, ranks): buckets of up to hundreds, their members half similar."""
    generator = np.random.default_rng(3)
    count = 1500
    kinds = generator.integers(0, 300, count)
    kinds[:200] = 5
    cores = [sorted({int(v) for v in generator.integers(0, 1 << 63, 30)}) for _ in range(600)]
    sets = [sorted(cores[2 * kind + generator.integers(2)][generator.integers(0, 8) :]) for kind in kinds]
    rows = np.stack(
        [kinds, np.where(generator.random(count) < 0.5, kinds, np.arange(count) + 1000), kinds % 40], axis=1
    )
    return rows.astype(np.uint64), sets, [700, 0, 800], generator.permutation(count)


def test_little_memory_and_two_processes_change_nothing(tmp_path, planted):
    rows, sets, counts, rank = planted
    edges, figures = verified_of(rows, sets, rank, Fraction(4, 5), 3)
    assert figures[0] > 1000
    assert figures[2] > 10
    results = []
    for number, (memory, jobs) in enumerate([(AMPLE, 1), (Tight(edges=250), 1), (Tight(edges=250), 2)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        given = {"threshold": 0.8, "comparisons_per_member": 3, "rank": rank}
        found = verify(folder, rows, sets, counts, memory=memory, jobs=jobs, **given)
        assert listed(found.edges) == edges
        assert found[1:] == figures
        results.append([part.path.read_bytes() for part in found.edges.parts])
    assert len(results[0]) == 1
    assert len(results[1]) > 10
    assert results[1] == results[2]
    with pytest.raises(UsageError, match="too little"):
        verify(tmp_path, rows, sets, counts, memory=Tight(edges=20), threshold=0.8)


@given(st.lists(SETS, min_size=2, max_size=12), st.lists(st.integers(1, 5), max_size=5), st.integers(0, 3))
def test_verification_goes_on_where_it_stopped_and_does_without_memory_of_pairs(sets, sizes, cache_bits):
    """With room for two edges and for one comparison at a time; numbers of 64 bits are not remembered."""
    ends = np.cumsum([min(size, len(sets)) for size in sizes], dtype=np.int64)
    base = np.array([value for each in sets for value in each], np.uint64)
    starts = np.cumsum([0, *map(len, sets)])
    results = []
    for kind, size, edges_at_once, limit_bytes in ((np.int32, 1 << cache_bits, 2, 0), (np.int64, 0, 1000, 1 << 40)):
        items = np.array([item for size in sizes for item in range(min(size, len(sets)))], kind)
        places, lengths = starts[items.astype(int)], np.array([len(sets[item]) for item in items], np.int64)
        state, edges, found = np.zeros(kernels.STATE_SIZE, np.int64), np.empty((edges_at_once, 2), kind), []
        cache, progress = np.zeros(size, np.uint64), np.zeros(3, np.int64)
        while state[kernels.BUCKET] < len(ends):
            given = items, places, lengths, ends, base, 600_000, 2, limit_bytes, cache, edges, state, progress
            found += edges[: kernels.find_verified(*given)].tolist()
        results.append((found, state.tolist()))
    assert results[0] == results[1]


def test_without_ranks_the_smallest_number_is_the_centre(tmp_path, planted):
    rows, sets, counts, _ = planted
    found = verify(tmp_path, rows, sets, counts, threshold=0.8)
    edges, _ = verified_of(rows, sets, range(len(sets)), Fraction(4, 5), 64)
    assert listed(found.edges) == edges


@given(SETS, SETS, st.integers(1, kernels.ONE))
@example([], [], kernels.ONE)
@example([], [1], 1)
@example(list(range(9)), list(range(1, 10)), 800_000)
@example(list(range(1, 10)), list(range(10)), 900_000)
@example(list(range(1, 10)), list(range(10)), 900_001)
def test_similarity_is_decided_as_fractions_decide_it(left, right, threshold):
    expected = similarity(left, right) >= Fraction(threshold, kernels.ONE)
    assert decided(left, right, threshold, limit_bytes=1 << 20) == [expected]


def decided(left, right, threshold: int, *, limit_bytes: int) -> list[int]:
    """What every call says until it is decided."""
    base, progress, found = np.array([*left, *right], np.uint64), np.zeros(3, np.int64), [-1]
    while found[-1] < 0:
        given = 0, len(left), len(left), len(right), threshold, limit_bytes
        found.append(kernels.similar(base, *given, progress))
    assert progress.tolist() == [0, 0, 0]
    return found[1:]


def test_long_sets_at_the_very_threshold(tmp_path):
    size = 100_000
    for common, stands in ((80_000, True), (79_999, False)):
        left, right = range(common), range(size)
        sets = [list(left), list(right)]
        found = verify(tmp_path / str(common), np.zeros((2, 1), np.uint64), sets, [2], threshold=0.8)
        assert found.edges.count == stands


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-5, 5)), max_size=90), st.data())
def test_buckets_are_sorted_by_rank_and_number(pairs, data):
    count = len(pairs)
    cuts = sorted(data.draw(st.sets(st.integers(1, count), max_size=3))) if count else []
    ends = [*cuts, count] if count and (not cuts or cuts[-1] != count) else cuts
    ranks = np.array([rank for rank, _ in pairs], np.int64)
    items = np.array([item for _, item in pairs], np.int32)
    expected = [sorted(pairs[start:end]) for start, end in itertools.pairwise([0, *ends])]
    kernels.sort_buckets(items, ranks, np.array(ends, np.int64))
    assert list(zip(ranks.tolist(), items.tolist(), strict=True)) == list(itertools.chain.from_iterable(expected))


def test_sets_come_back_as_they_were_written_and_others_are_missing(tmp_path):
    with write_sets(tmp_path / "a", digest=DIGEST) as writer:
        writer.add(np.array([1, 4]), np.array([0, 2, 2]), np.array([3, 1 << 63], np.uint64))
        writer.add(np.array([6]), np.array([0, 1]), np.array([8], np.uint64))
    with write_sets(tmp_path / "b", digest=DIGEST):
        """No document of this file stands in a bucket."""
    with write_sets(tmp_path / "c", digest=DIGEST) as writer:
        writer.add(np.array([0]), np.array([0, 3]), np.array([5, 6, 7], np.uint64))
    paths = [tmp_path / name for name in "abc"]
    with SetFiles(paths, [7, 3, 1]) as sets:
        for limit_bytes in (1, 1 << 20):
            places, sizes = sets.locate(np.array([10, 6, 4, 1]), limit_bytes=limit_bytes)
            assert sizes.tolist() == [3, 1, 0, 2]
            for place, size, expected in zip(places, sizes, ([5, 6, 7], [8], [], [3, 1 << 63]), strict=True):
                array = np.array(expected, np.uint64)
                both = np.array([[0, 1]])
                base = sets.base
                start = (array.ctypes.data - base.ctypes.data) // 8
                found = np.zeros(1, np.bool_)
                given = np.array([place, start]), np.array([size, len(array)]), both, kernels.ONE, 0, 1 << 20, found
                kernels.similar_pairs(base, *given, np.zeros(3, np.int64))
                assert found[0]
        for document, fact in (
            (0, r"a is no file .* no set of document 0,"),
            (9, r"b .* document 2,"),
            (11, "in none"),
        ):
            with pytest.raises(CorruptData, match=fact):
                sets.locate(np.array([1, document]), limit_bytes=1 << 20)
    data = struct.pack("<8sIIQQ32s", b"PILESETS", 1, 0, 3, 3, DIGEST.encode())
    data += struct.pack("<9Q", 3, 1 << 63, 8, 1, 4, 6, 2, 2, 3)
    assert paths[0].read_bytes() == data


@pytest.mark.parametrize(
    ("documents", "offsets", "values"),
    [
        ([0], [0, 2], [2, 1]),
        ([0], [0, 2], [1, 1]),
        ([0, 0], [0, 1, 2], [1, 2]),
        ([1, 0], [0, 1, 2], [1, 2]),
        ([0], [0, 1], [1, 2]),
        ([0], [1, 2], [1, 2]),
        ([0, 1], [0, 2], [1, 2]),
        ([0, 1], [0, 2, 1], [1]),
    ],
)
def test_sets_that_are_none_are_refused(tmp_path, documents, offsets, values):
    with pytest.raises(UsageError), write_sets(tmp_path / "x", digest=DIGEST) as writer:
        writer.add(np.array(documents), np.array(offsets), np.array(values, np.uint64))
    assert not list(tmp_path.iterdir())


def file_of(rows, values, *numbers, magic=b"PILESETS", bands=0):
    return struct.pack(f"<8sIIQQ32s{len(numbers)}Q", magic, 1, bands, rows, values, DIGEST.encode(), *numbers)


@pytest.mark.parametrize(
    "data",
    [
        b"PILESETS",
        file_of(1, 1, 7, 0, 1, magic=b"PILEBAND"),
        file_of(1, 1, 7, 0, 1, bands=3),
        file_of(1, 1, 7, 0),
        file_of(1, 1, 7, 0, 1, 1),
        file_of(1, 1, 7, 10, 1),
        file_of(2, 1, 7, 3, 3, 0, 1),
        file_of(2, 1, 7, 4, 3, 0, 1),
        file_of(2, 1, 7, 3, 4, 1, 0),
        file_of(1, 1, 7, 3, 2),
        file_of(1, 1, 7, 3, 0),
        file_of(1, 1, 7, 3, (1 << 64) - 1),
        file_of(0, 1, 7),
        file_of(1 << 61, 0),
        file_of(0, 1 << 61),
    ],
)
def test_a_hostile_file_of_sets_is_refused_and_named(tmp_path, data):
    (tmp_path / "good").write_bytes(file_of(1, 1, 7, 3, 1))
    (tmp_path / "bad").write_bytes(data)
    SetFiles([tmp_path / "good"], [10]).close()
    with pytest.raises(CorruptData, match="bad is no file of shingle sets"):
        SetFiles([tmp_path / "bad"], [10])


def test_sets_of_other_settings_or_other_files_are_refused(tmp_path):
    for name, digest in (("a", DIGEST), ("b", "f" * 16)):
        with write_sets(tmp_path / name, digest=digest):
            """Empty."""
    with pytest.raises(UsageError, match=r"b holds shingle sets of other settings than .*a"):
        SetFiles([tmp_path / "a", tmp_path / "b"], [1, 1])
    with pytest.raises(UsageError, match=r"1 files .* 2 document files"):
        SetFiles([tmp_path / "a"], [1, 1])


def test_a_threshold_is_a_number_of_millionths():
    assert [millionths(value) for value in (1.0, 0.8, 2 / 3, 1e-6)] == [1_000_000, 800_000, 666_667, 1]
    for wrong in (0.0, -1.0, 1.1, float("nan"), 1e-9):
        with pytest.raises(UsageError, match="similarity threshold"):
            millionths(wrong)


@given(cases(), st.sampled_from([0.3, 0.8]), st.integers(1, 400))
@settings(max_examples=25)
def test_pairs_below_the_threshold_are_all_counted_in_small_clusters(tmp_path_factory, case, threshold, sample):
    rows, sets, counts, _ = case
    folder = tmp_path_factory.mktemp("lsh")
    edges = find_buckets(
        BandFiles(write_rows(folder, rows, counts)), work=folder, workers=Workers(), memory=AMPLE
    ).edges
    tops = representatives(edges)
    given = {"sets": write_all_sets(folder, sets, counts), "documents": counts, "threshold": threshold}
    found = pairs_below(tops, sample=sample, **given)
    pairs = [pair for pair in itertools.combinations(range(len(sets)), 2) if tops[pair[0]] == tops[pair[1]]]
    below = sum(similarity(sets[a], sets[b]) < Fraction(millionths(threshold), kernels.ONE) for a, b in pairs)
    assert found.pairs == len(pairs)
    if all(size * (size - 1) // 2 <= sample for size in np.bincount(tops, minlength=1)):
        assert found.compared == len(pairs)
        assert found.share == pytest.approx(below / max(1, len(pairs)))
    assert found == pairs_below(tops, sample=sample, **given)


def test_a_large_cluster_is_judged_by_a_sample_drawn_by_the_seed(tmp_path):
    sets = [[number % 2] for number in range(2000)]
    given = {"sets": write_all_sets(tmp_path, sets, [2000]), "documents": [2000], "threshold": 0.5}
    tops = np.zeros(2000, np.int32)
    shares = [pairs_below(tops, sample=4000, seed=seed, **given) for seed in (1, 1, 2)]
    assert shares[0] == shares[1] != shares[2]
    assert all((found.pairs, found.compared) == (1999 * 1000, 4000) for found in shares)
    # Half of the pairs, within five standard deviations.
    assert all(abs(found.share - 0.5) < 5 * 0.5 / 4000**0.5 for found in shares)


def test_the_s_curve_is_that_of_many_draws():
    generator = np.random.default_rng(1)
    for bands, rows, similar in ((9, 13, 0.8), (14, 9, 0.7), (25, 5, 0.5)):
        hits = (generator.random((20_000, bands, rows)) < similar).all(axis=2).any(axis=1).mean()
        assert s_curve(bands=bands, rows=rows, similarity=similar) == pytest.approx(hits, abs=0.02)
    assert s_curve(bands=9, rows=13, similarity=1.0) == 1.0
    with pytest.raises(UsageError):
        s_curve(bands=0, rows=1, similarity=0.5)


def test_centres_are_cut_into_ranges_that_fit(tmp_path, planted):
    rows, _, counts, _ = planted
    edges = find_buckets(
        BandFiles(write_rows(tmp_path, rows, counts)), work=tmp_path / "work", workers=Workers(), memory=AMPLE
    ).edges
    stars = listed(edges, with_band=True)
    for limit in (250, 1000, 10**6):
        jobs = plan_centres(edges, limit, AMPLE)
        covered = [
            [star for star in stars if job.low <= star[1] < job.high and job.band in (None, star[0])] for job in jobs
        ]
        assert sorted(itertools.chain.from_iterable(covered)) == stars
        assert [len(part) for part in covered] == [job.edges for job in jobs]
        assert max(map(len, covered)) <= limit
