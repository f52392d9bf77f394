"""Statistics of components and of the plan against plain Python, in whatever blocks, files and processes they come."""

from __future__ import annotations

import json
import random
import sys
import types
import unicodedata
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import StageKey, describe, publish
from pile_toolkit.core.plan import SPLITS
from pipelines.stats import count_statistics, counting
from pipelines.stats.lengths import Lengths, LengthTally, histogram, merged, of_key, quantiles
from pipelines.stats.stage import TokenSources
from tests.making import make_plan, write_component
from tests.pipelines import statistics_twin as twin

LENGTH = st.integers(0, 1 << 40)
WORDS = ["the", "a", "Straße", "数学", "😀", "x" * 40, "\n", "naïve", "def", "0"]
GUESS = TokenSources(0.25)


class Bytes:
    """An encoder of one id per UTF-8 byte."""

    hash = "bytes"

    @property
    def encoder(self):
        return self

    def encode_batch(self, texts, *, threads=1):
        sizes = [len(text.encode()) for text in texts]
        return np.zeros(sum(sizes), np.uint16), np.cumsum([0, *sizes])


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=int(draw.paretovariate(0.7)) % 900)) for _ in range(count)]


def counted(root, **options):
    return count_statistics(root, **{"tokens": GUESS, **options})


def row_of(result, of, component, split=None):
    return next(row for row in result.groups if (row.of, row.component, row.split) == (of, component, split))


@pytest.fixture
def root(tmp_path):
    """Two components, one of two files, with rejects and texts of many lengths."""
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": texts(300, 1), "b.jsonl.zst": [*texts(200, 2), "", "é"]})
    bad = b'{"text": "good"}\nnot a document\n{"text": "better \xc3\xa9"}\n'
    write_component(tmp_path, "mine", {"c.jsonl.zst": bad})
    return tmp_path


def plan_of(root, change=None):
    """A plan, and manifests that say what it was made of."""
    from pile_toolkit.core.components import read_component

    plan = make_plan(root, ["arxiv", "mine"], change=change)
    inputs = {slug: read_component(root, slug).digest for slug in ("arxiv", "mine")}
    none = {"documents": 1, "kept": 1, "exact": 0, "near": 0, "contaminated": 0, "bytes": 1, "kept_bytes": 1}
    arxiv = {"documents": 500, "kept": 400, "exact": 70, "near": 20, "contaminated": 10, "bytes": 80, "kept_bytes": 60}
    (root / "dedup").mkdir(exist_ok=True)
    key = StageKey(stage="dedup", format=1, inputs=inputs)
    dedup = publish(
        root / "dedup", key, outputs=[], counts={"components": {"arxiv": arxiv, "mine": none}}, started_at=0
    )
    outputs = [describe(root / "plan", root / "plan" / "plan.parquet")]
    publish(
        root / "plan",
        StageKey(stage="build", format=1, inputs={"dedup": dedup.digest()}),
        outputs=outputs,
        counts={},
        started_at=0,
    )
    return plan


@given(st.lists(st.tuples(LENGTH, st.integers(0, 5)), max_size=60), st.integers(1, 5))
def test_lengths_are_counted_and_their_quantiles_exact_however_they_are_parted(pairs, parts):
    tally, every = LengthTally(), [length for length, times in pairs for _ in range(times)]
    for part in range(parts):
        mine = pairs[part::parts]
        tally.add((3, 1), *(np.array([pair[place] for pair in mine], np.int64) for place in (0, 1)))
    lengths = of_key(tally.rows(), (3, 1))
    assert dict(zip(lengths.values.tolist(), lengths.counts.tolist(), strict=True)) == Counter(every)
    assert (lengths.total, lengths.documents) == (sum(every), len(every))
    assert quantiles(lengths) == twin.quantiles(every)
    assert twin.is_inverted_cdf(every, quantiles(lengths))
    assert [(row.least, row.most, row.documents) for row in histogram(lengths)] == twin.histogram(every)


def test_quantiles_are_those_of_numpy_and_a_long_tally_stays_small(monkeypatch):
    monkeypatch.setattr("pipelines.stats.lengths.PENDING", 100)
    draw, tally = np.random.default_rng(1), LengthTally()
    every = draw.integers(0, 500, 4001)
    for part in np.array_split(every, 97):
        tally.add((0, 0), part)
        assert sum(len(piece.values) for pieces in tally._parts.values() for piece in pieces) <= 500 + 100 + 42
    found = quantiles(of_key(tally.rows(), (0, 0)))
    for name, value in found.items():
        percent = 100 if name == "max" else int(name[1:])
        assert value == np.percentile(every, percent, method="inverted_cdf")
    assert merged([]).documents == Lengths(*[np.empty(0, np.int64)] * 2).total == 0


def test_components_as_they_are_and_their_total_are_what_plain_python_counts(root, monkeypatch):
    # Some documents at a time, so that blocks end inside of files.
    monkeypatch.setattr(counting, "_BLOCK_DOCUMENTS", 7)
    monkeypatch.setattr(counting, "_BLOCK_CHARACTERS", 5000)
    result = counted(root)
    of = {"arxiv": [*texts(300, 1), *texts(200, 2), "", "é"], "mine": ["good", "better é"]}
    of[None] = of["arxiv"] + of["mine"]
    assert len(result.groups) == 3
    for component, wanted in of.items():
        row = row_of(result, "components", component)
        assert twin.shown(row) == twin.group(wanted)
        assert row.documents == len(wanted)
        assert row.mean_bytes == row.bytes / len(wanted)
        assert row.tokens_from == "estimate"
        assert abs(row.tokens - (0.25 * row.bytes + len(wanted))) <= 1
        assert row.bytes_per_token == row.bytes / row.tokens


def test_splits_count_copies_and_documents_in_pieces_once(root):
    draw = random.Random(5)

    def change(row):
        row["split"], row["copies"] = draw.choice([0, 0, 0, 1, 2]), draw.choice([0, 1, 2, 3])

    plan = plan_of(root, change)
    result = counted(root, tokens=TokenSources(0.25, None, Bytes()))
    all_texts = {0: [texts(300, 1), [*texts(200, 2), "", "é"]], 1: [["good", None, "better é"]]}
    rows = list(
        zip(*(plan.column(name).tolist() for name in ("component", "file", "line", "split", "copies")), strict=True)
    )
    for number, slug in enumerate(("arxiv", "mine")):
        for split in (*SPLITS, "all"):
            mine = [row for row in rows if row[0] == number and split in (SPLITS[row[3]], "all") and row[4]]
            wanted = [all_texts[number][row[1]][row[2] - 1] for row in mine for _ in range(row[4])]
            if not wanted:
                continue
            row = row_of(result, "plan", slug, split)
            assert twin.shown(row) == twin.group(wanted, [len(text.encode()) + 1 for text in wanted])
            assert (row.documents, row.tokens_from) == (len(mine), "encoded")
    train = [row for row in rows if row[3] == 0 and row[4]]
    total = row_of(result, "plan", None, "train")
    assert (total.documents, total.copies) == (len(train), sum(row[4] for row in train))


def test_pieces_of_a_cut_document_are_counted_by_themselves(tmp_path):
    write_component(tmp_path, "arxiv", {"a.jsonl.zst": ["héllo wörld", "one"]})
    write_component(tmp_path, "mine", {"c.jsonl.zst": ["two"]})
    from pile_toolkit.core.components import read_component
    from pile_toolkit.core.manifest import describe, publish, read_manifest
    from tests.making import plan_rows, put_plan

    plan_of(tmp_path)
    components = [read_component(tmp_path, slug) for slug in ("arxiv", "mine")]
    whole = [row for number, item in enumerate(components) for row in plan_rows(item, number)]
    cut = [{**whole[0], "piece_start": start, "piece_end": end, "copies": 2} for start, end in ((0, 3), (6, 11))]
    put_plan(tmp_path, components, [*cut, *whole[1:]])
    folder, key = tmp_path / "plan", read_manifest(tmp_path / "plan").key
    publish(folder, key, outputs=[describe(folder, folder / "plan.parquet")], counts={}, started_at=0.0)
    row = row_of(counted(tmp_path, tokens=TokenSources(0.25, None, Bytes())), "plan", "arxiv", "all")
    pieces = ["hél", "hél", "wörld", "wörld", "one"]
    assert twin.shown(row) == twin.group(pieces, [len(piece.encode()) + 1 for piece in pieces])
    assert row.documents == 2


def test_tokens_are_those_of_the_shards_and_only_the_rest_is_encoded(root):
    plan = plan_of(root, lambda row: row.update(copies=2 * (row["line"] % 2)))
    asked = []

    class Asked(Bytes):
        def encode_batch(self, texts, *, threads=1):
            asked.extend(texts)
            return super().encode_batch(texts)

    class Shards:
        digest, tokenizer = "shards", "bytes"

        def lengths(self):
            rows = zip(*(plan.column(name).tolist() for name in ("component", "bytes", "copies")), strict=True)
            found = {}
            for component, size, copies in rows:
                for split, times in (("train", copies), (None, copies > 0)):
                    found.setdefault((("arxiv", "mine")[component], split), []).extend([size + 1] * times)
            return {key: Lengths(*np.unique(values, return_counts=True)) for key, values in found.items()}

    result = counted(root, tokens=TokenSources(0.25, Shards(), Asked()))
    every = [*texts(300, 1), *texts(200, 2), "", "é"]
    row = row_of(result, "components", "arxiv")
    assert row.tokens_from == "shards and encoded"
    assert row.lengths["tokens"].quantiles == twin.quantiles([len(text.encode()) + 1 for text in every])
    planned = row_of(result, "plan", "arxiv", "train")
    assert (planned.tokens_from, planned.tokens) == ("shards", planned.bytes + planned.copies)
    assert Counter(asked) == Counter([*texts(300, 1)[1::2], *[*texts(200, 2), "", "é"][1::2]])
    alone = counted(root, of="components", tokens=TokenSources(0.25, Shards(), Bytes()))
    assert alone.groups == [row for row in result.groups if row.of == "components"]
    # Without an encoder what is not in the shards is a guess, and what is in them is not.
    guessed = counted(root, tokens=TokenSources(0.25, Shards()))
    assert row_of(guessed, "components", "arxiv").tokens_from == "estimate"
    assert row_of(guessed, "plan", "arxiv", "train") == planned
    # Shards of documents that are no longer there say nothing.
    write_component(root, "mine", {"c.jsonl.zst": ["another"]})
    stale = counted(root, tokens=TokenSources(0.25, Shards(), Bytes()))
    assert {row.tokens_from for row in stale.groups} == {"encoded"}
    assert row_of(stale, "components", "arxiv").tokens == row.tokens


def test_duplicates_are_the_keep_lists_and_a_stale_one_is_not_told(root):
    plan_of(root)
    found = row_of(counted(root), "components", "arxiv").duplicates
    assert (found.removed, found.exact, found.near, found.contaminated) == (100, 70, 20, 10)
    assert (found.documents_share, found.bytes_share) == (0.2, 0.25)
    write_component(root, "mine", {"c.jsonl.zst": ["another"]})
    stale = counted(root)
    assert row_of(stale, "components", "arxiv").duplicates is None
    assert {row.of for row in stale.groups} == {"components"}
    assert any("duplicates are not told" in note for note in stale.notes)
    with pytest.raises(UsageError, match="no plan of the components"):
        counted(root, of="plan")


def test_compression_is_that_of_the_files_and_of_their_lines_at_level_3(root, monkeypatch):
    found = row_of(counted(root), "components", "mine").compression
    file = root / "components" / "mine" / "c.jsonl.zst"
    assert found.file_bytes == file.stat().st_size
    lines = b'{"text":"good","meta":{}}\n{"text":"better \xc3\xa9","meta":{}}\n'
    wanted = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj()
    assert found.zstd3_bytes == len(wanted.compress(lines) + wanted.flush())
    assert (found.sample_documents, found.sample_bytes) == (2, 13)
    assert found.zstd3_ratio == 13 / found.zstd3_bytes
    monkeypatch.setattr("pipelines.stats.stage.SAMPLE_BYTES", 5000)
    sampled = row_of(counted(root), "components", "arxiv")
    assert 0 < sampled.compression.sample_documents < sampled.documents / 2
    assert sampled.compression.sample_bytes < sampled.bytes


def test_languages_are_told_where_there_is_a_detector_and_asked_for_where_not(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pipelines.filters.language", None)
    assert any("pip install" in note for note in counted(root).notes)
    detector = types.ModuleType("pipelines.filters.language")
    detector.detect = lambda text: (unicodedata.category(text[0]), 0.5)
    monkeypatch.setitem(sys.modules, "pipelines.filters", types.ModuleType("pipelines.filters"))
    monkeypatch.setitem(sys.modules, "pipelines.filters.language", detector)
    # The filter is stood in for, its library not installed.
    monkeypatch.setattr("pipelines.stats.language._version", lambda: "0")
    plan_of(root, lambda row: row.update(copies=3))
    result = counted(root)
    assert result.detector.startswith("py3langid")
    every = [*texts(300, 1), *texts(200, 2), "", "é"]
    for row, copies in ((row_of(result, "components", "arxiv"), 1), (row_of(result, "plan", "arxiv", "train"), 3)):
        wanted = Counter(detector.detect(text)[0] if text.strip() else "none" for text in every)
        assert {item.language: item.documents for item in row.languages} == {
            name: copies * count for name, count in wanted.items()
        }
        assert sum(item.bytes for item in row.languages) == row.bytes
    assert (root / "stats" / "languages.parquet").exists()
    monkeypatch.setattr("pipelines.stats.stage.LANGUAGE_DOCUMENTS", 100)
    sampled = row_of(counted(root), "components", "arxiv")
    assert 50 < sum(item.documents for item in sampled.languages) < 200
    assert sum(item.share for item in sampled.languages) == pytest.approx(1)
    assert abs(sum(item.bytes for item in sampled.languages) - sampled.bytes) <= len(sampled.languages)
    assert counted(root, languages=False).groups[0].languages is None
    assert not (root / "stats" / "languages.parquet").exists()


def test_any_number_of_workers_writes_the_same_bytes_and_a_second_run_has_nothing_to_do(root):
    plan_of(root)
    first = counted(root)
    files = {path.name: path.read_bytes() for path in (root / "stats").iterdir() if path.name != "timings.json"}
    assert not first.up_to_date
    again = counted(root)
    assert again.up_to_date
    assert again.groups == first.groups
    (root / "stats" / "manifest.json").unlink()
    counted(root, jobs=2)
    assert {path.name: path.read_bytes() for path in (root / "stats").iterdir() if path.name != "timings.json"} == files


def test_a_run_that_ended_early_continues_from_its_finished_files(root, monkeypatch):
    undisturbed = counted(root)
    files = {path.name: path.read_bytes() for path in (root / "stats").iterdir() if path.name != "timings.json"}
    (root / "stats" / "manifest.json").unlink()
    whole = (root / "components" / "mine" / "c.jsonl.zst").read_bytes()
    (root / "components" / "mine" / "c.jsonl.zst").write_bytes(whole[:-5])
    with pytest.raises(CorruptData, match=r"c.jsonl.zst"):
        counted(root)
    assert len(list((root / "stats").glob(".work-*/count-arxiv-*/result.json"))) == 2
    (root / "components" / "mine" / "c.jsonl.zst").write_bytes(whole)
    read = []
    monkeypatch.setattr(counting, "read_documents", lambda path: read.append(path.name) or read_documents(path))
    assert counted(root).groups == undisturbed.groups
    assert read == ["c.jsonl.zst"]
    found = {path.name: path.read_bytes() for path in (root / "stats").iterdir() if path.name != "timings.json"}
    assert found == files


def test_the_tables_have_the_figures_of_the_json(root):
    plan_of(root)
    result = counted(root, tokens=TokenSources(0.25, None, Bytes()))
    told = json.loads((root / "stats" / "statistics.json").read_text())
    table = pq.read_table(root / "stats" / "statistics.parquet").to_pylist()
    assert len(table) == len(told) == len(result.groups)
    for row, group in zip(table, told, strict=True):
        assert [row[name] for name in ("of", "component", "split", "copies", "bytes", "tokens")] == [
            group[name] for name in ("of", "component", "split", "copies", "bytes", "tokens")
        ]
        assert row["tokens_p99"] == group["lengths"]["tokens"]["quantiles"]["p99"]
        assert row["compression_ratio"] == (group["compression"] or {}).get("ratio")
    buckets = pq.read_table(root / "stats" / "histograms.parquet").to_pylist()
    for group in told:
        mine = [row for row in buckets if all(row[name] == group[name] for name in ("of", "component", "split"))]
        assert sum(row["documents"] for row in mine if row["unit"] == "characters") == group["copies"]


def test_a_plan_that_names_lines_which_are_no_documents_is_an_error(root):
    plan_of(root, lambda row: row.update(line=2) if row["component"] == 1 and row["line"] == 3 else None)
    with pytest.raises(CorruptData, match="no document on line 2"):
        counted(root)
    plan_of(root, lambda row: row.update(line=9) if row["component"] == 1 and row["line"] == 3 else None)
    with pytest.raises(CorruptData, match="no document on line 9"):
        counted(root)


def test_a_root_without_components_is_told_to_download(tmp_path):
    with pytest.raises(UsageError, match="holds no components"):
        counted(tmp_path)
