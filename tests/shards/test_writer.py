"""Every document stands in the `.bin` once, in order, ended; the `.idx` names it as often as it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pile_toolkit.core.errors import UsageError
from shards.format import token_dtype
from shards.writer import BATCH_CHARACTERS, BATCH_DOCUMENTS, assemble_index, join_parts, write_part


class ByteEncoder:
    """An id per UTF-8 byte, and one more that ends a document."""

    hash = "bytes"
    end_of_text = 256

    def __init__(self, vocab_size=257):
        self.vocab_size = vocab_size
        self.dtype = token_dtype(vocab_size)

    def encode_batch(self, texts, threads=1):
        encoded = [text.encode() for text in texts]
        ids = np.frombuffer(b"".join(encoded), np.uint8).astype(self.dtype)
        return ids, np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def twin(texts):
    return [[*text.encode(), 256] for text in texts]


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=30), vocab_size=st.sampled_from([257, 65_499, 65_500]))
def test_a_part_is_each_text_in_order_with_its_end(tmp_path_factory, texts, vocab_size):
    path = tmp_path_factory.mktemp("part") / "0.bin"
    encoder = ByteEncoder(vocab_size)
    sizes = write_part(path, iter(texts), encoder, 256)
    assert (sizes.dtype, sizes.tolist()) == (np.int32, [len(ids) for ids in twin(texts)])
    assert np.fromfile(path, encoder.dtype).tolist() == [token for ids in twin(texts) for token in ids]


def test_batches_leave_no_trace(tmp_path):
    texts = [str(number) for number in range(2 * BATCH_DOCUMENTS + 3)]
    texts[5:5] = ["", "long " * (BATCH_CHARACTERS // 3), ""]
    sizes = write_part(tmp_path / "0.bin", texts, ByteEncoder(), 256)
    expected = twin(texts)
    assert sizes.tolist() == [len(ids) for ids in expected]
    assert np.array_equal(np.fromfile(tmp_path / "0.bin", "<u2"), np.concatenate(expected))


def test_a_document_too_long_for_the_format_is_named_and_nothing_is_left(tmp_path):
    class Endless(ByteEncoder):
        def encode_batch(self, texts, threads=1):
            # 2^31 - 1 ids that take no memory; the end-of-text is one too many.
            return np.broadcast_to(np.uint16(7), 3 + 2**31 - 1), np.array([0, 3, 3 + 2**31 - 1])

    with pytest.raises(UsageError, match="document 1 of this part has 2,147,483,648 tokens"):
        write_part(tmp_path / "0.bin", ["abc", "endless"], Endless(), 256)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_among_the_texts_leaves_no_part(tmp_path):
    def texts():
        yield "fine"
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        write_part(tmp_path / "0.bin", texts(), ByteEncoder(), 256)
    assert list(tmp_path.iterdir()) == []


def test_ids_that_do_not_fit_the_rule_are_refused(tmp_path):
    encoder = ByteEncoder()
    encoder.dtype = np.dtype(np.int32)
    with pytest.raises(UsageError, match="int32 ids, 257 of them are stored as uint16"):
        write_part(tmp_path / "0.bin", [], encoder, 256)
    for end_of_text in (-1, 257):
        with pytest.raises(UsageError, match=f"end-of-text is id {end_of_text}, the vocabulary ends at 256"):
            write_part(tmp_path / "0.bin", [], ByteEncoder(), end_of_text)


@settings(deadline=None, max_examples=30)
@given(contents=st.lists(st.binary(max_size=5000), max_size=6))
def test_joined_parts_are_their_bytes_in_order_and_the_parts_stay(tmp_path_factory, contents):
    folder = tmp_path_factory.mktemp("join")
    parts = [folder / f"{number}.bin" for number in range(len(contents))]
    for part, content in zip(parts, contents, strict=True):
        part.write_bytes(content)
    assert join_parts(parts, folder / "train.bin") == sum(map(len, contents))
    assert (folder / "train.bin").read_bytes() == b"".join(contents)
    assert [part.read_bytes() for part in parts] == contents


def test_parts_on_another_file_system_are_joined_by_hand(tmp_path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no second file system here, so the kernel copies everything")
    content = np.random.default_rng(1).bytes(3 << 20)
    far, near = memory / f"{tmp_path.parent.name}-{tmp_path.name}.bin", tmp_path / "near.bin"
    near.write_bytes(content[::-1])
    try:
        far.write_bytes(content)
        # Near and far in turn: the hand copy must go on exactly where the kernel's ended.
        assert join_parts([near, far, near, far], tmp_path / "train.bin") == 4 * len(content)
    finally:
        far.unlink(missing_ok=True)
    assert (tmp_path / "train.bin").read_bytes() == 2 * (content[::-1] + content)


def test_a_missing_part_leaves_the_old_file_as_it_was(tmp_path):
    (tmp_path / "train.bin").write_bytes(b"old")
    (tmp_path / "0.bin").write_bytes(b"new")
    with pytest.raises(FileNotFoundError, match=r"1\.bin"):
        join_parts([tmp_path / "0.bin", tmp_path / "1.bin"], tmp_path / "train.bin")
    assert (tmp_path / "train.bin").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.bin", "train.bin"]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20),
    dtype=st.sampled_from(["u2", "i4"]),
    draw=st.data(),
)
def test_entries_point_at_their_stored_document(sizes, dtype, draw):
    entries = draw.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=40))
    entry_sizes, pointers = assemble_index(sizes, entries, dtype=dtype)
    assert (entry_sizes.dtype, pointers.dtype) == (np.int32, np.int64)
    assert entry_sizes.tolist() == [sizes[entry] for entry in entries]
    assert pointers.tolist() == [np.dtype(dtype).itemsize * sum(sizes[:entry]) for entry in entries]


def test_an_index_of_nothing_is_empty():
    assert [array.tolist() for array in assemble_index([], [], dtype="u2")] == [[], []]


@pytest.mark.parametrize(("entries", "says"), [([0, 3], "documents 0 to 3, there are 3"), ([-1], "documents -1 to -1")])
def test_an_entry_without_a_stored_document_is_refused(entries, says):
    with pytest.raises(UsageError, match=says):
        assemble_index([1, 2, 3], entries, dtype="u2")
