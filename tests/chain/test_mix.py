"""New weights over stored shards: a new index, the same bytes, and what a fresh build with those weights would hold."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

from pile_toolkit.chain.mix import mix_shards, planned_mix
from pile_toolkit.chain.run import run
from pile_toolkit.chain.stages import train, write_shards
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import describe, read_manifest
from pipelines.build import build
from shards.dataset import TokenDataset
from shards.format import read_index, write_index
from tests.chain.small_chain import DOCUMENTS

WEIGHTS = {
    "github": 3.0,
    "stackexchange": 1.0,
    "gutenberg-pg-19": 0.5,
    "dm-mathematics": 4.25,
    "ubuntu-irc": 1,
    "enron-emails": 1,
}


@pytest.fixture
def root(undisturbed, tmp_path):
    """A finished root to mix in."""
    shutil.copytree(undisturbed / "root", tmp_path / "root")
    return tmp_path / "root"


def test_a_mix_reads_what_a_build_with_those_weights_reads(root, configure, tmp_path):
    result = mix_shards(root, "more-code", weights=WEIGHTS)
    run(
        configure(tmp_path / "fresh"),
        overrides={"train": None, "build.weights": WEIGHTS, "build.write_corpus": False},
        jobs=1,
    )
    from tokenizer.encoder import Encoder

    def texts(folder, tokenizer) -> Counter:
        decode = Encoder.load(tokenizer).decode
        with TokenDataset(folder / "train") as dataset:
            return Counter(decode(dataset[number]) for number in range(len(dataset)))

    fresh = tmp_path / "fresh" / "root"
    mixed = texts(root / "mixes" / "more-code", root / "tokenizer" / "tokenizer.json")
    assert mixed == texts(fresh / "shards", fresh / "tokenizer" / "tokenizer.json")
    assert result.splits["train"].sequences == mixed.total()


def test_a_mix_stores_no_tokens_of_its_own_and_is_up_to_date_the_second_time(root):
    mix_shards(root, "again", weights=WEIGHTS)
    assert (root / "mixes/again/train.bin").stat().st_ino == (root / "shards/train.bin").stat().st_ino
    assert mix_shards(root, "again", weights=WEIGHTS).up_to_date


def test_a_mix_of_shards_whose_copies_are_written_out_is_the_same(root):
    def sequences(folder) -> list[list[int]]:
        with TokenDataset(folder / "train") as dataset:
            return [dataset[number].tolist() for number in range(len(dataset))]

    mix_shards(root, "shared", weights=WEIGHTS)
    assert write_shards(root, materialize=True).materialized
    result = mix_shards(root, "apart", weights=WEIGHTS)
    assert not result.materialized
    assert sequences(root / "mixes" / "apart") == sequences(root / "mixes" / "shared")


def test_what_the_manifest_says_of_a_mix_is_what_stands_there(root):
    mix_shards(root, "honest", weights=WEIGHTS)
    folder = root / "mixes" / "honest"
    manifest = read_manifest(folder)
    assert len(manifest.outputs) == 9
    for output in manifest.outputs:
        assert output == describe(folder, folder / output.path)


def test_an_index_without_some_of_the_documents_is_not_mixed(root):
    path = root / "shards" / "train.idx"
    index = read_index(path)
    pointers = index.pointers.copy()
    pointers[:] = pointers[0]
    sizes, doc_idx = index.sizes * 0, index.doc_idx.copy()
    write_index(path, dtype=index.dtype, sizes=sizes, pointers=pointers, doc_idx=doc_idx)
    with pytest.raises(CorruptData, match="names 1 documents"):
        mix_shards(root, "less", weights=WEIGHTS)


def test_a_model_trains_on_a_mix(root):
    mix_shards(root, "half", weights=WEIGHTS)
    small = {"model.layers": 1, "model.hidden_size": 32, "model.feed_forward_size": 64, "data.sequence_length": 64}
    result = train("debug", root=root, steps=2, mix="half", name="on-half", overrides=small)
    assert result.steps == 2


def test_documents_that_were_never_stored_cannot_be_mixed_in(configure, tmp_path):
    without = {**dict.fromkeys(DOCUMENTS, 1.0), "ubuntu-irc": 0.0}
    config = configure(tmp_path)
    run(config, overrides={"train": None, "build.weights": without, "build.write_corpus": False}, jobs=1)
    mix_shards(tmp_path / "root", "mine", weights=without)
    with pytest.raises(UsageError, match="not in the shards"):
        mix_shards(tmp_path / "root", "mine", weights=dict.fromkeys(DOCUMENTS, 1.0))
    # A mix that is refused leaves the last one of its name as it was.
    assert mix_shards(tmp_path / "root", "mine", weights=without).up_to_date


def test_targets_of_a_mix_are_of_its_tokens(root):
    shown = planned_mix(root, weights=WEIGHTS, total="40k", share={"github": 0.5}, max_epochs=20)
    assert sum(row.effective_bytes for row in shown) == pytest.approx(40_000, abs=3)
    result = mix_shards(root, "aimed", weights=WEIGHTS, total="40k", share={"github": 0.5}, max_epochs=20)
    epochs = read_manifest(root / "mixes" / "aimed").counts["epochs"]
    assert {row.component: row.epochs for row in shown} == epochs
    with TokenDataset(root / "shards" / "train") as dataset:
        longest = int(dataset.sizes.max())
    # Documents are copied whole, and are of all lengths.
    assert result.splits["train"].tokens == pytest.approx(40_000, abs=4 * longest)
    mix_shards(root, "table", weights=epochs)
    for name in ("train.idx", "train.docs.arrow"):
        assert (root / "mixes/aimed" / name).read_bytes() == (root / "mixes/table" / name).read_bytes()
    assert mix_shards(root, "aimed", weights=WEIGHTS, total="40k", share={"github": 0.5}, max_epochs=20).up_to_date
    with TokenDataset(root / "mixes" / "aimed" / "train") as dataset:
        origins = dataset.provenance
        tokens = Counter()
        for number in range(len(dataset)):
            tokens[origins.source(number).component] += int(dataset.sizes[number])
    assert tokens["github"] / tokens.total() == pytest.approx(0.5, abs=4 * longest / tokens.total())


def test_a_dry_run_of_a_mix_shows_its_tokens_and_something_must_be_asked_for(pile, root):
    words = ["shards", "mix", "aimed", "--root", root]
    nothing = pile(*words)
    assert nothing.returncode == 2
    assert "--weights weights.toml, or --total 1B" in nothing.stderr
    shown = pile(*words, "--total", "50k", "--share", "github=30%", "--dry-run")
    rows = [line.split() for line in shown.stdout.splitlines() if line.startswith("github ")]
    assert [row[-2:] for row in rows] == [["15,000", "30.00%"]], shown.stdout + shown.stderr
    assert not (root / "mixes").exists()


def test_sizes_of_a_mix_are_the_tokens_of_train_each_document_once(root):
    shown = planned_mix(root, weights=WEIGHTS)
    stored = read_manifest(root / "shards").counts["splits"]["train"]["stored_tokens"]
    assert sum(row.bytes for row in shown) == stored
    assert [row.epochs for row in shown] == [WEIGHTS[row.component] for row in shown]


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", ""])
def test_a_name_that_leaves_the_folder_is_refused(root, name):
    with pytest.raises(UsageError, match="no name for a mix"):
        mix_shards(root, name, weights="pile")


def test_a_mixture_of_nothing_is_refused(root):
    with pytest.raises(UsageError, match="all weights of that mixture are 0"):
        mix_shards(root, "nothing", weights=dict.fromkeys(DOCUMENTS, 0.0))
    assert not (root / "mixes" / "nothing").exists()


def test_shards_are_not_mixed_by_a_plan_that_was_made_after_them(root):
    build(root, seed=99, val_share=0.1, test_share=0.1, write_corpus=False)
    with pytest.raises(UsageError, match="not the one that its shards were written by"):
        mix_shards(root, "other", weights=WEIGHTS)
