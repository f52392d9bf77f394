"""The plan becomes shards: each document once, copies in the index or written out, always the same bytes."""

from __future__ import annotations

import struct
from typing import ClassVar

import numpy as np
import pytest

import pile_toolkit.core.plan.table
import shards.stage
import shards.writer
from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import StageKey, describe, publish, read_manifest, withdraw
from pile_toolkit.core.plan import PLAN_FILE, SPLITS, Plan
from pile_toolkit.core.tasks import PARTIAL
from shards.encoder import CarriedEncoder, _arrived, refuse_other_tokenizer, tokenizer_of_shards
from shards.format import data_path, index_path, read_index
from shards.provenance import provenance_path, read_provenance
from shards.stage import write_shards_of_plan
from tests.making import make_plan, write_component
from tests.shards.test_writer import ByteEncoder
from tests.shards.twin import twin_read

FILES = {
    "arxiv": {"00.jsonl.zst": [f"paper {number} é" * (number + 1) for number in range(7)]},
    "github": {
        "a.jsonl.zst": ["x = 1\n", "", "y" * 3000, "[unused]"],
        "b.jsonl.zst": [f"def f{number}(): pass\n" for number in range(9)],
    },
}


class Killed(BaseException):
    """Ends a stage where a kill would."""


class CountingEncoder(ByteEncoder):
    """Remembers the texts that it encoded."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def encode_batch(self, texts, *, threads=1):
        self.texts += texts
        return super().encode_batch(texts, threads=threads)


@pytest.fixture
def root(tmp_path):
    """Two components in three files, with copies, documents left out, and two splits."""
    for slug, files in FILES.items():
        write_component(tmp_path, slug, files)

    def change(row):
        row["copies"] = (row["line"] + row["file"]) % 4
        row["split"] = SPLITS.index("val") if row["line"] == 2 else SPLITS.index("train")

    started_at = 0.0
    make_plan(tmp_path, list(FILES), change=change)
    folder = tmp_path / "plan"
    outputs = [describe(folder, folder / PLAN_FILE)]
    publish(folder, StageKey(stage="build", format=1), outputs=outputs, counts={}, started_at=started_at)
    return tmp_path


def plain_sequences(root, split):
    """(ids, document id, copy) of every sequence in order, from the plan and the texts in plain Python."""
    plan = Plan.read(root)
    rows = []
    entries = plan.entries(split)
    for row, copy in zip(entries.row.tolist(), entries.copy.tolist(), strict=True):
        slug, place = plan.document_id(row).split("/")
        name, line = place.split(":")
        rows.append(([*FILES[slug][name][int(line) - 1].encode(), 256], f"{slug}/{place}", copy))
    return rows


def stored_texts(root):
    """The text of every document of the plan that has a copy, once each."""
    plan = Plan.read(root)
    ids = [plan.document_id(row) for row in np.flatnonzero(plan.column("copies")).tolist()]
    places = [(*place.split("/"),) for place in ids]
    return [FILES[slug][place.split(":")[0]][int(place.split(":")[1]) - 1] for slug, place in places]


def read_plainly(prefix):
    """What the other programs' readers do: fields of the `.idx`, then ids at each pointer."""
    _, sizes, pointers, _ = twin_read(index_path(prefix).read_bytes())
    data = data_path(prefix).read_bytes()
    return [list(struct.unpack_from(f"<{size}H", data, at)) for size, at in zip(sizes, pointers, strict=True)]


def contents(root):
    return {path.name: path.read_bytes() for path in (root / "shards").iterdir() if path.name != "timings.json"}


@pytest.mark.parametrize("materialize", [False, True])
def test_every_sequence_is_its_document_with_its_provenance(root, materialize):
    result = write_shards_of_plan(root, ByteEncoder(), materialize=materialize)
    assert set(result.splits) == {"train", "val"}
    assert result.materialized == materialize
    for split, counts in result.splits.items():
        expected = plain_sequences(root, split)
        assert len({document for _, document, _ in expected}) < len(expected)
        prefix = root / "shards" / split
        assert read_plainly(prefix) == [ids for ids, _, _ in expected]
        provenance = read_provenance(provenance_path(prefix))
        sources = [provenance.source(row) for row in range(len(provenance))]
        assert [(source.document, source.copy) for source in sources] == [row[1:] for row in expected]
        assert [source.bytes for source in sources] == [len(ids) - 1 for ids, _, _ in expected]
        assert (counts.sequences, counts.tokens) == (len(expected), sum(len(ids) for ids, _, _ in expected))
        assert data_path(prefix).stat().st_size == 2 * counts.stored_tokens


def test_each_document_is_stored_once_and_copies_share_its_bytes(root):
    result = write_shards_of_plan(root, ByteEncoder())
    expected = plain_sequences(root, "train")
    once = {document: ids for ids, document, _ in expected}
    counts = result.splits["train"]
    assert (counts.stored, counts.stored_tokens) == (len(once), sum(map(len, once.values())))
    index = read_index(index_path(root / "shards" / "train"))
    pointers = {}
    for (_, document, _), pointer in zip(expected, index.pointers.tolist(), strict=True):
        assert pointers.setdefault(document, pointer) == pointer
    assert len(set(pointers.values())) == len(once)


def neox_slice(prefix, start, stop):
    """gpt-neox's and Megatron-LM's `dataset[start:stop]`: contiguous from the first pointer, cut by the sizes."""
    _, sizes, pointers, _ = twin_read(index_path(prefix).read_bytes())
    ids = list(struct.unpack_from(f"<{sum(sizes[start:stop])}H", data_path(prefix).read_bytes(), pointers[start]))
    return [[ids.pop(0) for _ in range(size)] for size in sizes[start:stop]]


def neox_merged(prefixes):
    """Their merge: the data one after the other, pointers made anew of the sizes."""
    data = b"".join(data_path(prefix).read_bytes() for prefix in prefixes)
    at, merged = 0, []
    for prefix in prefixes:
        for size in twin_read(index_path(prefix).read_bytes())[1]:
            merged.append(list(struct.unpack_from(f"<{size}H", data, at)))
            at += 2 * size
    return merged


def test_materialized_shards_can_be_sliced_and_merged_by_those_who_ignore_pointers(root):
    write_shards_of_plan(root, ByteEncoder(), materialize=True)
    train, val = root / "shards" / "train", root / "shards" / "val"
    expected = {prefix: [ids for ids, _, _ in plain_sequences(root, prefix.name)] for prefix in (train, val)}
    assert neox_slice(train, 3, 11) == expected[train][3:11]
    assert neox_merged([val, train]) == expected[val] + expected[train]


def test_shared_pointers_cannot_which_is_why_the_option_exists(root):
    write_shards_of_plan(root, ByteEncoder())
    prefix = root / "shards" / "train"
    expected = [ids for ids, _, _ in plain_sequences(root, "train")]
    with pytest.raises(struct.error):
        neox_merged([prefix])
    assert read_plainly(prefix) == expected


@pytest.mark.parametrize("materialize", [False, True])
def test_the_bytes_do_not_depend_on_the_number_of_processes(root, tmp_path_factory, materialize):
    write_shards_of_plan(root, ByteEncoder(), materialize=materialize)
    alone = contents(root)
    for path in (root / "shards").iterdir():
        path.unlink()
    write_shards_of_plan(root, ByteEncoder(), materialize=materialize, jobs=2)
    assert contents(root) == alone
    assert sorted(alone) == [
        "manifest.json",
        *(f"{s}{e}" for s in ("train", "val") for e in (".bin", ".docs.arrow", ".idx")),
    ]


@pytest.mark.parametrize("block_rows", [1, 3, 4])
def test_the_bytes_do_not_depend_on_how_many_rows_are_in_memory(root, monkeypatch, block_rows):
    write_shards_of_plan(root, ByteEncoder())
    whole = contents(root)
    withdraw(root / "shards")
    monkeypatch.setattr(pile_toolkit.core.plan.table, "GROUP_ROWS", block_rows)
    monkeypatch.setattr(shards.writer, "SIZES_AT_ONCE", block_rows)
    write_shards_of_plan(root, ByteEncoder(), scheduler="serial")
    assert contents(root) == whole


def test_copies_are_written_out_or_not_as_asked_the_last_time(root):
    write_shards_of_plan(root, ByteEncoder())
    shared = contents(root)
    assert not write_shards_of_plan(root, ByteEncoder(), materialize=True).up_to_date
    assert contents(root)["train.bin"] != shared["train.bin"]
    assert write_shards_of_plan(root, ByteEncoder(), materialize=True).up_to_date
    write_shards_of_plan(root, ByteEncoder())
    assert contents(root) == shared


@pytest.mark.parametrize("materialize", [False, True])
@pytest.mark.parametrize(
    "place", ["Joiner.append", "Joiner.finish", "write_copies", "write_bytes", "write_split_index", "publish"]
)
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("done", [False, True])
def test_a_stage_killed_between_any_two_steps_is_completed_with_the_same_bytes(
    root, monkeypatch, materialize, place, call, done
):
    write_shards_of_plan(root, ByteEncoder(), materialize=materialize)
    undisturbed = contents(root)
    for path in (root / "shards").iterdir():
        path.unlink()
    *owner, name = place.split(".")
    owner = getattr(shards.stage, owner[0]) if owner else shards.stage
    real, calls, encoder = getattr(owner, name), [], CountingEncoder()

    def killed(*arguments, **options):
        calls.append(place)
        if len(calls) == call and not done:
            raise Killed
        result = real(*arguments, **options)
        if len(calls) == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        try:
            write_shards_of_plan(root, encoder, materialize=materialize)
        except Killed:
            assert done or read_manifest(root / "shards") is None
    write_shards_of_plan(root, encoder, materialize=materialize)
    assert contents(root) == undisturbed
    # What was encoded is not encoded again.
    assert sorted(encoder.texts) == sorted(stored_texts(root))


def test_a_bin_that_was_changed_while_its_stage_was_down_is_not_published(root, monkeypatch):
    def killed(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shards.stage, "publish", killed)
        with pytest.raises(Killed):
            write_shards_of_plan(root, ByteEncoder())
    path = data_path(root / "shards" / "train")
    path.write_bytes(path.read_bytes()[:-2] + b"zz")
    with pytest.raises(CorruptData, match=r"train\.bin was changed while it was written") as error:
        write_shards_of_plan(root, ByteEncoder())
    assert ".work-" in error.value.hint


def test_a_part_is_joined_and_gone_before_the_next_ones_are_encoded(root):
    class Looking(CountingEncoder):
        parts_left: ClassVar[list[int]] = []

        def encode_batch(self, texts, *, threads=1):
            found = (root / "shards").glob(".work-*/part-*/*.bin")
            self.parts_left.append(sum(PARTIAL not in str(path) for path in found))
            return super().encode_batch(texts, threads=threads)

    write_shards_of_plan(root, Looking())
    # Three files, each of two splits.
    assert len(Looking.parts_left) == 6
    assert set(Looking.parts_left) == {0}


def test_a_split_that_is_empty_now_leaves_no_files_of_before(root):
    write_shards_of_plan(root, ByteEncoder())
    make_plan(root, list(FILES))
    folder = root / "plan"
    outputs = [describe(folder, folder / PLAN_FILE)]
    publish(folder, StageKey(stage="build", format=1), outputs=outputs, counts={}, started_at=0.0)
    result = write_shards_of_plan(root, ByteEncoder())
    assert set(result.splits) == {"train"}
    assert not list((root / "shards").glob("val*"))


def test_the_tokenizer_is_named_and_another_one_is_refused(root):
    write_shards_of_plan(root, ByteEncoder())
    prefix = root / "shards" / "train"
    assert tokenizer_of_shards(prefix) == ByteEncoder.hash
    refuse_other_tokenizer(prefix, ByteEncoder.hash)
    with pytest.raises(UsageError, match="written with the tokenizer bytes, this one is another"):
        refuse_other_tokenizer(prefix, "another")


def test_shards_of_other_programs_do_not_say_which_tokenizer(tmp_path):
    assert tokenizer_of_shards(tmp_path / "x") is None
    refuse_other_tokenizer(tmp_path / "x", "any")


class MadeOf:
    """An encoder that is taken apart as the real one is: a function and its arguments."""

    hash = "made"
    made = 0

    def __reduce__(self):
        return MadeOf.make, (1,)

    @staticmethod
    def make(number):
        MadeOf.made += number
        return MadeOf()


def test_a_worker_builds_an_encoder_once():
    carried, before = CarriedEncoder(MadeOf()), MadeOf.made
    build, arguments = carried.__reduce__()
    assert build is _arrived
    assert build(*arguments).encoder is build(*arguments).encoder
    assert MadeOf.made == before + 1


def test_an_encoder_that_has_a_state_travels_as_it_is():
    build, (encoder,) = CarriedEncoder(ByteEncoder(999)).__reduce__()
    assert build is CarriedEncoder
    assert np.dtype(encoder.dtype) == np.uint16
    assert encoder.vocab_size == 999
