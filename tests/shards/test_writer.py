"""Every document stands in the `.bin` once, in order, ended; the `.idx` names it as often as it is read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shards.writer
from pile_toolkit.core.errors import UsageError
from shards.format import token_dtype
from shards.writer import BATCH_CHARACTERS, BATCH_DOCUMENTS, SizesWriter, open_part, open_split_part, read_sizes


class ByteEncoder:
    """An id per UTF-8 byte, and one more that ends a document."""

    hash = "bytes"

    def __init__(self, vocab_size=257, end_of_text=256):
        self.vocab_size = vocab_size
        self.end_of_text = end_of_text
        self.dtype = token_dtype(vocab_size)

    def encode_batch(self, texts, threads=1):
        encoded = [text.encode() for text in texts]
        ids = np.frombuffer(b"".join([b"", *encoded]), np.uint8).astype(self.dtype)
        return ids, np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def write_part(path, texts, encoder):
    with open_part(path, encoder) as part:
        for text in texts:
            part.add(text)
    return part.sizes


def twin(texts):
    return [[*text.encode(), 256] for text in texts]


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=30), max_size=30), vocab_size=st.sampled_from([257, 65_499, 65_500]))
def test_a_part_is_each_text_in_order_with_its_end(tmp_path_factory, texts, vocab_size):
    path = tmp_path_factory.mktemp("part") / "0.bin"
    encoder = ByteEncoder(vocab_size)
    sizes = write_part(path, texts, encoder)
    assert (sizes.dtype, sizes.tolist()) == (np.int32, [len(ids) for ids in twin(texts)])
    assert np.fromfile(path, encoder.dtype).tolist() == [token for ids in twin(texts) for token in ids]


def test_batches_leave_no_trace(tmp_path):
    texts = [str(number) for number in range(2 * BATCH_DOCUMENTS + 3)]
    texts[5:5] = ["", "long " * (BATCH_CHARACTERS // 3), ""]
    sizes = write_part(tmp_path / "0.bin", texts, ByteEncoder())
    expected = twin(texts)
    assert sizes.tolist() == [len(ids) for ids in expected]
    assert np.array_equal(np.fromfile(tmp_path / "0.bin", "<u2"), np.concatenate(expected))


def test_what_goes_to_the_disk_early_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(shards.writer, "WRITE_BACK_BYTES", 1)
    monkeypatch.setattr(shards.writer, "BATCH_DOCUMENTS", 2)
    texts = ["abc", "", "de", "f" * 70_000, "g"]
    write_part(tmp_path / "0.bin", texts, ByteEncoder())
    assert np.array_equal(np.fromfile(tmp_path / "0.bin", "<u2"), np.concatenate(twin(texts)))


def test_a_document_too_long_for_the_format_is_named_and_nothing_is_left(tmp_path):
    class Endless(ByteEncoder):
        def encode_batch(self, texts, threads=1):
            # 2^31 - 1 ids that take no memory; the end-of-text is one too many.
            return np.broadcast_to(np.uint16(7), 3 + 2**31 - 1), np.array([0, 3, 3 + 2**31 - 1])

    with pytest.raises(UsageError, match="document 1 of this part has 2,147,483,648 tokens"):
        write_part(tmp_path / "0.bin", ["abc", "endless"], Endless())
    assert list(tmp_path.iterdir()) == []


def test_a_failure_among_the_texts_leaves_no_part(tmp_path):
    def texts():
        yield "fine"
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        write_part(tmp_path / "0.bin", texts(), ByteEncoder())
    assert list(tmp_path.iterdir()) == []


def test_ids_that_do_not_fit_the_rule_are_refused(tmp_path):
    encoder = ByteEncoder()
    encoder.dtype = np.dtype(np.int32)
    with pytest.raises(UsageError, match="int32 ids, 257 of them are stored as uint16"):
        write_part(tmp_path / "0.bin", [], encoder)
    for end_of_text in (-1, 257):
        with pytest.raises(UsageError, match=f"end-of-text is id {end_of_text}, the vocabulary ends at 256"):
            write_part(tmp_path / "0.bin", [], ByteEncoder(end_of_text=end_of_text))
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(sizes=st.lists(st.lists(st.integers(1, 2**31 - 1), max_size=5), max_size=5))
def test_sizes_put_down_some_at_a_time_are_the_array_that_numpy_writes_at_once(sizes):
    file, expected = io.BytesIO(), io.BytesIO()
    writer = SizesWriter(file)
    for some in sizes:
        writer.add(np.array(some, np.int32))
    writer.finish()
    np.save(expected, np.array([size for some in sizes for size in some], np.int32))
    assert file.getvalue() == expected.getvalue()


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_sizes_are_read_back_in_blocks(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(shards.writer, "SIZES_AT_ONCE", at_once)
    np.save(tmp_path / "a.npy", np.arange(10, dtype=np.int32))
    blocks = list(read_sizes(tmp_path / "a.npy"))
    assert max(map(len, blocks)) == min(at_once, 10)
    assert np.concatenate(blocks).tolist() == list(range(10))


def test_a_split_part_and_its_sizes_appear_together_with_all_documents(tmp_path):
    texts = [str(number) for number in range(BATCH_DOCUMENTS + 3)]
    with open_split_part(tmp_path / "val", ByteEncoder()) as part:
        for text in texts[:5]:
            part.texts.add(text)
        part.put_sizes_down()
        for text in texts[5:]:
            part.texts.add(text)
        assert not list(tmp_path.glob("val*"))
    assert part.documents == len(texts)
    assert np.load(tmp_path / "val.sizes.npy", mmap_mode="r").tolist() == [len(ids) for ids in twin(texts)]
    assert np.array_equal(np.fromfile(tmp_path / "val.bin", "<u2"), np.concatenate(twin(texts)))
