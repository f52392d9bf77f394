"""The page about shards: every figure there, every text shown rather than obeyed, nothing asked for from outside."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from pile_toolkit.report.shards import charts, shard_page, write_shard_page
from shards.format import data_path, index_path, write_index
from shards.provenance import write_provenance
from shards.stats import ShardStudy, Vocabulary, study_shards
from tests.report.roots import SCRIPT, SVG
from tests.report.test_render import CSP, Page

DOCUMENTS = [[1, 2, 2, 0], [3, 0], [5, 5, 5, 5, 0], [0]]
ENTRIES = [2, 0, 0, 3]
HOSTILE = f"{SCRIPT}{SVG}"
WORDS = ["<end>", " ", HOSTILE, "\\n", "\\x1b", "b"]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    prefix = tmp_path_factory.mktemp(f"a{HOSTILE}".replace("/", "")) / "train"
    np.concatenate(DOCUMENTS).astype("<u2").tofile(data_path(prefix))
    starts = np.cumsum([0, *map(len, DOCUMENTS)])
    sizes, pointers = [len(DOCUMENTS[entry]) for entry in ENTRIES], [2 * starts[entry] for entry in ENTRIES]
    write_index(index_path(prefix), dtype="u2", sizes=sizes, pointers=pointers, doc_idx=range(len(ENTRIES) + 1))
    return prefix


@pytest.fixture(scope="module")
def study(prefix) -> ShardStudy:
    columns = {"component": [0, 1, 1, 0], "file": [0] * 4, "line": [1, 2, 2, 3], "copy": [0, 0, 1, 0]}
    write_provenance(
        prefix.with_name("train.docs.arrow"),
        **columns,
        bytes=[9, 8, 8, 7],
        components=["arxiv", HOSTILE, "unread"],
        files={"arxiv": ["a"], HOSTILE: ["b"], "unread": []},
    )
    white_space = np.array([False, True, False, True, False, False])
    vocabulary = Vocabulary(size=6, token=WORDS.__getitem__, special={"<end>": 0}, white_space=white_space)
    return study_shards(prefix, vocabulary=vocabulary, sequence_length=3, samples=4)


def test_the_tables_have_the_figures_of_the_study(study):
    shown = Page(shard_page(study))
    epochs = {row.slug: row.epochs for row in study.run.components}
    for row in study.components:
        cells = shown.row("Components", row.slug)
        assert cells["documents"] == f"{row.documents:,}"
        assert (cells["stored tokens"], cells["tokens"]) == (f"{row.stored_tokens:,}", f"{row.tokens:,}")
        assert cells["epochs"] == f"{epochs[row.slug]:.3f}"
    for caption, rows in (
        ("Most frequent", study.token_use.most),
        ("Least frequent of those that occur", study.token_use.least),
        ("Special tokens", study.token_use.special),
        ("Unused, the lowest ids", study.token_use.unused_examples),
    ):
        assert [cells[:3] for cells in shown.tables[caption][1:]] == [
            [f"{row.id}", f"{row.read:,}", f"{row.stored:,}"] for row in rows
        ]
    for rows in shown.tables.values():
        assert len({len(row) for row in rows}) == 1


def test_there_is_a_chart_for_all_that_can_be_drawn(study):
    found = charts(study)
    assert [figure.title for figure in found["components"]] == [
        "Tokens per component",
        "Bytes per token",
        "Epochs of the run",
    ]
    assert [len(found[section]) for section in ("lengths", "tokens")] == [1, 1]
    assert Page(shard_page(study)).count("svg") == 5


def test_names_and_tokens_are_shown_and_not_obeyed(study):
    html = shard_page(study)
    shown = Page(html)
    assert CSP.search(html)
    assert shown.count("script") == 0
    assert SCRIPT not in html
    assert any(SCRIPT in text for text in shown.texts)


def test_shards_without_provenance_and_tokenizer_and_empty_ones_have_a_page(prefix, study, tmp_path):
    bare = msgspec.structs.replace(study, components=[], bytes=None, bytes_per_token=None, run=None)
    assert "came without provenance" in shard_page(bare)
    for name in ("bin", "idx"):
        (tmp_path / f"plain.{name}").write_bytes(prefix.with_suffix(f".{name}").read_bytes())
    plain = Page(shard_page(study_shards(tmp_path / "plain")))
    assert "token" not in plain.tables["Most frequent"][0]
    data_path(tmp_path / "empty").touch()
    write_index(index_path(tmp_path / "empty"), dtype="u2", sizes=[], pointers=[], doc_idx=[0])
    assert "There are no sequences" in shard_page(study_shards(tmp_path / "empty"))


def test_the_same_study_gives_the_same_page(study, tmp_path):
    write_shard_page(tmp_path / "page.html", study)
    assert (tmp_path / "page.html").read_text() == shard_page(study)
