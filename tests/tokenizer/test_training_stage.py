"""The stage trains on what the plan says, with any workers, and goes on after a kill with what was counted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from pile_toolkit.cli.tokenizer.train import train
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import StageKey, describe, publish
from pile_toolkit.core.plan import PLAN_FILE, Plan, iter_texts
from pile_toolkit.core.seeds import keyed_columns
from tests.chain.small_chain import pile_command, process_environment
from tests.making import make_plan, write_component
from tokenizer.stage import train_on_plan
from tokenizer.train import train_tokenizer
from tokenizer.training import corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 330
# Trains as the command does, but is killed when the words are counted and before anything is merged.
KILLED = """
import os, signal, sys
import tokenizer.train as train
from tokenizer.stage import train_on_plan
train.train_on_words = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
train_on_plan(sys.argv[1], vocab_size=int(sys.argv[2]))
"""
# Read by every Python that finds it on its path: a worker that opens this file takes itself, or all, out of the world.
DEADLY = """
import os, signal, sys
def hook(event, arguments):
    if event == "open" and "arxiv/01.jsonl" in str(arguments[0]):
        os.kill(os.getpid() if os.environ["DIES"] == "worker" else 0, signal.SIGKILL)
sys.addaudithook(hook)
"""


def made(root: Path) -> Plan:
    """Two components of three files, documents of 0 to 3 copies, some outside of train."""
    words = ["alpha", "beta", "gamma", "delta", "naïve", "日本語", "x=1;", "    indent"]
    texts = [
        " ".join(words[(number * step) % 8] for step in range(2, 9 + number % 5)) + f" w{number * number:x}"
        for number in range(90)
    ]
    write_component(root, "arxiv", {"00.jsonl.zst": texts[:30], "01.jsonl.zst": texts[30:50]})
    write_component(root, "github", {"00.jsonl.zst": texts[50:]})

    def change(row: dict) -> None:
        row["copies"] = row["line"] % 4
        row["split"] = int(row["line"] % 7 == 0)

    return planned(root, ["arxiv", "github"], change)


def planned(root: Path, slugs: list[str], change: Callable[[dict], object]) -> Plan:
    """A plan as a build leaves it, with its manifest."""
    plan, folder = make_plan(root, slugs, change=change), root / "plan"
    outputs = [describe(folder, folder / PLAN_FILE)]
    publish(folder, StageKey(stage="plan", format=1), outputs=outputs, counts={}, started_at=time.time())
    return plan


def tokenizer_bytes(root: Path) -> bytes:
    return (root / "tokenizer" / "tokenizer.json").read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    made(folder)
    return folder


def test_documents_count_as_often_as_the_plan_copies_them(root):
    plan = Plan.read(root)
    result = train_on_plan(root, vocab_size=SIZE)
    weighted = list(iter_texts(plan, "train"))
    assert result.tokenizer == train_tokenizer(weighted, vocab_size=SIZE).hash
    assert result.tokenizer == train_tokenizer([t for t, n in weighted for _ in range(n)], vocab_size=SIZE).hash
    assert (result.documents, result.copies) == (len(weighted), sum(copies for _, copies in weighted))
    assert result.bytes == sum(len(text.encode()) * copies for text, copies in weighted)
    assert (result.dropped_words, result.dropped_occurrences) == (0, 0)
    assert train_on_plan(root, vocab_size=SIZE, jobs=2).up_to_date


@pytest.mark.parametrize(
    ("scheduler", "jobs", "layout"),
    [
        ("serial", 1, "neox-20b"),
        ("process", 2, "neox-20b"),
        # More workers than processors: a repetition of two.
        pytest.param("process", 4, "default", marks=pytest.mark.campaign),
        ("dask", 2, "default"),
    ],
)
def test_workers_change_no_byte(tmp_path, scheduler, jobs, layout):
    made(tmp_path)
    train_on_plan(tmp_path, vocab_size=SIZE, layout=layout, scheduler=scheduler, jobs=jobs)
    texts = iter_texts(Plan.read(tmp_path), "train")
    train_tokenizer(texts, vocab_size=SIZE, layout=layout).save(tmp_path / "expected.json")
    assert tokenizer_bytes(tmp_path) == (tmp_path / "expected.json").read_bytes()
    assert not list((tmp_path / "tokenizer").glob(".work*"))


def test_workers_that_write_down_words_all_the_time_change_no_byte(root, tmp_path, monkeypatch):
    made(tmp_path)
    monkeypatch.setattr(corpus, "WORDS_AT_ONCE", 1)
    monkeypatch.setattr("tokenizer.training.counting.texts.BATCH_BYTES", 50)
    train_on_plan(root, vocab_size=SIZE)
    train_on_plan(tmp_path, vocab_size=SIZE, scheduler="serial")
    assert tokenizer_bytes(tmp_path) == tokenizer_bytes(root)


def test_a_killed_training_goes_on_with_the_words_it_had_counted(tmp_path):
    plan = made(tmp_path)
    expected = train_tokenizer(list(iter_texts(plan, "train")), vocab_size=SIZE).hash
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(SIZE)], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not (tmp_path / "tokenizer" / "manifest.json").exists()
    # What is counted already needs not be there any more.
    for path in (tmp_path / "components").glob("*/*.jsonl.zst"):
        path.write_bytes(b"")
    assert train_on_plan(tmp_path, vocab_size=SIZE).tokenizer == expected
    assert not list((tmp_path / "tokenizer").glob(".work*"))


@pytest.mark.parametrize(("dies", "code"), [("worker", 5), ("group", -signal.SIGKILL)])
def test_a_kill_in_the_middle_of_counting_costs_the_unfinished_files_only(tmp_path, root, pile, dies, code):
    made(tmp_path)
    (tmp_path / "deadly").mkdir()
    (tmp_path / "deadly" / "sitecustomize.py").write_text(DEADLY)
    options = ["tokenizer", "train", "--root", tmp_path, "--vocab-size", SIZE, "--jobs", "2"]
    environment = {**process_environment(), "PYTHONPATH": str(tmp_path / "deadly"), "DIES": dies}
    died = subprocess.run(
        pile_command(options), env=environment, capture_output=True, text=True, start_new_session=True
    )
    assert died.returncode == code, died.stderr
    assert "Traceback" not in died.stderr
    (work,) = (tmp_path / "tokenizer").glob(".work*")
    assert not list(work.glob("words-arxiv-1/*"))
    assert not (tmp_path / "tokenizer" / "manifest.json").exists()
    again = pile(*options)
    assert again.returncode == 0, again.stderr
    train_on_plan(root, vocab_size=SIZE)
    assert tokenizer_bytes(tmp_path) == tokenizer_bytes(root)
    left = sorted(path.name for path in (tmp_path / "tokenizer").iterdir())
    assert left == ["manifest.json", "timings.json", "tokenizer.json"]


def test_a_sample_is_the_documents_of_the_lowest_keys(tmp_path):
    plan = made(tmp_path)
    rows = np.concatenate([plan.rows_of(component, file, "train") for component, file, _ in plan.files()])
    hashes = np.frombuffer(b"".join(plan.text_hashes(rows)), np.uint64).reshape(-1, 2)
    ordinal = plan.column("ordinal")[rows]
    keys = keyed_columns(plan.header.seed, "tokenizer sample", hashes[:, 0], hashes[:, 1], ordinal)
    texts = list(iter_texts(plan, "train"))
    in_order = sorted(zip(keys.tolist(), texts, strict=True))
    chosen, size = [], 0
    for _, (text, copies) in in_order:
        if (size := size + len(text.encode())) > 1500:
            break
        chosen.append((text, copies))
    assert 10 < len(chosen) < len(texts) - 10
    result = train_on_plan(tmp_path, vocab_size=300, sample_bytes=1500, jobs=2)
    assert result.documents == len(chosen)
    assert result.copies == sum(copies for _, copies in chosen)
    assert result.tokenizer == train_tokenizer(chosen, vocab_size=300).hash
    everything = train_on_plan(tmp_path, vocab_size=300, sample_bytes=10**9)
    assert everything.documents == len(texts)
    with pytest.raises(UsageError, match="a sample of 5 bytes holds no document") as error:
        train_on_plan(tmp_path, vocab_size=300, sample_bytes=5)
    smallest = int(error.value.hint.split()[1])
    assert train_on_plan(tmp_path, vocab_size=281, sample_bytes=smallest).documents == 1


def test_rare_words_are_left_out_by_their_count_in_the_whole_corpus(tmp_path):
    # "once" stands once in each file, and twice in one that has two copies: four in all.
    write_component(tmp_path, "arxiv", {f"0{n}.jsonl.zst": [f"once often often rare{n}" + "!" * n] for n in range(3)})
    planned(tmp_path, ["arxiv"], lambda row: row.update(copies=2 if row["file"] == 1 else 1))
    result = train_on_plan(tmp_path, vocab_size=400, allow_smaller=True, min_count=4)
    counted = Counter({"once": 4, " often": 8, " rare": 4, "0": 1, "1": 2, "2": 1, "!": 2, "!!": 1})
    rare = [count for count in counted.values() if count < 4]
    assert result.words == len(counted)
    assert (result.dropped_words, result.dropped_occurrences) == (len(rare), sum(rare))
    kept = ["once often often rare"] * 4
    assert result.tokenizer == train_tokenizer(kept, vocab_size=400, allow_smaller=True).hash


def test_what_cannot_be_trained_says_so_and_leaves_the_last_tokenizer(root):
    train_on_plan(root, vocab_size=SIZE)
    before = tokenizer_bytes(root)
    for options, message in (
        ({"vocab_size": 280}, "a vocabulary of 280 ids is too small"),
        ({"vocab_size": 50_257}, r"too small for 50,257 ids: \d+ merges are possible, 49,976 are needed"),
        ({"layout": "gpt-2"}, "there is no layout 'gpt-2'"),
        ({"vocab_size": 1 << 21}, "a vocabulary of 2,097,152 ids is too large: at most 1,048,597 can be used"),
        ({"min_count": 0}, "min_count is 0"),
        ({"min_count": 10**30}, "min_count is 10+, it must lie between 1 and"),
        ({"sample_bytes": 0}, "a sample of 0 bytes"),
    ):
        with pytest.raises(UsageError, match=message):
            train_on_plan(root, **options)
    assert tokenizer_bytes(root) == before
    assert train_on_plan(root, vocab_size=SIZE).up_to_date


@pytest.mark.parametrize(
    ("texts", "change", "numbers"),
    [
        (["some text"] * 3, {"split": 1}, "0 documents, 0 copies, 0 bytes"),
        (["some text"] * 3, {"copies": 0}, "0 documents, 0 copies, 0 bytes"),
        (["", "  "], {}, "2 documents, 2 copies, 2 bytes"),
    ],
)
def test_a_train_split_without_text_is_no_tokenizer(tmp_path, texts, change, numbers):
    write_component(tmp_path, "arxiv", {"00.jsonl.zst": texts})
    planned(tmp_path, ["arxiv"], lambda row: row.update(change))
    with pytest.raises(UsageError, match=f"has nothing to train on: {numbers}"):
        train_on_plan(tmp_path, vocab_size=SIZE, allow_smaller=True)


def test_the_rarest_merge_is_the_last_and_says_how_often_its_pair_occurs(tmp_path):
    write_component(tmp_path, "arxiv", {"00.jsonl.zst": ["xxxx yy", " yy yy"]})
    planned(tmp_path, ["arxiv"], lambda row: row.update(copies=10))
    # x with x three times a text, y with y once and twice, a space with yy the same; then twice two x.
    for merges, occurs in ((1, 30), (2, 30), (3, 30), (4, 10)):
        result = train_on_plan(tmp_path, vocab_size=258 + merges, max_space_run=1)
        assert (result.merges, result.rarest_merge) == (merges, occurs)
    assert train_on_plan(tmp_path, vocab_size=258, max_space_run=1).rarest_merge is None


def test_the_command_takes_every_option(tmp_path, pile):
    made(tmp_path)
    options = ["--layout", "neox-20b", "--min-count", "2", "--sample-bytes", "3000", "--max-space-run", "4"]
    options += ["--add-prefix-space", "--allow-smaller", "--jobs", "2", "--json"]
    done = pile("tokenizer", "train", "--root", tmp_path, "--vocab-size", "9000", *options)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["vocab_size"] == 258 + result["merges"] + 3
    assert 0 < result["merges"] < 8000
    assert 0 < result["dropped_words"] < result["words"]
    written = json.loads(tokenizer_bytes(tmp_path))
    assert written["normalizer"] == {"type": "NFC"}
    assert written["pre_tokenizer"]["add_prefix_space"] is True
    assert [token["content"] for token in written["added_tokens"][2:]] == ["    ", "   ", "  "]
    assert result["rarest_merge"] >= 2
    small = CliRunner().invoke(train, ["--root", str(tmp_path), "--vocab-size", "9000", "--jobs", "1"])
    assert isinstance(small.exception, UsageError)
    assert "merges are possible" in str(small.exception)
    # What can be known before is said before, also where nothing would be done.
    none = CliRunner().invoke(train, ["--root", str(tmp_path), "--vocab-size", "280", "--dry-run"])
    assert isinstance(none.exception, UsageError)
    assert "a vocabulary of 280 ids is too small" in str(none.exception)
    assert none.output == ""


def test_the_command_says_what_it_trained_on(tmp_path):
    made(tmp_path)
    done = CliRunner().invoke(train, ["--root", str(tmp_path), "--vocab-size", "378", "--jobs", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "378 ids (97 merges) from 59 documents (115 with copies, 6.91 KiB), 77 distinct words",
        "the last merge is of a pair that occurs once: more text or a smaller --vocab-size would serve better",
        f"{tmp_path}/tokenizer/tokenizer.json",
    ]
