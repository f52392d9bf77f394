"""The figures of a report are those that plain Python counts over the input and over the corpus files."""

from __future__ import annotations

import functools
import json
import statistics
from collections import Counter, defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import Tokenizer

from pile_toolkit.core.errors import CorruptData
from pile_toolkit.core.manifest import read_manifest
from pile_toolkit.report.render import write_report
from pipelines.build import build
from pipelines.catalog import components, named
from pipelines.download import download
from tests.report.roots import (
    RUN,
    SCRIPT,
    STEPS,
    input_files,
    line_of,
    read_documents,
    read_input,
    write_input,
    write_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.report.roots import Made


def by_slug(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["slug"]: row for row in rows}


def input_texts(made: Made) -> dict[str, list[str]]:
    return {
        slug: [document["text"] for path in files for document in read_documents(path)]
        for slug, files in input_files(made.source).items()
    }


def corpus_texts(made: Made) -> dict[str, dict[str, list[str]]]:
    """Copies of each component per split, as the corpus files hold them."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((made.root / "corpus").rglob("*.jsonl.zst")):
        split = "train" if path.parent.name == "train" else path.name.split(".")[0]
        for document in read_documents(path):
            component = named(document["meta"]["pile_set_name"])
            assert component is not None
            found[split][component.slug].append(document["text"])
    return found


def text_bytes(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def test_documents_bytes_and_rejects_per_component_are_those_of_the_input(made: Made):
    reported = by_slug(made.report["download"]["components"])
    assert reported.keys() == input_files(made.source).keys()
    for slug, files in input_files(made.source).items():
        rows = {row["name"]: row for row in reported[slug]["files"]}
        assert rows.keys() == {path.name for path in files}
        for path in files:
            texts = [document["text"] for document in read_documents(path)]
            expected = (len(texts), text_bytes(texts), len(read_input(path)) - len(texts))
            row = rows[path.name]
            assert (row["documents"], row["text_bytes"], row["rejects"]) == expected
        for field in ("documents", "text_bytes", "rejects"):
            assert reported[slug][field] == sum(row[field] for row in rows.values())
    for field in ("documents", "text_bytes", "rejects"):
        assert made.report["download"][field] == sum(row[field] for row in reported.values())


def test_components_stand_in_the_order_of_the_catalog(made: Made):
    order = [component.slug for component in components() if component.slug in input_files(made.source)]
    for section in ("download", "dedup", "build"):
        assert [row["slug"] for row in made.report[section]["components"]] == order


def test_rejected_lines_are_named_with_their_reason(hostile: Made):
    reported = by_slug(hostile.report["download"]["components"])
    rows = reported["github"]["first_rejects"]
    assert [(row["file"], row["line"]) for row in rows] == [("github.jsonl.zst", 62), ("github.jsonl.zst", 63)]
    assert all(row["reason"] for row in rows)
    assert reported["enron-emails"]["first_rejects"] == []


def test_each_equal_text_but_one_is_an_exact_duplicate(made: Made):
    count = Counter(text for texts in input_texts(made).values() for text in texts)
    reported = made.report["dedup"]
    assert sum(row["exact"] for row in reported["components"]) == sum(count.values()) - len(count)
    assert reported["documents"] == sum(count.values())
    for row in reported["components"]:
        assert row["documents"] == row["kept"] + row["exact"] + row["near"]
    assert reported["kept"] == sum(row["kept"] for row in reported["components"])


def test_lengths_are_counted_by_the_binary_digits_of_their_bytes(made: Made):
    texts = input_texts(made)
    for row in made.report["dedup"]["components"]:
        sizes = [len(text.encode()) for text in texts[row["slug"]]]
        expected = Counter(size.bit_length() for size in sizes)
        found = {bucket["most_bytes"].bit_length(): bucket for bucket in row["lengths"]}
        assert sorted(found) == list(range(min(expected), max(expected) + 1))
        assert {digits: bucket["kept"] + bucket["removed"] for digits, bucket in found.items()} == {
            digits: expected[digits] for digits in found
        }
        assert sum(bucket["removed"] for bucket in row["lengths"]) == row["exact"] + row["near"]
        assert row["median_bytes"] == statistics.median_low(sizes)
        for bucket in row["lengths"]:
            assert bucket["least_bytes"].bit_length() == bucket["most_bytes"].bit_length()
    together = Counter(len(text.encode()).bit_length() for rows in texts.values() for text in rows)
    for bucket in made.report["dedup"]["lengths"]:
        assert bucket["kept"] + bucket["removed"] == together[bucket["most_bytes"].bit_length()]


def test_copies_bytes_and_epochs_per_component_are_those_of_the_corpus_files(made: Made):
    corpus = corpus_texts(made)
    published = {component.slug: component for component in components()}
    for slug, row in by_slug(made.report["build"]["components"]).items():
        copies = {split: corpus[split][slug] for split in ("train", "val", "test")}
        assert row["copies"] == sum(map(len, copies.values()))
        assert row["bytes"] == sum(map(text_bytes, copies.values()))
        assert (row["val_documents"], row["test_documents"]) == (len(copies["val"]), len(copies["test"]))
        assert row["train_copies"] == len(copies["train"])
        epochs = Fraction(str(published[slug].epochs))
        whole = epochs.numerator // epochs.denominator
        documents = row["train_documents"]
        assert row["train_copies"] == whole * documents + round((epochs - whole) * documents)
        assert row["documents"] == documents + row["val_documents"] + row["test_documents"]
        assert row["epochs"] == published[slug].epochs
        assert row["published_percent"] == published[slug].weight
    reported = made.report["build"]
    everything = [text for rows in corpus.values() for texts in rows.values() for text in texts]
    assert (reported["copies"], reported["bytes"]) == (len(everything), text_bytes(everything))
    kept = by_slug(made.report["dedup"]["components"])
    assert {row["slug"]: row["documents"] for row in reported["components"]} == {
        slug: row["kept"] for slug, row in kept.items()
    }
    written = made.report["corpus"]
    for split in ("train", "val", "test"):
        texts = [text for rows in corpus[split].values() for text in rows]
        assert (written["documents"][split], written["text_bytes"][split]) == (len(texts), text_bytes(texts))


def test_tokens_per_component_are_those_of_the_tokenizers_library(made: Made):
    tokenizer = Tokenizer.from_file(str(made.root / "tokenizer" / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    # One more per copy: the end of the text.
    tokens_of = functools.cache(lambda text: len(tokenizer.encode(text).ids) + 1)
    corpus = corpus_texts(made)
    for split in made.report["shards"]["splits"]:
        total = 0
        reported = by_slug(split["stats"]["components"])
        for slug, texts in corpus[split["split"]].items():
            tokens = sum(map(tokens_of, texts))
            row = reported[slug]
            assert (row["copies"], row["tokens"], row["bytes"]) == (len(texts), tokens, text_bytes(texts))
            assert row["documents"] == len(set(texts))
            total += tokens
        assert split["stats"]["tokens"] == total
        assert split["stats"]["sequences"] == sum(map(len, corpus[split["split"]].values()))
        files = [made.root / "shards" / f"{split['split']}{suffix}" for suffix in (".bin", ".idx", ".docs.arrow")]
        assert split["file_bytes"] == sum(path.stat().st_size for path in files)


def test_the_vocabulary_is_taken_apart_without_a_rest(made: Made):
    tokenizer = Tokenizer.from_file(str(made.root / "tokenizer" / "tokenizer.json"))
    vocabulary = made.report["tokenizer"]
    parts = {part["name"]: part for part in vocabulary["parts"]}
    assert sum(part["tokens"] for part in parts.values()) == vocabulary["vocab_size"] == tokenizer.get_vocab_size()
    assert parts["special"] == {"name": "special", "tokens": 2, "first_id": 0, "last_id": 1}
    assert (parts["byte"]["tokens"], parts["run of spaces"]["tokens"]) == (256, 23)
    assert parts["merged"]["tokens"] == vocabulary["merges"] == sum(row["tokens"] for row in vocabulary["lengths"])
    # One character of the library's vocabulary is one byte.
    merged = range(parts["merged"]["first_id"], parts["merged"]["last_id"] + 1)
    sizes = Counter(len(tokenizer.id_to_token(token_id)) for token_id in merged)
    assert {row["bytes"]: row["tokens"] for row in vocabulary["lengths"]} == sizes
    longest = [row["bytes"] for row in vocabulary["longest"]]
    assert longest == sorted(sizes.elements(), reverse=True)[: len(longest)]
    for row in vocabulary["longest"]:
        if "\\x" not in row["text"]:
            assert row["text"] == tokenizer.decode([row["id"]])


def test_a_long_curve_is_averaged_over_all_its_steps(hostile: Made, tmp_path: Path):
    (run,) = hostile.report["runs"]
    losses = write_run(tmp_path, "again", steps=STEPS)
    assert run["name"] == RUN
    assert len(run["losses"]) <= 300
    covered = [step for point in run["losses"] for step in range(point["first_step"], point["last_step"] + 1)]
    assert covered == list(range(1, STEPS + 1))
    for point in run["losses"]:
        mean = statistics.fmean(losses[point["first_step"] - 1 : point["last_step"]])
        assert point["loss"] == pytest.approx(mean, rel=1e-12)
    assert [(point["step"], point["loss"]) for point in run["validations"]] == [(STEPS // 2, 2.25), (STEPS, 2.25)]
    assert (run["first_loss"], run["last_loss"]) == (losses[0], losses[-1])


def test_a_short_curve_is_not_averaged(copy: Path):
    losses = write_run(copy, "short", steps=40)
    write_report(copy)
    runs = {run["name"]: run for run in json.loads((copy / "reports" / "report.json").read_bytes())["runs"]}
    assert [point["loss"] for point in runs["short"]["losses"]] == losses


def test_a_trained_run_is_reported_as_its_manifest_and_log_have_it(copy: Path):
    pytest.importorskip("torch", reason="training needs torch")
    from pile_toolkit.chain.stages import train

    small = {"model.layers": 1, "model.hidden_size": 16, "model.heads": 2, "model.feed_forward_size": 32}
    data = {"data.sequence_length": 16, "data.global_batch": 2, "data.micro_batch": 2, "validation.batches": 1}
    result = train(root=copy, steps=10, name="trained", overrides={**small, **data})
    write_report(copy)
    report = json.loads((copy / "reports" / "report.json").read_bytes())
    run = next(run for run in report["runs"] if run["name"] == "trained")
    log = [json.loads(line) for line in (copy / "runs" / "trained" / "metrics.jsonl").read_text().splitlines()]
    assert [point["loss"] for point in run["losses"]] == [row["loss"] for row in log if "loss" in row]
    assert (run["parameters"], run["steps"], run["tokens"]) == (result.parameters, 10, 10 * 2 * 16)
    assert run["validation_loss"] == result.validation_loss == log[-1]["validation_loss"]
    assert run["tokens_per_s"] > 0


def test_every_output_of_every_stage_is_listed_with_its_hash(made: Made):
    listed = {(file["path"], file["hash"]) for stage in made.report["stages"] for file in stage["outputs"]}
    expected = set()
    for path in made.root.rglob("manifest.json"):
        if path.parent.name != "reports":
            manifest = read_manifest(path.parent)
            assert manifest is not None
            expected |= {
                (f.path if f.path[0] == "/" else str((path.parent / f.path).relative_to(made.root)), f.hash)
                for f in manifest.outputs
            }
    assert listed == expected


def test_a_stage_whose_input_changed_since_says_so(copy: Path, tmp_path: Path):
    write_input(tmp_path / "more" / "freelaw.jsonl.zst", [line_of("one more document")])
    download(copy, components=["freelaw"], source=str(tmp_path / "more"))
    write_report(copy)
    report = json.loads((copy / "reports" / "report.json").read_bytes())
    assert other_inputs(report) == {"dedup": ["freelaw"]}
    assert "Changed since this was made: freelaw." in (copy / "reports" / "index.html").read_text()


def test_a_new_plan_makes_everything_after_it_one_of_another_plan(copy: Path):
    build(copy, seed=1, val_share=0.1, test_share=0.1, write_corpus=False)
    write_report(copy)
    report = json.loads((copy / "reports" / "report.json").read_bytes())
    assert other_inputs(report) == {"tokenizer": ["plan"], "shards": ["plan"]}
    # The corpus, which was not written anew, counts as none since then.
    assert "corpus" not in [stage["folder"] for stage in report["stages"]]
    assert report["seed"] == 1


def test_nothing_has_changed_in_a_fresh_root(made: Made):
    assert other_inputs(made.report) == {}


def other_inputs(report: dict[str, Any]) -> dict[str, list[str]]:
    return {stage["folder"]: stage["other_inputs"] for stage in report["stages"] if stage["other_inputs"]}


def test_counts_of_another_version_are_named_with_the_file(copy: Path):
    path = copy / "dedup" / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["counts"]["kept"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorruptData, match=r"dedup/manifest\.json has other counts") as error:
        write_report(copy)
    assert "run that stage again" in str(error.value.hint)


def test_a_source_that_is_gone_leaves_no_excerpt_and_everything_else(hostile: Made, copy: Path, tmp_path: Path):
    assert by_slug(hostile.report["download"]["components"])["github"]["excerpt"].startswith(SCRIPT)
    path = copy / "components" / "github" / "manifest.json"
    path.write_text(path.read_text().replace(str(hostile.source), str(tmp_path / "gone")))
    write_report(copy)
    github = by_slug(json.loads((copy / "reports" / "report.json").read_bytes())["download"]["components"])["github"]
    assert github["excerpt"] is None
    assert github["documents"] == 122
