"""`pile shards show | stats | verify | import | export`: what they print, write and refuse."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from pile_toolkit.cli.main import cli
from pile_toolkit.cli.shards import exchange, inputs
from pile_toolkit.cli.shards.inputs import safe
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.plan import SPLITS
from shards.dataset import TokenDataset
from shards.exchange import FORMATS
from shards.exchange.shapes import ID_TYPES
from shards.format import data_path, index_path, write_index
from shards.index import ORDERS, SampleIndex
from shards.provenance import write_provenance
from tokenizer.encoder import Encoder
from tokenizer.train import train_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

STEPS, BATCH, LENGTH = 12, 4, 64


@pytest.fixture(scope="module")
def root(undisturbed) -> Path:
    return undisturbed / "root"


@pytest.fixture(scope="module")
def encoder(root) -> Encoder:
    return Encoder.load(root / "tokenizer" / "tokenizer.json")


@pytest.fixture(scope="module")
def run_index(root) -> SampleIndex:
    """The order of the run of the chain, from what its recipe says."""
    recipe = (root / "runs" / "debug" / "recipe.toml").read_text()
    batch = int(re.search(r"global_batch = (\d+)", recipe)[1])
    assert (f"sequence_length = {LENGTH}" in recipe, batch) == (True, BATCH)
    dataset = TokenDataset(root / "shards" / "train")
    return SampleIndex.build(dataset, sequence_length=LENGTH, samples=STEPS * BATCH)


def shown(pile, *arguments):
    done = pile("shards", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_lists_of_the_help_are_those_of_the_library():
    assert exchange.FORMATS == FORMATS
    assert exchange.ID_TYPES == ID_TYPES
    assert inputs.SPLITS == SPLITS
    assert inputs.ORDERS == ORDERS


def test_a_step_of_a_run_is_what_its_order_reads(pile, root, run_index, encoder):
    result = shown(pile, "show", "--run", "debug", "--step", "3", "--root", root)
    assert (result["run"], result["samples"], result["sequence_length"]) == ("debug", STEPS * BATCH, LENGTH)
    assert [sample["sample"] for sample in result["shown"]] == [*range(2 * BATCH, 3 * BATCH)]
    for sample in result["shown"]:
        origins = run_index.provenance(sample["sample"])
        assert [(piece["component"], piece["document"]) for piece in sample["pieces"]] == [one[:2] for one in origins]
        text = "".join(piece["text"] for piece in sample["pieces"])
        if "\ufffd" not in text:
            assert text == encoder.decode(run_index.tokens(sample["sample"]))


def test_the_same_step_may_be_said_in_full_and_its_ids_shown(pile, root, run_index):
    order = ("--step", "12", "--batch", BATCH, "--samples", STEPS * BATCH, "--length", LENGTH)
    result = shown(pile, "show", *map(str, order), "--ids", "--root", root)
    ids = [[token for piece in sample["pieces"] for token in piece["ids"]] for sample in result["shown"]]
    assert ids == [run_index.tokens(number).tolist() for number in range(11 * BATCH, 12 * BATCH)]


def test_a_step_is_a_table_and_with_text_its_documents(pile, root):
    table = pile("shards", "show", "--run", "debug", "--step", "1", "--root", root)
    assert table.returncode == 0, table.stderr
    assert table.stdout.splitlines()[0].split() == [
        "sample",
        "at",
        "component",
        "document",
        "copy",
        "tokens",
        "from",
        "to",
        "edges",
    ]
    assert "order neox, length 64, 48 samples, seed 1234" in table.stdout
    text = pile("shards", "show", "--run", "debug", "--step", "1", "--text", "--root", root)
    assert text.stdout.count("=== sample ") == BATCH
    assert re.search(r"^--- [a-z0-9-]+/[\w.-]+:\d+, tokens [\d,]+ to [\d,]+", text.stdout, re.MULTILINE)


def test_a_text_is_found_with_its_documents_and_the_steps_that_read_it(pile, root, run_index, encoder):
    sample = 5
    (sequence, start, _) = run_index.pieces(sample)[0]
    wanted = run_index.dataset[sequence][start + 1 : start + 9]
    arguments = ("show", "--find-ids", " ".join(map(str, wanted.tolist())), "--root", root)
    result = shown(pile, *arguments, "--run", "debug")
    assert result["found"]["ids"] == wanted.tolist()
    places = [(one["occurrence"], one["sample"], one["start"], one["whole"]) for one in result["samples"]]
    (number,) = [place for place, one in enumerate(result["found"]["occurrences"]) if one["start"] == start + 1]
    assert (number, sample, 1, True) in places
    assert sample // BATCH + 1 in result["steps"]
    occurrence = result["found"]["occurrences"][number]
    assert occurrence["document"] == run_index.dataset.provenance.source(sequence).document
    assert occurrence["text"] == encoder.decode(wanted)
    plain = pile("shards", *arguments, "--run", "debug").stdout
    assert f"step {sample // BATCH + 1}, sample {sample} at 1" in plain
    assert shown(pile, *arguments)["samples"] == []


def test_a_text_that_is_nowhere_is_said_so_with_a_hint(pile, root):
    done = pile("shards", "show", "--split", "val", "--find", "zqxj zqxj zqxj", "--root", root)
    assert done.returncode == 0
    assert "0 places in stored documents" in done.stdout
    assert "--find ' word'" in done.stdout


def test_statistics_are_counts_of_every_id(pile, root, tmp_path):
    result = shown(
        pile, "stats", "--run", "debug", "--listed", "5", "--parquet", tmp_path / "ids.parquet", "--root", root
    )
    dataset = TokenDataset(root / "shards" / "train")
    read = np.bincount(np.concatenate(list(dataset)), minlength=1500)
    table = pq.read_table(tmp_path / "ids.parquet")
    assert table.column("read").to_pylist() == read.tolist()
    assert table.column("stored").to_pylist() == np.bincount(dataset.ids, minlength=1500).tolist()
    use = result["token_use"]
    assert [row["read"] for row in use["most"]] == sorted(read.tolist(), reverse=True)[:5]
    assert use["special"][0]["read"] == len(dataset)
    assert result["run"]["tokens"] == STEPS * BATCH * LENGTH
    # What the samples really read, component by component.
    tokens = {row["slug"]: row["stored_tokens"] for row in result["components"]}
    epochs = {row["slug"]: row["epochs"] for row in result["run"]["components"]}
    assert sum(epochs[slug] * tokens[slug] for slug in tokens) == pytest.approx(STEPS * BATCH * LENGTH)


def test_statistics_are_printed_and_a_page_written(pile, root, tmp_path):
    done = pile("shards", "stats", "--split", "val", "--html", tmp_path / "page.html", "--root", root)
    assert done.returncode == 0, done.stderr
    for said in (
        "most frequent",
        "least frequent",
        "special",
        "white-space tokens",
        "padding: 0.00%",
        "tokens a sequence: least ",
        ", median ",
        ", most ",
    ):
        assert said in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


@pytest.fixture
def copied(root, tmp_path) -> Path:
    shutil.copytree(root / "shards", tmp_path / "shards")
    return tmp_path / "shards"


def test_sound_shards_are_said_to_be_sound(pile, root, copied):
    done = pile("shards", "verify", "--root", root, "--jobs", "2")
    assert done.returncode == 0
    assert "is sound" in done.stdout
    assert "3 files as their manifest says" in done.stdout
    assert shown(pile, "verify", copied / "val.idx")["problems"] == []


@pytest.mark.parametrize(
    ("ending", "change", "says"),
    [
        (".bin", lambda data: data[:-2], "not inside its"),
        (".bin", lambda data: data + b"12", "its manifest says"),
        (".bin", lambda data: b"\xff\xff" + data[2:], "has the hash"),
        (".idx", lambda data: b"PK" + data[2:], "does not start with"),
        (".idx", lambda data: data[:-8], "need"),
        (".docs.arrow", lambda data: data[: len(data) // 2], "its manifest says"),
    ],
)
def test_damage_is_one_sentence_and_what_to_do(copied, capsys, ending, change, says):
    path = copied / f"val{ending}"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(CorruptData) as error:
        cli.main(["shards", "verify", str(copied / "val")], standalone_mode=False)
    assert says in capsys.readouterr().out
    assert error.value.hint


def test_damage_ends_with_exit_code_4(pile, copied):
    (copied / "val.idx").write_bytes(b"PK")
    done = pile("shards", "verify", copied / "val")
    assert done.returncode == 4, done.stdout
    said, tried = done.stderr.splitlines()
    assert said.startswith(f"error: {copied / 'val.idx'} does not start with")
    assert "try: restore" in tried


def test_shards_go_to_another_program_and_back(pile, root, tmp_path):
    out = tmp_path / "out"
    done = pile("shards", "export", root / "shards", "--to", "neox", "-o", out)
    assert done.returncode == 0, done.stderr
    options = [line for line in done.stdout.splitlines() if line.startswith('"')]
    assert json.loads("{" + "".join(options).rstrip(",") + "}") == {
        **{
            f"{name}-data-paths": [str(out / split)]
            for name, split in (("train", "train"), ("valid", "val"), ("test", "test"))
        },
        **{f"{name}-data-weights": [1.0] for name in ("train", "valid", "test")},
        "data-impl": "mmap",
    }
    back = pile("shards", "import", out / "val", "--from", "neox", "-o", tmp_path / "back", "--vocab-size", "1500")
    assert back.returncode == 0, back.stderr
    ours, theirs = TokenDataset(root / "shards" / "val"), TokenDataset(tmp_path / "back")
    assert [ids.tolist() for ids in theirs] == [ids.tolist() for ids in ours]
    again = pile("shards", "import", out / "val", "--from", "neox", "-o", tmp_path / "back")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_documents_and_names_do_nothing_to_a_terminal(pile, encoder, tmp_path):
    assert safe("a\tb\n\x1b[31m\u202e\x9b") == "a\tb\n\\x1b[31m\\u202e\\x9b"
    ids = encoder.encode("plain \x1b]0;title\x07 \u202e text\r\n" * 3)
    folder = tmp_path / "shards"
    folder.mkdir()
    ids.tofile(data_path(folder / "train"))
    write_index(index_path(folder / "train"), dtype="u2", sizes=[len(ids)], pointers=[0], doc_idx=[0, 1])
    columns = {"component": [0], "file": [0], "line": [1], "copy": [0], "bytes": [9]}
    files = {"arxiv": ["a\x1b[31m.jsonl"]}
    write_provenance(folder / "train.docs.arrow", **columns, components=["arxiv"], files=files)
    encoder.save(tmp_path / "tokenizer" / "tokenizer.json")
    for arguments in (["--length", "16"], ["--find", " text"], ["--step", "1", "--batch", "2", "--length", "16"]):
        done = pile("shards", "show", *arguments, "--root", tmp_path)
        assert done.returncode == 0, done.stderr
        assert not set(done.stdout) & {"\x1b", "\x07", "\u202e", "\r"}
        assert "arxiv/a\\x1b[31m.jsonl:1" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "--run", "debgu"], "did you mean 'debug'"),
        (["show", "--run", "debug", "--step", "13"], "there is no step 13 of 1 to 12"),
        (["show", "--run", "debug", "--index", "48"], "there is no sample 48, the order has 48"),
        (["show", "--step", "1"], "how many samples has a step?"),
        (["show", "--step", "1", "--index", "1"], "one of the two"),
        (["show", "--find-ids", "a b"], "takes whole numbers"),
        (["show", "--find", ""], "no ids to look for"),
        (["show", "prefix", "--split", "val"], "two places to look at"),
        (["stats", "--length", "8"], "takes both"),
        (["export", "nowhere", "--to", "mds", "-o", "out"], "there is no file nowhere.bin"),
        (["import", "nowhere", "--from", "mds", "-o", "out"], "there is no file nowhere/index.json"),
    ],
)
def test_what_cannot_be_done_says_what_to_type(root, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    rooted = [] if arguments[0] in ("export", "import") else ["--root", str(root)]
    with pytest.raises(UsageError) as error:
        cli.main(["shards", *arguments, *rooted], standalone_mode=False)
    assert said in str(error.value)
    assert error.value.hint


def test_another_tokenizer_is_refused(root, tmp_path):
    other = tmp_path / "other.json"
    train_tokenizer(["ab  c " * 9], vocab_size=300, allow_smaller=True).save(other)
    for arguments in (["show"], ["show", "--find", "a"], ["stats"]):
        with pytest.raises(UsageError, match="were written with the tokenizer"):
            cli.main(["shards", *arguments, "--tokenizer", str(other), "--root", str(root)], standalone_mode=False)


def test_what_is_said_of_words_not_found_is_not_said_of_ids(pile, root):
    hint = "in a document a word has a blank before it"
    assert hint in pile("shards", "show", "--find", "zqxjzqxj", "--root", root).stdout
    by_ids = pile("shards", "show", "--find-ids", "1499 1499 1499 1499", "--root", root)
    assert "0 places in stored documents" in by_ids.stdout
    assert hint not in by_ids.stdout
