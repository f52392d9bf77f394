"""From `[dedup] against` to tokens: what evaluation sets and real documents share is in none of what is made."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections import Counter
from itertools import islice

import pytest

import pile_toolkit as pile
from pile_toolkit.chain.verify import verify
from pile_toolkit.core.documents import DocumentWriter, read_documents
from pile_toolkit.core.plan import Plan
from pipelines.keep_list import REASONS, read_keep_list
from tests.conftest import _shared_folder
from tests.pipelines.decontamination_twin import read_records, sought, words_of

pytestmark = pytest.mark.real_data

CONFIG = """
root = "root"
[download]
components = ["stackexchange", "pile-cc", "pubmed-abstracts"]
from = "source"
[dedup]
against = "sets"
[build]
weights = { stackexchange = 1.5, "pile-cc" = 2.0, "pubmed-abstracts" = 1.0 }
train_shards = 2
val_share = 0.1
test_share = 0.1
[tokenizer]
vocab_size = 1500
"""
SETS = ("lambada_openai_test.jsonl", "pubmedqa_pqal_test.jsonl", "piqa_valid.jsonl")
COMMON_PHRASE = "all rights reserved no part of this page may be copied without our written permission"
FORMS = {
    "as it is": str,
    "upper case": str.upper,
    "decomposed": lambda text: unicodedata.normalize("NFD", text.replace("e", "é")),
    "composed": lambda text: text.replace("e", "é"),
    "wide white space": lambda text: text.replace(" ", "\u3000\n\u00a0"),
    "without punctuation": lambda text: " ".join(words_of(text)),
    "with more of it": lambda text: text.replace(" ", " -- "),
}


@pytest.fixture(scope="module")
def chain(minipile, tmp_path_factory):
    """The folder of a finished run, and where what was planted stands: {document id: (start, end)}."""
    folder = tmp_path_factory.mktemp("decontaminated")
    (folder / "sets").mkdir()
    for name in SETS:
        shutil.copy(_shared_folder("data/eval") / name, folder / "sets" / name)
    accented = [{"text": record["text"].replace("e", "é")} for record in read_records(folder / "sets" / SETS[0])[:80]]
    lines = [json.dumps(record) for record in [*accented, {"text": COMMON_PHRASE}]]
    (folder / "sets" / "more.jsonl").write_text("\n".join(lines))
    passages = [record["text"] for record in read_records(folder / "sets" / SETS[0])]
    planted = {}
    for slug in ("stackexchange", "pile-cc", "pubmed-abstracts"):
        with DocumentWriter(folder / "source" / f"{slug}.jsonl.zst") as writer:
            for document in islice(read_documents(minipile / f"{slug}.jsonl.zst"), 70):
                text = document.text
                if slug == "stackexchange" and document.line % 3 == 0:
                    form = list(FORMS.values())[document.line // 3 % len(FORMS)]
                    middle = text.find(" ", len(text) // 2) + 1
                    text = f"{text[:middle]}({form(passages[document.line])}). {text[middle:]}"
                    planted[f"{slug}/{slug}.jsonl.zst:{document.line}"] = (
                        middle,
                        len(text) - len(document.text) + middle,
                    )
                if slug == "pile-cc" and document.line % 4 == 0:
                    text += f"\n{COMMON_PHRASE.upper()}."
                writer.write(text, document.meta)
    (folder / "pile.toml").write_text(CONFIG)
    pile.run(folder / "pile.toml", jobs=1)
    return folder, planted


@pytest.fixture(scope="module")
def ngrams(chain):
    """Everything that is looked for, without what stands in more than ten kept documents: by sets of tuples alone."""
    folder, _ = chain
    wanted = set().union(*(sought(record) for path in folder.glob("sets/*") for record in read_records(path)))
    documents = Counter()
    components, table = read_keep_list(folder / "root")
    kept = {
        (row["component"], row["line"])
        for row in table.to_pylist()
        if REASONS[row["reason"]] in ("kept", "contaminated")
    }
    for number, component in enumerate(components):
        for document in read_documents(folder / "source" / f"{component.slug}.jsonl.zst"):
            if (number, document.line) in kept:
                documents.update(shared(document.text, wanted))
    return {ngram for ngram in wanted if documents[ngram] <= 10}


def shared(text: str, wanted: set) -> set:
    """What of it stands in a text."""
    words = words_of(text)
    return {words[at : at + size] for size in range(8, 14) for at in range(len(words) - size + 1)} & wanted


def test_the_corpus_holds_no_ngram_of_the_sets_but_the_common_ones(chain, ngrams):
    folder, _ = chain
    files = sorted((folder / "root" / "corpus").rglob("*.jsonl.zst"))
    texts = [document.text for path in files for document in read_documents(path)]
    assert len(texts) > 150
    assert not any(shared(text, ngrams) for text in texts)
    phrase = words_of(COMMON_PHRASE)[:13]
    assert phrase not in ngrams
    assert sum(phrase in {words[at : at + 13] for at in range(len(words))} for words in map(words_of, texts)) > 10


def test_what_was_planted_is_what_was_cut(chain):
    folder, planted = chain
    root = folder / "root"
    plan = Plan.read(root)
    pieces = {}
    for row in range(len(plan)):
        (start,), (end,) = plan.pieces("piece_start", [row]), plan.pieces("piece_end", [row])
        pieces.setdefault(plan.document_id(row), []).append((start, end))
    assert len(planted) > 20
    for document, (start, end) in planted.items():
        for piece_start, piece_end in pieces.get(document, []):
            assert piece_start is not None
            assert piece_end <= start - 190 or piece_start >= end + 190, document
    cut = {document for document, some in pieces.items() if some != [(None, None)]}
    assert sum(document in cut for document in planted) > 15
    assert {document for document in cut if document.startswith("stackexchange/")} <= set(planted)


def test_the_tokens_are_those_of_the_pieces(chain, ngrams):
    folder, _ = chain
    root = folder / "root"
    encoder = pile.Encoder.load(root / "tokenizer" / "tokenizer.json")
    for split in ("train", "val"):
        dataset = pile.TokenDataset(root / "shards" / split)
        texts = Counter(encoder.decode(dataset[number][:-1]) for number in range(len(dataset)))
        planned = Counter()
        for document in pile.iter_documents(root, split):
            planned[document.text] += document.copies
        assert texts == planned
        assert not any(shared(text, ngrams) for text in texts)


def test_pubmed_abstracts_that_are_questions_of_pubmedqa_are_found(chain):
    folder, _ = chain
    counts = json.loads((folder / "root" / "dedup" / "manifest.json").read_text())["counts"]["contamination"]
    assert counts["sets"]["pubmedqa_pqal_test.jsonl"]["documents"] > 20
    assert counts["components"]["pubmed-abstracts"]["dropped"] > 20
    assert counts["common_ngrams"] > 0


def test_the_command_that_makes_it_again_is_known(chain):
    folder, _ = chain
    root = folder / "root"
    pieces = root / "dedup" / "pieces.parquet"
    before = pieces.read_bytes()
    pieces.write_bytes(before[:-1])
    (fault,) = [fault for fault in verify(root).faults if "pieces.parquet" in str(fault)]
    assert f"--against {folder / 'sets'} --against-ngram 13 --against-common 10 --against-action cut" in str(fault)
    assert not pile.dedup(root, against=folder / "sets").up_to_date
    assert pieces.read_bytes() == before


def test_the_table_names_sets_and_components(chain, request):
    folder, _ = chain
    said = request.getfixturevalue("pile")("dedup", "--against", folder / "sets", "--root", folder / "root")
    assert said.returncode == 0, said.stderr
    assert "up to date" in said.stderr
    assert "pubmedqa_pqal_test.jsonl" in said.stdout
    assert "pieces" in said.stdout
