"""Twenty steps of the proof, of small batches: our training and a loop around transformers learn the same.

The whole one is `python -m tests.trainer.proof`; docs/training.md has its curves.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec
import pytest

from pile_toolkit.core.documents import DocumentWriter, read_documents
from tests.trainer.proof import (
    MOST_APART,
    SETTINGS,
    Curves,
    Proof,
    first_weights,
    make_shards,
    plot,
    prove,
    table,
    transformers_curves,
)
from trainer.config import load_recipe, resolved

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {
    "data.sequence_length": 32,
    "data.global_batch": 2,
    "data.micro_batch": 2,
    "train.steps": 20,
    # Two steps of warm-up: of less than one ours has none, gpt-neox goes above the highest rate.
    "optimizer.warmup_fraction": 0.1,
    "validation.interval": 10,
    "validation.batches": 4,
}


@pytest.fixture(scope="module")
def shards(minipile, reference, tmp_path_factory) -> Path:
    """Some real documents under the released tokenizer."""
    folder = tmp_path_factory.mktemp("proof")
    for slug in ("hackernews", "pubmed-abstracts", "nih-exporter"):
        with DocumentWriter(folder / "source" / f"{slug}.jsonl.zst") as writer:
            for document in islice(read_documents(minipile / f"{slug}.jsonl.zst"), 70):
                writer.write(document.text, {"pile_set_name": slug})
    tokenizer = reference / "20B_tokenizer.json"
    assert make_shards(folder / "source", folder / "root", tokenizer, test_share=0.02) == 50_277
    return folder / "root" / "shards"


def test_both_learn_the_same_from_the_same_weights_and_samples(shards, tmp_path):
    proof = prove(load_recipe("pythia-14m", SETTINGS | SMALL), shards=shards, folder=tmp_path, vocab_size=50_277)
    assert list(proof.ours.validations) == [10, 20]
    assert proof.apart < MOST_APART / 100
    assert proof.ours.losses == pytest.approx(proof.transformers.losses, rel=1e-4)
    assert proof.ours.losses[-1] < proof.ours.losses[0] - 1


def test_with_other_samples_they_would_differ(shards, tmp_path):
    recipe = load_recipe("pythia-14m", SETTINGS | SMALL | {"train.steps": 2, "validation.interval": 2})
    recipe = resolved(recipe, steps=None, vocab_size=50_277)
    other = msgspec.structs.replace(recipe, data=msgspec.structs.replace(recipe.data, seed=5))
    one, two = (transformers_curves(each, first_weights(each, tmp_path), shards=shards) for each in (recipe, other))
    assert one.losses != pytest.approx(two.losses, rel=1e-4)


def test_table_and_plot_have_every_number():
    ours = Curves([10.0, 8.0, 6.0], {1: 9.5, 3: 6.5})
    proof = Proof(ours, Curves([10.0, 8.5, 6.0], {1: 9.5, 3: 6.0}), 1.0, 2.0)
    assert proof.apart == pytest.approx(0.5 / 6)
    assert table(proof).splitlines()[2:] == ["| 1 | 9.5000 | 9.5000 | +0.0e+00 |", "| 3 | 6.5000 | 6.0000 | +8.3e-02 |"]
    svg = ElementTree.fromstring(plot(proof))
    titles = "\n".join(title.text or "" for title in svg.iter("{http://www.w3.org/2000/svg}title"))
    assert titles.count("step 2: 8.") == 2
    assert "held out, after step 3: 6.5000" in titles
    assert len(list(svg.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
