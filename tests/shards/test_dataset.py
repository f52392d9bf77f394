"""Sequences are read as gpt-neox reads them: each through its own pointer, as a view of the file."""

from __future__ import annotations

import contextlib
import multiprocessing
import operator
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import CorruptData, UsageError
from pile_toolkit.core.manifest import StageKey, describe, publish
from shards.dataset import TokenDataset
from shards.format import write_index
from shards.index import SampleIndex
from shards.verify import verify_shards

DOCUMENTS = [[5, 6, 7], [], [1, 2, 3, 4], [9]]
ENTRIES = [2, 0, 3, 2, 1, 0]


@pytest.fixture
def written(write_documents):
    return write_documents(DOCUMENTS, ENTRIES)


def neox_get(data, dtype, pointer, size, offset=0, length=None):
    """gpt-neox's `get`: count `length` ids from the pointer plus offset."""
    length = size - offset if length is None else length
    return np.frombuffer(data, dtype, count=length, offset=pointer + offset * np.dtype(dtype).itemsize)


@settings(deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 65_535), max_size=12), min_size=1, max_size=8),
    dtype=st.sampled_from(["u2", "i4"]),
    draw=st.data(),
)
def test_every_sequence_and_range_is_what_gpt_neox_reads(write_documents, documents, dtype, draw):
    entries = draw.draw(st.lists(st.integers(0, len(documents) - 1), max_size=20))
    written = write_documents(documents, entries, dtype=dtype, provenance=False)
    data = written.prefix.with_suffix(".bin").read_bytes()
    with TokenDataset(written.prefix) as dataset:
        assert (len(dataset), dataset.dtype) == (len(entries), np.dtype(dtype))
        assert dataset.total_tokens == sum(map(len, written.sequences))
        for number, ids in enumerate(written.sequences):
            place = int(dataset.pointers[number]), len(ids)
            assert dataset[number].tolist() == neox_get(data, dtype, *place).tolist() == ids
            offset = draw.draw(st.integers(0, len(ids)))
            length = draw.draw(st.none() | st.integers(0, len(ids) - offset))
            expected = neox_get(data, dtype, *place, offset, length)
            assert dataset.get(number, offset, length).tolist() == expected.tolist()


def test_numbers_count_from_the_end_as_in_lists_and_stop_at_both_ends(written):
    dataset = TokenDataset(written.prefix)
    for number in range(-len(ENTRIES), len(ENTRIES)):
        assert dataset[number].tolist() == written.sequences[number]
    assert dataset[np.int64(2)].tolist() == [9]
    assert [ids.tolist() for ids in dataset] == written.sequences
    for number in (len(ENTRIES), -len(ENTRIES) - 1, 2**70):
        with pytest.raises(IndexError, match="which has 6"):
            dataset[number]


def test_slices_are_refused_with_the_reason_and_what_to_type(written):
    with pytest.raises(UsageError, match="not contiguous") as error:
        TokenDataset(written.prefix)[1:3]
    assert error.value.hint == "[dataset[i] for i in range(start, stop)]"


@pytest.mark.parametrize("number", [1.0, "1", None])
def test_what_is_no_number_is_a_type_error(written, number):
    with pytest.raises(TypeError):
        TokenDataset(written.prefix)[number]


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (4, None), (0, 4), (2, 2), (1, -1)])
def test_a_range_outside_its_sequence_is_refused(written, offset, length):
    with pytest.raises(UsageError, match=r"sequence 1 .*it has 3"):
        TokenDataset(written.prefix).get(1, offset, length)


def test_sequences_are_read_only_views_and_copies_are_the_same_bytes(written):
    dataset = TokenDataset(written.prefix)
    assert np.shares_memory(dataset[0], dataset.ids)
    assert dataset[0].ctypes.data == dataset[3].ctypes.data
    assert not dataset[0].flags.writeable
    assert len(dataset.ids) == sum(map(len, DOCUMENTS))


def test_it_travels_to_another_process_as_its_prefix(written):
    dataset = TokenDataset(written.prefix)
    assert len(pickle.dumps(dataset)) < 500
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(operator.getitem, dataset, 3).result().tolist() == [1, 2, 3, 4]


def test_views_outlive_closing_and_a_closed_set_says_so(written):
    with TokenDataset(written.prefix) as dataset:
        view = dataset[0]
    assert view.tolist() == [1, 2, 3, 4]
    with pytest.raises(UsageError, match="are closed"):
        dataset[0]


def test_a_bin_removed_while_mapped_is_read_on(written):
    dataset = TokenDataset(written.prefix)
    written.prefix.with_suffix(".bin").unlink()
    assert [ids.tolist() for ids in dataset] == written.sequences


def test_a_bin_replaced_while_mapped_is_read_on_as_it_was(written):
    dataset = TokenDataset(written.prefix)
    path = written.prefix.with_suffix(".bin")
    path.with_name("new").write_bytes(bytes(path.stat().st_size))
    path.with_name("new").rename(path)
    assert [ids.tolist() for ids in dataset] == written.sequences
    assert set(TokenDataset(written.prefix)[0].tolist()) == {0}


READER = """
import sys
from pile_toolkit.core.errors import PileError
from shards.dataset import TokenDataset
from shards.index import SampleIndex
dataset = TokenDataset(sys.argv[1])
index = SampleIndex.build(dataset, sequence_length=int(sys.argv[2]), samples=1)
print("open", flush=True)
sys.stdin.readline()
try:
    print(sum(map(int, {how}.flat)))
except PileError as error:
    print(error.message)
    sys.exit(error.exit_code)
"""


def cut_while_read(prefix, how, *, sequence_length=20_000):
    """What a process says that has opened shards, after their `.bin` is cut to a page, and how it ends."""
    command = [sys.executable, "-c", READER.format(how=how), str(prefix), str(sequence_length)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        os.truncate(prefix.with_suffix(".bin"), 4096)
        said, _ = process.communicate("\n")
    return said, process.returncode


@pytest.mark.parametrize("how", ["index.tokens(0)", "index.batch([0])", "dataset[1]"])
def test_a_bin_cut_short_while_mapped_is_an_error_and_not_the_end_of_the_process(write_documents, how):
    prefix = write_documents([[1] * 15_000, [2] * 15_000], provenance=False).prefix
    said, code = cut_while_read(prefix, how)
    assert said == f"{prefix}.bin was cut short while it was read: it had 60,000 bytes and has 4,096\n"
    assert code == CorruptData.exit_code == 4


def test_without_that_look_the_system_ends_the_process(write_documents):
    prefix = write_documents([[1] * 15_000, [2] * 15_000], provenance=False).prefix
    assert cut_while_read(prefix, "dataset.ids") == ("", -signal.SIGBUS)


@contextlib.contextmanager
def read_only_mount(source, target):
    """`source` seen through a mount that cannot be written, not even by root; skips where this user may not mount."""
    target.mkdir()
    made = subprocess.run(["mount", "--bind", source, target], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"root ignores permissions, and no read-only mount can be made here: {made.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", target], check=True, capture_output=True)
        yield target
    finally:
        subprocess.run(["umount", target], check=True)


def read_all(prefix):
    """Every way of reading, in a process of its own, which needs to write its compiled code nowhere near."""
    code = """
import sys, numpy as np
from shards.dataset import TokenDataset
from shards.index import SampleIndex
with TokenDataset(sys.argv[1]) as dataset:
    index = SampleIndex.build(dataset, sequence_length=2, samples=3)
    rows = index.batch(range(len(index)), dtype=np.int64).tolist()
    assert rows == [index.tokens(number).tolist() for number in range(len(index))]
    print([ids.tolist() for ids in dataset], index.provenance(0) != [])
"""
    done = subprocess.run([sys.executable, "-c", code, str(prefix)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_reading_works_where_nothing_can_be_written(written, tmp_path):
    with read_only_mount(written.prefix.parent, tmp_path / "readonly") as folder:
        with pytest.raises(OSError, match="Read-only"):
            (folder / "new").touch()
        assert read_all(folder / "train") == f"{written.sequences} True"


def test_reading_writes_nothing_beside_the_data(written):
    def state():
        found = [written.prefix.parent, *sorted(written.prefix.parent.iterdir())]
        return [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in found]

    before = state()
    assert read_all(written.prefix) == f"{written.sequences} True"
    assert state() == before


def damage_truncated(prefix):
    os.truncate(prefix.with_suffix(".bin"), 4)


def damage_odd(prefix):
    os.truncate(prefix.with_suffix(".bin"), 13)


def damage_magic(prefix):
    path = prefix.with_suffix(".idx")
    path.write_bytes(b"TNTIDX" + path.read_bytes()[6:])


def damage_other_index(prefix):
    write_index(prefix.with_suffix(".idx"), dtype="u2", sizes=[9, 9], pointers=[0, 18], doc_idx=[0, 1, 2])


def damage_cut_index(prefix):
    os.truncate(prefix.with_suffix(".idx"), 60)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_truncated, "are not inside its 4"),
        (damage_odd, "has 13 bytes, no multiple of the 2 an id takes"),
        (damage_magic, "does not start with"),
        (damage_other_index, "9 ids of 2 bytes are not inside its 16"),
        (damage_cut_index, "has 60 bytes, but 6 sequences and 7 document bounds"),
    ],
)
def test_damaged_shards_are_one_sentence_and_exit_code_4(written, pile, damage, says):
    damage(written.prefix)
    with pytest.raises(CorruptData, match=says):
        TokenDataset(written.prefix)
    done = pile("shards", "stats", written.prefix)
    assert done.returncode == 4
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert says in errors[0]
    assert "Traceback" not in done.stderr


def test_no_sequences_are_a_data_set_too(write_documents):
    dataset = TokenDataset(write_documents([]).prefix)
    assert (len(dataset), dataset.total_tokens, list(dataset)) == (0, 0, [])


def test_dots_in_a_prefix_are_part_of_its_name(write_documents):
    written = write_documents(DOCUMENTS)
    for suffix in (".bin", ".idx"):
        written.prefix.with_suffix(suffix).rename(written.prefix.with_name(f"pile.v1{suffix}"))
    assert TokenDataset(str(written.prefix.with_name("pile.v1")))[3].tolist() == [9]


def test_the_hash_names_sizes_and_order(write_documents):
    hashes = [
        TokenDataset(write_documents(documents, entries, dtype=dtype).prefix).hash
        for documents, entries, dtype in [
            (DOCUMENTS, [0, 2], "u2"),
            ([[8, 8, 8], [], [8, 8, 8, 8], [8]], [0, 2], "u2"),
            (DOCUMENTS, [2, 0], "u2"),
            (DOCUMENTS, [0, 2, 2], "u2"),
            (DOCUMENTS, [0, 2], "i4"),
        ]
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def publish_beside(prefix):
    """The manifest of a stage that wrote these files."""
    outputs = [describe(prefix.parent, path) for path in sorted(prefix.parent.iterdir())]
    return publish(prefix.parent, StageKey(stage="shards", format=1), outputs=outputs, counts={}, started_at=0.0)


def test_other_ids_under_the_same_index_are_another_identity_by_the_manifest_and_found_by_verify(write_documents):
    first, second = (write_documents([[5, 6], [last]], provenance=False).prefix for last in (7, 8))
    assert first.with_suffix(".idx").read_bytes() == second.with_suffix(".idx").read_bytes()
    # The hash names what a sample index depends on, and that is the same.
    assert TokenDataset(first).hash == TokenDataset(second).hash
    for order in ("neox", "megatron", "stateless"):
        one, other = (
            SampleIndex.build(TokenDataset(prefix), sequence_length=1, samples=5, order=order)
            for prefix in (first, second)
        )
        for number in range(len(one)):
            swapped = [8 if token == 7 else token for token in one.tokens(number).tolist()]
            assert other.tokens(number).tolist() == swapped
    assert publish_beside(first).digest() != publish_beside(second).digest()
    assert not verify_shards(first).problems
    second.with_suffix(".bin").replace(first.with_suffix(".bin"))
    assert [problem.what.split(",")[0].split()[:3] for problem in verify_shards(first).problems] == [
        ["has", "the", "hash"]
    ]


def test_a_bin_of_another_length_than_its_manifest_says_is_refused_when_it_is_opened(write_documents):
    prefix = write_documents([[5, 6], [7]]).prefix
    publish_beside(prefix)
    assert len(TokenDataset(prefix)) == 2
    path = prefix.with_suffix(".bin")
    path.write_bytes(path.read_bytes() + bytes(4))
    with pytest.raises(CorruptData, match=r"has 10 bytes, its manifest says 6"):
        TokenDataset(prefix)
    # Without a manifest of ours it is a pair like any other: nothing reads what is behind the last sequence.
    for text in (None, "{}", "[1, 2"):
        manifest = prefix.with_name("manifest.json")
        manifest.unlink() if text is None else manifest.write_text(text)
        assert [ids.tolist() for ids in TokenDataset(prefix)] == [[5, 6], [7]]


def test_forgetting_what_was_read_changes_nothing_that_is_read(write_documents):
    documents = [[number] * 5000 for number in range(20)]
    dataset = TokenDataset(write_documents(documents).prefix)
    views = list(dataset)
    for first, length in ((0, None), (1, 1), (4999, 7000), (99_999, 5), (0, 0)):
        dataset.forget(first, length)
        assert [view.tolist() for view in views] == documents
    TokenDataset(write_documents([]).prefix).forget()


def test_provenance_of_other_shards_is_refused(written, write_documents):
    other = write_documents(DOCUMENTS)
    other.prefix.with_suffix(".docs.arrow").replace(written.prefix.with_suffix(".docs.arrow"))
    with pytest.raises(CorruptData, match=r"describes 4 sequences, .* has 6"):
        _ = TokenDataset(written.prefix).provenance
