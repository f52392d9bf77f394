"""The whole chain on real text of all 22 components, held against a count in plain Python and two other libraries."""

from __future__ import annotations

import json
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
import tokenizers
import zstandard

import pile_toolkit as pile
from pile_toolkit.core.plan import Plan
from pipelines.catalog import components
from pipelines.mixture import exact_copies

pytestmark = pytest.mark.real_data

CONFIG = """
root = "root"
[download]
from = "{source}"
[build]
val_share = 0.02
test_share = 0.02
[train]
recipe = "debug"
steps = 20
"""


@pytest.fixture(scope="module")
def chain(minipile, tmp_path_factory):
    """The result of `pile run` at the published weights and vocabulary."""
    folder = tmp_path_factory.mktemp("minipile")
    (folder / "pile.toml").write_text(CONFIG.format(source=minipile))
    return pile.run(folder / "pile.toml", jobs=2)


@pytest.fixture(scope="module")
def report(chain):
    """The figures of the report."""
    return json.loads(Path(chain.report).with_name("report.json").read_text())


@pytest.fixture(scope="module")
def documents(minipile) -> dict[str, list[str]]:
    """Every text by component, read with json and zstandard alone."""
    return {
        component.slug: [
            json.loads(line)["text"]
            for line in zstandard.ZstdDecompressor()
            .decompressobj()
            .decompress((minipile / f"{component.slug}.jsonl.zst").read_bytes())
            .split(b"\n")[:-1]
        ]
        for component in components()
    }


def plain_kept(documents: dict[str, list[str]]) -> dict[str, list[str]]:
    """Exact deduplication in plain Python: the first of equal texts in catalog order stays."""
    seen: set[str] = set()
    kept: dict[str, list[str]] = {}
    for slug, texts in documents.items():
        kept[slug] = [text for text in texts if not (text in seen or seen.add(text))]
    return kept


def test_the_loss_falls_and_a_report_is_there(chain):
    assert chain.last_loss < chain.first_loss - 0.5
    assert chain.first_loss == pytest.approx(math.log(50304), abs=0.5)


def test_documents_bytes_and_epochs_per_component_agree_with_a_plain_count(chain, report, documents):
    kept = plain_kept(documents)
    build = {row["slug"]: row for row in report["build"]["components"]}
    for component in components():
        row, texts = build[component.slug], kept[component.slug]
        held_out = row["val_documents"] + row["test_documents"]
        train = len(texts) - held_out
        weight = Fraction(str(component.epochs))
        copies = train * math.floor(weight) + round((weight - math.floor(weight)) * train)
        assert row["documents"] == len(texts)
        assert row["copies"] == copies + held_out
        assert row["epochs"] == component.epochs
    counted = {row["slug"]: row for row in report["download"]["components"]}
    for slug, texts in documents.items():
        assert counted[slug]["documents"] == len(texts)
        assert counted[slug]["text_bytes"] == sum(len(text.encode()) for text in texts)


def test_bytes_and_tokens_per_component_agree_with_the_written_corpus_and_the_tokenizers_library(chain, report):
    root = Path(chain.root)
    library = tokenizers.Tokenizer.from_file(str(root / "tokenizer" / "tokenizer.json"))
    library.encode_special_tokens = True
    names = {component.name: component.slug for component in components()}
    copies, text_bytes, texts = Counter(), Counter(), {}
    for path in sorted((root / "corpus" / "train").iterdir()):
        for line in zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).split(b"\n")[:-1]:
            document = json.loads(line)
            slug = names[document["meta"]["pile_set_name"]]
            copies[slug] += 1
            text_bytes[slug] += len(document["text"].encode())
            texts.setdefault(slug, Counter())[document["text"]] += 1
    (train,) = (split["stats"] for split in report["shards"]["splits"] if split["split"] == "train")
    shards = {row["slug"]: row for row in train["components"]}
    assert {slug: row["copies"] for slug, row in shards.items()} == copies
    assert {slug: row["bytes"] for slug, row in shards.items()} == text_bytes
    # Encoding everything with the library takes a minute; five components of every kind of text stand for all.
    for slug in ("dm-mathematics", "hackernews", "uspto-backgrounds", "nih-exporter", "wikipedia-en"):
        encoded = library.encode_batch_fast(list(texts[slug]), add_special_tokens=False)
        tokens = sum(
            (len(encoding.ids) + 1) * times for encoding, times in zip(encoded, texts[slug].values(), strict=True)
        )
        assert shards[slug]["tokens"] == tokens


def test_no_held_out_text_occurs_in_train_in_any_case_or_spacing(chain):
    from pile_toolkit.core.seeds import normalized

    held_out = {normalized(item.text) for split in ("val", "test") for item in pile.iter_documents(chain.root, split)}
    assert len(held_out) > 100
    assert not any(normalized(item.text) in held_out for item in pile.iter_documents(chain.root, "train"))


def test_extra_copies_go_to_the_smallest_keys(chain):
    from pile_toolkit.core.tables import hash_columns
    from pipelines.mixture import copy_keys

    plan = Plan.read(Path(chain.root))
    keys = copy_keys(plan.header.seed, hash_columns(plan.table), plan.table.column("ordinal").to_numpy())
    slugs = [component.slug for component in plan.header.components]
    books = (plan.column("component") == slugs.index("gutenberg-pg-19")) & (plan.column("split") == 0)
    assert plan.column("copies")[books].tolist() == exact_copies(2.5, keys[books]).tolist()


def test_tokenizers_and_transformers_load_our_tokenizer_and_give_our_ids(chain):
    from transformers import PreTrainedTokenizerFast

    path = f"{chain.root}/tokenizer/tokenizer.json"
    ours = pile.Encoder.load(path)
    assert ours.vocab_size == 50257
    library = tokenizers.Tokenizer.from_file(path)
    library.encode_special_tokens = True
    fast = PreTrainedTokenizerFast(tokenizer_file=path, split_special_tokens=True)
    texts = [item.text for item in pile.iter_documents(chain.root, "val")]
    texts += ["a  b   c" + " " * 30 + "d", "x<|endoftext|>y", " " * 24, "\n\t 日本語 \u00a0é"]
    for text in texts:
        ids = ours.encode(text).tolist()
        assert ids == library.encode(text, add_special_tokens=False).ids
        assert ids == fast.encode(text, add_special_tokens=False)
        assert ours.decode(ids) == text
    for run in range(1, 25):
        assert len(ours.encode(" " * run)) == 1


def test_every_stage_is_sound_and_up_to_date(chain):
    assert pile.verify(chain.root).faults == []
    again = pile.run(Path(chain.root).parent / "pile.toml", jobs=2)
    assert again.up_to_date
    assert msgspec.to_builtins(again.stages) != msgspec.to_builtins(chain.stages)
