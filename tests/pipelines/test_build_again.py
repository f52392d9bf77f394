"""A build after another one: the same bytes anywhere, up to date, and refused where what it was made of changed."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import MANIFEST
from pile_toolkit.core.plan import PLAN_FILE, plan_manifest
from pipelines.build import build
from pipelines.corpus import CorpusResult, write_corpus_files
from pipelines.dedup import dedup
from pipelines.download import download
from pipelines.keep_list import KEEP_LIST_FILE
from tests.pipelines.test_build import HALVES, WEIGHTS, plan_bytes


def test_a_build_that_is_refused_leaves_the_last_one_standing(ready):
    root = ready(1)
    build(root, **HALVES)
    before = plan_bytes(root)
    with pytest.raises(UsageError, match="would be empty"):
        build(root, **(HALVES | {"val_share": 1e-9}))
    assert plan_bytes(root) == before
    assert build(root, **HALVES).up_to_date


def test_the_bytes_depend_on_content_and_seed_only(ready, make_root, random_corpus, tmp_path):
    first = ready(1, "first")
    build(first, seed=5, **HALVES)
    expected = plan_bytes(first)
    again = make_root(random_corpus(1, 160), "again")
    dedup(again, method="none", jobs=2)
    build(again, seed=5, **HALVES)
    assert plan_bytes(again) == expected
    moved = tmp_path / "another place" / "deep"
    (tmp_path / "first-source").rename(tmp_path / "elsewhere")
    download(moved, components=list(WEIGHTS), source=str(tmp_path / "elsewhere"))
    dedup(moved, method="none")
    build(moved, seed=5, **HALVES)
    assert plan_bytes(moved) == expected
    result = build(again, seed=6, **HALVES)
    assert not result.up_to_date
    assert plan_bytes(again)[0] != expected[0]
    build(again, seed=5, **HALVES)
    assert plan_bytes(again) == expected


def test_a_second_build_is_up_to_date_and_says_the_same(ready):
    root = ready(1)
    first = build(root, **HALVES)
    again = build(root, **HALVES)
    assert (first.up_to_date, again.up_to_date) == (False, True)
    assert msgspec.structs.replace(again, up_to_date=False) == first
    assert msgspec.json.decode(msgspec.json.encode(again))["components"]["arxiv"].keys() >= {
        "documents",
        "copies",
        "bytes",
    }


def test_the_corpus_comes_with_the_plan_unless_it_is_not_wanted(ready):
    root = ready(1)
    without = build(root, **HALVES)
    assert not (root / "corpus").exists()
    result = build(root, **(HALVES | {"write_corpus": True}))
    assert (without.up_to_date, result.up_to_date) == (False, False)
    assert isinstance(result.corpus, CorpusResult)
    assert result.corpus.documents == result.splits
    assert build(root, **(HALVES | {"write_corpus": True})).up_to_date


def test_documents_that_changed_after_deduplication_are_not_built_from_the_old_keep_list(make_root, write_source):
    root = make_root({"arxiv": ["one", "two"], "github": ["three"]})
    dedup(root)
    write_source(root.with_name("root-source"), {"arxiv": ["two", "one"]})
    download(root, components=["arxiv"], source=str(root.with_name("root-source")))
    with pytest.raises(UsageError, match="1 components changed after deduplication, 'arxiv' first") as error:
        build(root, val_share=0.0, test_share=0.0)
    assert error.value.hint == f"pile dedup --method exact --root {root}"
    dedup(root)
    build(root, val_share=0.0, test_share=0.0)


def test_a_component_that_came_after_deduplication_is_not_left_out_in_silence(make_root, write_source, tmp_path):
    root = make_root({"arxiv": ["one", "two"]})
    dedup(root)
    download(root, components=["github"], source=str(write_source(tmp_path / "more", {"github": ["three"]})))
    with pytest.raises(UsageError, match="'github' first"):
        build(root, val_share=0.0, test_share=0.0)


def test_a_keep_list_that_is_not_the_one_of_its_manifest_is_not_built_from(ready):
    root = ready(1)
    path = root / "dedup" / KEEP_LIST_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptData, match="dedup are not those that its manifest describes") as error:
        build(root, **HALVES)
    assert error.value.hint == f"pile dedup --method none --root {root}"
    path.unlink()
    with pytest.raises(CorruptData, match="are not those"):
        build(root, **HALVES)
    dedup(root, method="none")
    build(root, **HALVES)


def test_without_a_corpus_to_write_the_one_of_another_plan_counts_as_none(ready):
    root = ready(1)
    said = Listening()
    with_corpus = HALVES | {"write_corpus": True}
    build(root, **with_corpus)
    build(root, **HALVES, reporter=said)
    assert (root / "corpus" / MANIFEST).exists()
    assert said.lines == []
    build(root, seed=99, **HALVES, reporter=said)
    assert not (root / "corpus" / MANIFEST).exists()
    assert f"{root / 'corpus'} was of another plan" in said.lines[0]
    assert f"rm -r {root / 'corpus'} frees" in said.lines[0]
    # Its files are not ours to remove.
    assert (root / "corpus" / "val.jsonl.zst").exists()
    build(root, seed=99, **HALVES, reporter=said)
    assert len(said.lines) == 1
    assert not build(root, seed=99, **with_corpus).corpus.up_to_date


class Listening:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextlib.contextmanager
    def progress(self, label, *, total, unit):
        yield lambda units: None


def test_a_plan_of_another_seed_under_this_manifest_is_followed_by_nothing(make_root, random_corpus):
    root = make_root(random_corpus(5, 60))
    dedup(root)
    path, options = root / "plan" / PLAN_FILE, {"val_share": 0.2, "test_share": 0.2, "write_corpus": False}
    build(root, seed=1, **options)
    other = path.read_bytes()
    build(root, seed=2, **options)
    assert plan_manifest(root).key.parameters["seed"] == 2
    path.write_bytes(other)
    with pytest.raises(CorruptData, match="not those that its manifest describes"):
        plan_manifest(root)
    with pytest.raises(CorruptData, match="not those that its manifest describes"):
        write_corpus_files(root)
