"""The `.idx` format and the order `stateless` once more, in plain Python: field by field and sample by sample."""

from __future__ import annotations

import struct

from pile_toolkit.core.seeds import keyed

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


def twin_samples(sequences, sequence_length, *, key, seed, samples):
    """(sequence, offset) of every id of the first samples of a stateless order: documents again and again, permuted."""
    text = [(number, offset) for number, ids in enumerate(sequences) for offset in range(len(ids))]
    epoch, first, found = 0, 0, []
    while len(found) < samples:
        after = -(-(epoch + 1) * len(text) // sequence_length)
        keys = [keyed(seed, "stateless sample order", bytes.fromhex(key), epoch, turn) for turn in range(6)]
        for place in range(after - first):
            start = (first + twin_permuted(place, after - first, keys)) * sequence_length
            found.append([text[token % len(text)] for token in range(start, start + sequence_length + 1)])
        epoch, first = epoch + 1, after
    return found[:samples]


def twin_permuted(number, size, keys):
    """A Feistel network on the bits of `size` - 1, walked until it lands inside, in Python's integers."""
    bits = (size - 1).bit_length()
    low_bits = bits // 2
    low_mask, high_mask = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    while True:
        low, high = number & low_mask, number >> low_bits
        for turn in range(0, len(keys), 2):
            high ^= _mixed(low ^ keys[turn]) & high_mask
            low ^= _mixed(high ^ keys[turn + 1]) & low_mask
        number = high << low_bits | low
        if number < size:
            return number


def _mixed(key):
    bits = (1 << 64) - 1
    key = (key + 0x9E3779B97F4A7C15) & bits
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & bits
    key = (key ^ key >> 27) * 0x94D049BB133111EB & bits
    return key ^ key >> 31
