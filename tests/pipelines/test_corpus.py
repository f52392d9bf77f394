"""The corpus files hold the plan and nothing else: every copy, in its order, for any number of shards and workers."""

from __future__ import annotations

import io
import itertools
import json
import unicodedata
from collections import Counter

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pile_toolkit.core.components import read_component
from pile_toolkit.core.documents import read_documents
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.manifest import MANIFEST
from pile_toolkit.core.plan import PLAN_FILE, SPLITS, Plan, iter_texts
from pile_toolkit.core.tasks import WORK_PREFIX
from pipelines.build import build
from pipelines.corpus import corpus_names, with_set_name, write_corpus_files
from pipelines.corpus.blocks import LARGEST_BLOCK_BYTES
from pipelines.corpus.sorting import SORTED_FILE
from pipelines.dedup import dedup
from pipelines.download import download

OPTIONS = {
    "val_share": 0.15,
    "test_share": 0.15,
    "weights": {"pile-cc": 1.0, "arxiv": 2.5, "enron-emails": 0.5},
    "train_shards": 3,
}
NAMES = {"pile-cc": "Pile-CC", "arxiv": "ArXiv", "enron-emails": "Enron Emails"}


def read_plainly(path) -> list[tuple[str, dict]]:
    """(text, meta) of a file, by zstandard's own stream and the standard library's JSON."""
    with path.open("rb") as file:
        stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        rows = [json.loads(line) for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n")]
    assert all(row.keys() == {"text", "meta"} for row in rows)
    return [(row["text"], row["meta"]) for row in rows]


def corpus_files(root) -> dict[str, bytes]:
    """Everything under corpus/ but the timings."""
    folder = root / "corpus"
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("timings.json")
    return found


def read_split(root, split: str) -> list[tuple[str, dict]]:
    folder = root / "corpus"
    paths = sorted((folder / "train").glob("*.jsonl.zst")) if split == "train" else [folder / f"{split}.jsonl.zst"]
    return [document for path in paths for document in read_plainly(path)]


def planned_order(root, split: str) -> list[tuple[str, dict]]:
    """(text, meta with its name) of every copy in the order of `plan.entries`, straight from the components."""
    plan = Plan.read(root)
    documents = {}
    for slug, name in NAMES.items():
        for file in read_component(root, slug).files:
            for document in read_documents(file.path):
                meta = {"pile_set_name": name, **json.loads(document.meta)}
                documents[f"{slug}/{file.counts.name}:{document.line}"] = (document.text, meta)
    return [documents[plan.document_id(row)] for row in plan.entries(split).row]


@pytest.fixture
def ready(make_root, random_corpus):
    """(seed of the corpus, name): a root whose documents are all kept, equal texts included."""

    def make(seed: int = 1, name: str = "root"):
        root = make_root(random_corpus(seed, 120), name)
        dedup(root, method="none")
        return root

    return make


def test_the_files_are_the_plans_entries_in_order_for_any_number_of_shards(ready):
    root = ready()
    for shards in (30, 3, 1):
        result = build(root, **(OPTIONS | {"train_shards": shards}))
        for split in SPLITS:
            expected = planned_order(root, split)
            assert read_split(root, split) == expected
            assert result.corpus.documents[split] == len(expected) > 0
            assert result.corpus.text_bytes[split] == sum(len(text.encode()) for text, _ in expected)
        # Files of the earlier number of shards must not stay behind: people glob for them.
        assert corpus_files(root).keys() == {*corpus_names(shards), MANIFEST}
        assert result.corpus.files == shards + 2


def test_every_document_has_as_many_copies_in_the_files_as_in_the_plan(ready):
    root = ready()
    build(root, **OPTIONS)
    plan = Plan.read(root)
    ids = {}
    for slug in NAMES:
        for file in read_component(root, slug).files:
            for document in read_documents(file.path):
                # The fixture numbers documents in their meta.
                ids[json.loads(document.meta)["n"]] = f"{slug}/{file.counts.name}:{document.line}"
    planned: dict[str, Counter] = {split: Counter() for split in SPLITS}
    for row, (split, copies) in enumerate(zip(plan.column("split"), plan.column("copies"), strict=True)):
        planned[SPLITS[split]][plan.document_id(row)] += int(copies)
    for split in SPLITS:
        written = Counter(ids[meta["n"]] for _, meta in read_split(root, split))
        assert written == +planned[split]
    assert set(planned["train"].values()) == {0, 1, 2, 3}


def test_the_texts_are_those_of_the_iteration_over_the_plan(ready):
    root = ready()
    build(root, **OPTIONS)
    plan = Plan.read(root)
    for split in SPLITS:
        iterated = Counter()
        for text, copies in iter_texts(plan, split):
            iterated[text] += copies
        assert Counter(text for text, _ in read_split(root, split)) == iterated


def test_no_text_of_val_or_test_nor_its_spelling_occurs_in_train(ready):
    root = ready(2)
    build(root, **OPTIONS)
    plain = {
        split: {" ".join(unicodedata.normalize("NFC", text).casefold().split()) for text, _ in read_split(root, split)}
        for split in SPLITS
    }
    assert not plain["train"] & (plain["val"] | plain["test"])
    assert not plain["val"] & plain["test"]
    # Held-out texts have other spellings and copies, so that there was something to leak.
    assert len(plain["val"]) < len(read_split(root, "val"))


def test_the_order_mixes_components(ready):
    root = ready()
    build(root, **OPTIONS)
    train = [meta["pile_set_name"] for _, meta in read_split(root, "train")]
    changes = sum(one != other for one, other in itertools.pairwise(train))
    # In component order there would be two.
    assert changes > len(train) / 4


def test_another_number_of_shards_leaves_the_plan_alone(ready):
    root = ready()
    build(root, **OPTIONS)
    before = {name: (root / "plan" / name).read_bytes() for name in (PLAN_FILE, MANIFEST)}
    modified = (root / "plan" / PLAN_FILE).stat().st_mtime_ns
    result = build(root, **(OPTIONS | {"train_shards": 5}))
    assert not result.up_to_date
    assert {name: (root / "plan" / name).read_bytes() for name in before} == before
    assert (root / "plan" / PLAN_FILE).stat().st_mtime_ns == modified


def test_the_bytes_do_not_depend_on_workers(ready):
    one, two = ready(name="one"), ready(name="two")
    build(one, jobs=1, **OPTIONS)
    build(two, jobs=2, **OPTIONS)
    assert corpus_files(one) == corpus_files(two)


@pytest.mark.parametrize("reports", [2, 6])
def test_killing_the_corpus_in_either_pass_gives_the_same_bytes(ready, run_killed, reports):
    # Four files are dealt, then five buckets sorted.
    undisturbed, root = ready(name="undisturbed"), ready(name="killed")
    build(undisturbed, **OPTIONS)
    assert run_killed(f"build({str(root)!r}, reporter=reporter, **{OPTIONS!r})", reports) == -9
    assert (root / "plan" / MANIFEST).exists()
    assert not (root / "corpus" / MANIFEST).exists()
    build(root, **OPTIONS)
    assert corpus_files(root) == corpus_files(undisturbed)


def test_a_run_killed_while_its_files_are_moved_in_is_finished_by_the_next(ready, run_killed):
    undisturbed, root = ready(name="undisturbed"), ready(name="killed")
    build(undisturbed, **OPTIONS)
    assert run_killed(f"build({str(root)!r}, reporter=reporter, **{OPTIONS!r})", 9) == -9
    (made,) = (root / "corpus").glob(f"{WORK_PREFIX}*/sort-1/{SORTED_FILE}")
    (root / "corpus" / "train").mkdir()
    made.rename(root / "corpus" / "train" / "01.jsonl.zst")
    build(root, **OPTIONS)
    assert corpus_files(root) == corpus_files(undisturbed)


def test_a_split_nobody_asked_for_has_no_file(ready):
    root = ready()
    build(root, **OPTIONS)
    result = build(root, **(OPTIONS | {"val_share": 0.0}))
    assert corpus_files(root).keys() == {*corpus_names(3), MANIFEST} - {"val.jsonl.zst"}
    assert (result.corpus.files, result.corpus.documents["val"]) == (4, 0)


def test_more_shards_than_documents_are_empty_files_that_read_as_nothing(make_root):
    root = make_root({"arxiv": ["one", "two"]})
    dedup(root)
    build(root, val_share=0.0, test_share=0.0, weights={"arxiv": 1.0}, train_shards=101)
    names = sorted(path.name for path in (root / "corpus" / "train").iterdir())
    assert names == [f"{number:03}.jsonl.zst" for number in range(101)]
    assert sorted(text for text, _ in read_split(root, "train")) == ["one", "two"]


def test_documents_larger_than_a_bucket_block_come_through(make_root):
    texts = [letter * (LARGEST_BLOCK_BYTES + 17) for letter in "abc"] + ["small", "", "\u2028 \r\n \u0000 \U0001f600"]
    root = make_root({"arxiv": texts, "github": texts})
    dedup(root, method="none")
    build(root, val_share=0.0, test_share=0.0, weights={"arxiv": 2.0, "github": 1.0}, train_shards=2)
    assert Counter(text for text, _ in read_split(root, "train")) == Counter(dict.fromkeys(texts, 3))


def test_metas_that_changed_are_written_though_the_plan_is_the_same(ready, write_source, random_corpus):
    root = ready()
    build(root, **OPTIONS)
    plan = (root / "plan" / PLAN_FILE).read_bytes()
    changed = {"pile-cc": [(text, meta | {"new": True}) for text, meta in random_corpus(1, 120)["pile-cc"]]}
    source = write_source(root.with_name("root-source"), changed)
    download(root, components=["pile-cc"], source=str(source))
    dedup(root, method="none")
    build(root, **OPTIONS)
    assert (root / "plan" / PLAN_FILE).read_bytes() == plan
    metas = [meta for split in SPLITS for _, meta in read_split(root, split) if meta["pile_set_name"] == "Pile-CC"]
    assert metas
    assert all(meta["new"] for meta in metas)


def test_a_second_corpus_is_up_to_date_and_a_root_without_plan_says_what_to_type(ready):
    root = ready()
    with pytest.raises(UsageError, match="no plan yet") as error:
        write_corpus_files(root)
    assert error.value.hint == f"pile build --root {root}"
    build(root, **(OPTIONS | {"write_corpus": False}))
    first = write_corpus_files(root, train_shards=3)
    again = write_corpus_files(root, train_shards=3)
    assert (first.up_to_date, again.up_to_date) == (False, True)
    assert again.documents == first.documents
    (root / "corpus" / "train" / "01.jsonl.zst").unlink()
    assert not write_corpus_files(root, train_shards=3).up_to_date


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
METAS = st.dictionaries(st.text() | st.just("pile_set_name"), VALUES, max_size=4)


@given(METAS, st.booleans(), st.sampled_from([None, (",", ":"), (" ,\t", " : ")]), st.sampled_from(["", " ", "\t "]))
def test_a_meta_says_its_component_and_is_else_as_it_came(meta, ascii_only, separators, space):
    body = json.dumps(meta, ensure_ascii=ascii_only, separators=separators).encode("utf-8", "surrogatepass")
    came = space.encode() + body[:1] + space.encode() + body[1:]
    went = with_set_name(came, 'Own "Name" é')
    if isinstance(meta.get("pile_set_name"), str):
        assert went == came
    elif "pile_set_name" in meta:
        assert json.loads(went) == meta | {"pile_set_name": 'Own "Name" é'}
    else:
        assert list(json.loads(went).items()) == [("pile_set_name", 'Own "Name" é'), *meta.items()]
        assert went.endswith(came.lstrip()[1:])


@pytest.mark.parametrize(
    ("came", "went"),
    [
        (b'{"score": NaN}', b'{"pile_set_name":"ArXiv","score": NaN}'),
        (b'{"score": -Infinity, "pile_set_name": "X"}', b'{"score": -Infinity, "pile_set_name": "X"}'),
        (b'{"score": NaN, "pile_set_name": 7}', b'{"score": NaN, "pile_set_name": "ArXiv"}'),
        (b'{"pile\\u005fset_name": "X"}', b'{"pile\\u005fset_name": "X"}'),
        (b'{"inner": {"pile_set_name": "X"}}', b'{"pile_set_name":"ArXiv","inner": {"pile_set_name": "X"}}'),
        (b"{}", b'{"pile_set_name":"ArXiv"}'),
        (b" { } ", b'{"pile_set_name":"ArXiv" } '),
    ],
)
def test_odd_metas_get_their_name(came, went):
    assert with_set_name(came, "ArXiv") == went


def test_metas_stand_in_the_files_byte_for_byte(tmp_path, write_source):
    metas = [b'{"a" : 1.50,"b":[1 ,2]}', b'{ "pile_set_name":"NIH ExPorter", "big": 123456789012345678901234567890}']
    write_source(tmp_path / "source", {"nih-exporter": list(zip(["one", "two"], metas, strict=True))})
    root = tmp_path / "root"
    download(root, components=["nih-exporter"], source=str(tmp_path / "source"))
    dedup(root)
    build(root, val_share=0.0, test_share=0.0, weights={"nih-exporter": 1.0}, train_shards=1)
    lines = zstandard.ZstdDecompressor().stream_reader((root / "corpus/train/00.jsonl.zst").read_bytes()).read()
    assert sorted(lines.splitlines()) == [
        b'{"text":"one","meta":{"pile_set_name":"NIH ExPorter","a" : 1.50,"b":[1 ,2]}}',
        b'{"text":"two","meta":{ "pile_set_name":"NIH ExPorter", "big": 123456789012345678901234567890}}',
    ]
