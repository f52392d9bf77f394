"""Rows and signatures gathered from tasks are those of the documents one by one, however many wait for a batch."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from pipelines.fingerprints import (
    BATCH_CHARACTERS,
    BATCH_DOCUMENTS,
    fingerprint_file,
    gather_rows,
    gather_signatures,
)

from pile_toolkit.core.documents import DocumentWriter
from pile_toolkit.core.errors import UsageError
from pile_toolkit.core.files import hash_file
from pile_toolkit.core.seeds import normalized, text_hash
from pipelines.minhash import minhash

FILES = {
    "many": [f"Text  {number} of a few more words than five É" for number in range(2 * BATCH_DOCUMENTS + 3)],
    "none": [],
    "one": ["x"],
    "long": ["a b c d e f g " * (BATCH_CHARACTERS // 14 + 1), "after it", "and one more"],
}
SIGNATURE = {"num_perm": 16, "seed": 3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A task's folder per file, in another order than their names'."""
    base = tmp_path_factory.mktemp("tasks")
    for number, (name, texts) in enumerate(FILES.items()):
        path = base / f"{name}.jsonl.zst"
        with DocumentWriter(path) as writer:
            for text in texts:
                writer.write(text, b"{}")
        folder = base / name
        folder.mkdir()
        assert fingerprint_file(folder, str(path), hash_file(path), 7, number, SIGNATURE) == len(texts)
    return [base / name for name in FILES]


def test_rows_are_those_of_every_document_in_order(folders):
    columns = gather_rows(folders)
    expected = [
        (7, number, line, len(text.encode()), text_hash(text), xxhash.xxh3_128_digest(normalized(text).encode()))
        for number, texts in enumerate(FILES.values())
        for line, text in enumerate(texts, start=1)
    ]
    columns["text_hash"], columns["normalized_hash"] = (
        [row.tobytes() for row in columns[name]] for name in ("text_hash", "normalized_hash")
    )
    assert list(zip(*columns.values(), strict=True)) == expected


def test_signatures_are_those_of_every_text_in_order(folders):
    signatures = gather_signatures(folders)
    assert (signatures.dtype, signatures.flags.c_contiguous) == (np.uint32, True)
    expected = minhash([text for texts in FILES.values() for text in texts], **SIGNATURE)
    assert np.array_equal(signatures, expected)


def test_no_documents_have_signatures_of_the_same_length(folders):
    assert gather_signatures([folders[1]]).shape == (0, 16)
    assert {len(column) for column in gather_rows([folders[1]]).values()} == {0}


def test_without_parameters_there_are_no_signatures(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    with DocumentWriter(path) as writer:
        writer.write("x", b"{}")
    assert fingerprint_file(tmp_path, str(path), hash_file(path), 0, 0, None) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl.zst", "rows.npy"]
    with pytest.raises(UsageError, match="changed since it was downloaded"):
        fingerprint_file(tmp_path, str(path), "0" * 32, 0, 0, None)


def test_signatures_of_other_settings_are_not_gathered_together(folders, tmp_path):
    path = tmp_path / "a.jsonl.zst"
    with DocumentWriter(path) as writer:
        writer.write("x", b"{}")
    fingerprint_file(tmp_path, str(path), hash_file(path), 0, 0, {**SIGNATURE, "seed": 4})
    with pytest.raises(UsageError, match="other settings"):
        gather_signatures([*folders, tmp_path])
