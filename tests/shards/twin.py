"""The `.idx` format once more, in plain Python: what gpt-neox and Megatron-LM write and read, field by field."""

from __future__ import annotations

import struct

CODES = {"u1": 1, "i1": 2, "i2": 3, "i4": 4, "i8": 5, "u2": 8}
ITEM_BYTES = {code: int(name[1:]) for name, code in CODES.items()}
HEADER_BYTES = 9 + 8 + 1 + 8 + 8


def twin_bytes(code, sizes, pointers, doc_idx, *, magic=b"MMIDIDX\x00\x00", version=1, sequences=None, documents=None):
    """The layout as gpt-neox's and Megatron-LM's sources give it, field by field."""
    data = magic + struct.pack("<Q", version) + struct.pack("<B", code)
    data += struct.pack("<Q", len(sizes) if sequences is None else sequences)
    data += struct.pack("<Q", len(doc_idx) if documents is None else documents)
    data += b"".join(struct.pack("<i", size) for size in sizes)
    data += b"".join(struct.pack("<q", pointer) for pointer in pointers)
    return data + b"".join(struct.pack("<q", bound) for bound in doc_idx)


def twin_read(data):
    """The reader of both programs: fields in order, arrays where the counts put them."""
    assert data[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, documents = struct.unpack_from("<QBQQ", data, 9)
    assert version == 1
    at = HEADER_BYTES
    sizes = struct.unpack_from(f"<{sequences}i", data, at)
    pointers = struct.unpack_from(f"<{sequences}q", data, at + 4 * sequences)
    doc_idx = struct.unpack_from(f"<{documents}q", data, at + 12 * sequences)
    return code, list(sizes), list(pointers), list(doc_idx)


def plain_index(data, bin_bytes):
    """What the twin reads, None where any of it is outside of its bounds: no numpy, so nothing can overflow."""
    try:
        code, sizes, pointers, doc_idx = twin_read(data)
    except (AssertionError, struct.error, OverflowError, MemoryError):
        return None
    itemsize = ITEM_BYTES.get(code)
    needed = HEADER_BYTES + 12 * len(sizes) + 8 * len(doc_idx)
    right = (
        itemsize is not None
        and len(data) in (needed, needed + len(sizes))
        and bin_bytes % itemsize == 0
        and all(size >= 0 for size in sizes)
        and all(pointer >= 0 and pointer % itemsize == 0 for pointer in pointers)
        and all(pointer + size * itemsize <= bin_bytes for size, pointer in zip(sizes, pointers, strict=True))
        and all(0 <= bound <= len(sizes) for bound in doc_idx)
        and doc_idx == sorted(doc_idx)
    )
    return (code, sizes, pointers, doc_idx) if right else None
